"""A release folder with one zip per bundle: python scripts/package_bundles.py --output dist --base_url https://..."""

from synthzoo.bundle.pack import package_bundles
from synthzoo.cli import run


def main(root: str = ".", output: str = "dist", base_url: str | None = None) -> None:
    """Pack every bundle; print each zip with its size and sha256."""
    for item in package_bundles(root, output, base_url)["bundles"].values():
        print(f"{output}/{item['zip']['file']}  {item['zip']['bytes'] / 1e6:.1f} MB  sha256 {item['zip']['sha256']}")


if __name__ == "__main__":
    run(main)

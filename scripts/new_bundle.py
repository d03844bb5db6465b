"""Make the skeleton of a bundle: python scripts/new_bundle.py brain_mr_synthesis_flow --task synthesis --system flow"""

from synthzoo.bundle.new import new_bundle
from synthzoo.cli import run


def main(name: str, task: str = "synthesis", root: str = ".", system: str | None = None) -> None:
    """Write bundles/<name>, and with --system the folders of its code and tests; prints the bundle's folder."""
    print(new_bundle(name, task, root, system))


if __name__ == "__main__":
    run(main)

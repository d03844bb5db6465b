"""A stock generative bundle with seeds, requests, resume and marks: python scripts/adopt_bundle.py FOLDER"""

from synthzoo.bundle.adopt import adopt_bundle
from synthzoo.bundle.index import INDEX
from synthzoo.cli import run


def main(
    folder: str,
    out: str | None = None,
    spacing_mm: float = 1.0,
    autoencoder: str = "",
    denoiser: str = "",
    generator: str = "",
) -> None:
    """Write a bundle of this library beside a stock one, which is read as data and never changed or run.

    Args:
        folder: of the stock bundle, with configs/ and models/.
        out: folder to write; by default beside the stock one, its name with _adopted.
        spacing_mm: side of a voxel or pixel, which stock configs do not state.
        autoencoder: file of its weights, where the config does not tell it.
        denoiser: likewise.
        generator: likewise.
    """
    place = adopt_bundle(
        folder, out, spacing_mm, {"autoencoder": autoencoder, "denoiser": denoiser, "generator": generator}
    )
    print(f"{place}: run it with python -m monai.bundle run --config_file configs/inference.json in that folder,")
    print(f"serve it with --conf index {place.parent / INDEX} --conf bundle_dir {place.parent}")


if __name__ == "__main__":
    run(main)

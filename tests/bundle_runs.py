"""The bundles that the tests go through, short runs of them, and what such a run wrote."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from synthzoo.bundle.find import find_bundles, read_metadata
from synthzoo.bundle.skeletons import SKELETONS

ROOT = Path(__file__).resolve().parents[1]
HU_OF_ONE = 2000.0  # what 1 of a network's output is in a CT
SKELETON = "skeleton of new_bundle"
SKELETON_NAMES = {f"{SKELETON}, {task}": task for task in SKELETONS}
FINISHED_NAMES = [bundle.name for bundle in find_bundles(ROOT)]
BUNDLE_NAMES = [*SKELETON_NAMES, *FINISHED_NAMES]
# Where a process of its own is started for each, one skeleton stands for all.
TYPED_NAMES = [f"{SKELETON}, synthesis", *FINISHED_NAMES]


def quick(bundle: Path, phantom_nifti: Path, output_dir: Path, **overrides) -> dict:
    """Overrides that make an inference short: two samples of the fewest steps (at least two), or the phantom scan."""
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    made = {"output_dir": str(output_dir), "seed": 5}
    if "images" in config:
        made["images"] = str(input_of(bundle, phantom_nifti))
    else:
        made["num_samples"] = 2
    options = read_metadata(bundle).get("synthzoo", {}).get("options", {})
    few = {key: options.get(key, {}).get("minimum", 2) for key in ("steps", "upsampling_steps") if key in config}
    made |= {key: max(2, least) for key, least in few.items()}
    return made | overrides


def input_of(bundle: Path, phantom_nifti: Path) -> Path:
    """What a bundle that takes images is given: the example that its metadata names, as the file of a patient."""
    kind = read_metadata(bundle)["synthzoo"]["example_input"]
    if kind == "brain_flair":
        return phantom_nifti  # such a brain too, but oblique and coarser
    folder = phantom_nifti.parent / kind
    found = sorted(folder.glob("patient.*"))
    if not found:
        from synthzoo.cases.examples import write_example

        path = write_example(kind, folder)
        found = [path.rename(path.with_name("patient" + "".join(path.suffixes)))]
    return found[0]


def results(folder: Path) -> list[Path]:
    """The files that a run is for: volumes, videos, 2D maps and images, and the tables of cases."""
    found = [*folder.rglob("*.nii.gz"), *folder.rglob("*.avi"), *folder.glob("*/**/*.tsv")]
    shown = [path.with_name(f"{path.stem}_overlay.png") for path in folder.glob("*/**/*.png")]
    # A PNG beside a volume of its name, an overlay and the example input are there to look at.
    found += [
        path
        for path in folder.glob("*/**/*.png")
        if path not in shown and not path.with_suffix(".nii.gz").exists() and path.parent.name != "example_input"
    ]
    return sorted(found)


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder by its relative path."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def volumes(folder: Path) -> dict[str, np.ndarray]:
    """Every volume, video, picture and table of a case below a folder as an array, by its relative path.

    A CT is in units of `HU_OF_ONE`, so that what is rounding of other volumes is rounding of it.
    """
    return {path.relative_to(folder).as_posix(): _array(path) for path in results(folder)}


def alike(name: str, one: np.ndarray, two: np.ndarray) -> bool:
    """Whether two results of one request differ by no more than the order of sums in batches of other sizes does.

    A video is stored as bytes by JPEG, where a rounding that falls to the other side moves a few pixels by 1 or 2.
    """
    if name.endswith(".avi"):
        off = np.abs(one - two)
        return off.max() < 2.5 / 255 and (off > 0).mean() < 0.01
    if name.endswith(".png"):
        return np.abs(one.astype(int) - two).max() <= 1
    return np.allclose(one, two, atol=1e-5)


def _array(path: Path) -> np.ndarray:
    if path.suffix == ".avi":
        from synthzoo.io.videos import read_video

        return read_video(path).frames.astype(np.float32) / 255
    if path.suffix == ".tsv":
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
        return np.array([[_number(cell) for cell in row] for row in rows], np.float64)
    if path.suffix == ".png":
        from PIL import Image

        return np.asarray(Image.open(path))
    import nibabel as nib

    voxels = np.asarray(nib.load(path).dataobj)
    return voxels / HU_OF_ONE if path.name.endswith("_ct.nii.gz") else voxels


def _number(cell: str) -> float:
    """A cell of a table; a text, such as a class, as a number of its own, and what is not known as -1."""
    try:
        return -1.0 if cell in ("", "n/a") else float(cell)
    except ValueError:
        return float(int(hashlib.sha256(cell.encode()).hexdigest()[:8], 16))

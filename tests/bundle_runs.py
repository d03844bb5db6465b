"""The bundles that the tests go through, short runs of them, and what such a run wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from synthzoo.bundle.find import find_bundles

ROOT = Path(__file__).resolve().parents[1]
SKELETON = "skeleton of new_bundle"
BUNDLE_NAMES = [SKELETON, *(bundle.name for bundle in find_bundles(ROOT))]


def quick(bundle: Path, phantom_nifti: Path, output_dir: Path, **overrides) -> dict:
    """Overrides that make an inference short: two samples of two network calls, or the one phantom scan."""
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    made = {"output_dir": str(output_dir), "seed": 5}
    if "images" in config:
        made["images"] = str(phantom_nifti)
    else:
        made["num_samples"] = 2
    if "steps" in config:
        made["steps"] = 2
    return made | overrides


def volumes(folder: Path) -> dict[str, np.ndarray]:
    """Every NIfTI below a folder as an array, by its relative path."""
    import nibabel as nib

    paths = sorted(folder.rglob("*.nii.gz"))
    return {path.relative_to(folder).as_posix(): np.asarray(nib.load(path).dataobj) for path in paths}

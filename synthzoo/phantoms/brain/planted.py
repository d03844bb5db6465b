"""The real ICBM152 T1w template, and its copy with a tumour whose place and volume are known.

Nothing else in the scan is made: what a map says of the first is a false alarm on real anatomy, what it says of the
second can be held against the truth.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from scipy import ndimage as ndi

from synthzoo.io.nifti import write_nifti
from synthzoo.phantoms.brain.contrast import tissue_signals
from synthzoo.phantoms.brain.lesions import tumour
from synthzoo.phantoms.brain.template import source_files

CASES = ("template", "template_with_lesion")
TUMOUR_ML = {"core_ml": 6.0, "enhancing_ml": 9.0, "oedema_ml": 40.0}
SEED = 0  # of the tumour's place and shape


class Planted(NamedTuple):
    """A head and the same with a tumour, float32 (D, H, W), the tumour, bool, and the affine."""

    head: np.ndarray
    sick: np.ndarray
    truth: np.ndarray
    affine: np.ndarray


def write_planted(folder: Path) -> np.ndarray:
    """Write both scans, `<case>.nii.gz` of `CASES`, at 1 mm; returns the tumour, bool (D, H, W)."""
    planted = plant_in_template()
    for case, array in zip(CASES, (planted.head, planted.sick)):
        write_nifti(folder / f"{case}.nii.gz", array, planted.affine)
    return planted.truth


def plant_in_template() -> Planted:
    """The template, and its copy with a tumour."""
    image, grey, white = (nib.load(path) for path in source_files().values())
    head = np.asarray(image.dataobj, dtype=np.float32)
    tissues = np.stack([np.asarray(part.dataobj, dtype=np.float32) for part in (grey, white)])
    truth, sick = plant_tumour(head, np.clip(tissues / tissues.max(), 0, 1))
    return Planted(head, sick, truth, np.asarray(image.affine, float))


def plant_tumour(head: np.ndarray, tissues: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Paint a tumour as the phantoms have it into a head.

    Args:
        head: T1w, float32 (D, H, W), voxels of 1 mm.
        tissues: its grey and white matter, float32 (2, D, H, W) in [0, 1].

    Returns:
        The tumour, bool (D, H, W), and the head with it, float32 (D, H, W).
    """
    place: Any = SimpleNamespace(tissues=tissues, spacing_mm=1.0, params=SimpleNamespace(seed=SEED))
    rng = np.random.default_rng(SEED)
    signals = tissue_signals("T1w", age=40, rng=rng)
    unit = float(np.median(head[tissues[1] > 0.95])) / signals["WM"]
    parts = tumour(place, **TUMOUR_ML)
    for name, share in parts.items():
        # The template is an average, sharper than which no lesion would be; fine structure stays as it is elsewhere.
        share = ndi.gaussian_filter(share, 0.5)
        head = head * (1 - share) + unit * signals[name] * share
    return sum(parts.values(), np.zeros_like(head)) > 0.5, head

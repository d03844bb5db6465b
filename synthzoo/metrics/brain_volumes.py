"""Volumes of brain tissues in mL, measured on an image alone.

    volume_k = slope_k * (voxel volume * sum of fraction_k) + intercept_k

The line is fitted on phantoms of the validation seeds; the errors on test seeds stand in
`weights/brain_instruments.json`. Never used in a training loss.
"""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import torch

from synthzoo.metrics.brain_segmentation import SPACING_MM, WEIGHTS, segment, to_grid

QUANTITIES = ("ventricle_ml", "gm_ml", "wm_ml", "csf_ml", "brain_ml")


def raw_volumes(shares: np.ndarray) -> dict[str, np.ndarray]:
    """Volumes in mL before calibration of fractions (N, 5, 48, 56, 48), each (N,)."""
    ml = shares.sum((2, 3, 4), dtype=np.float64) * SPACING_MM**3 / 1000
    gm, wm, csf, ventricle = ml[:, 1], ml[:, 2], ml[:, 3], ml[:, 4]
    return {"ventricle_ml": ventricle, "gm_ml": gm, "wm_ml": wm, "csf_ml": csf, "brain_ml": gm + wm}


@lru_cache(maxsize=1)
def stated_errors() -> dict:
    """Calibration and held-out errors of the shipped instruments, as `scripts/train_instruments.py` wrote them."""
    return json.loads((WEIGHTS / "brain_instruments.json").read_text())


def calibrate(raw: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Apply the stored line of each quantity; volumes are never negative."""
    lines = stated_errors()["volumes"]["calibration"]
    return {name: np.maximum(lines[name]["slope"] * raw[name] + lines[name]["intercept"], 0) for name in raw}


def measure_brains(images: np.ndarray | torch.Tensor, spacing_mm: float = SPACING_MM) -> dict[str, np.ndarray]:
    """As `measure_brain` for a batch (N, D, H, W) or (N, 1, D, H, W): name -> (N,) mL."""
    stack = np.stack([to_grid(image, spacing_mm) for image in images])
    parts = [raw_volumes(segment(stack[start : start + 8])) for start in range(0, len(stack), 8)]
    return calibrate({name: np.concatenate([part[name] for part in parts]) for name in QUANTITIES})


def measure_brain(image: np.ndarray | torch.Tensor, spacing_mm: float = SPACING_MM) -> dict[str, float]:
    """Volumes in mL of one brain-extracted RAS image.

    Args:
        image: (D, H, W) or (1, D, H, W), any MR contrast, background near 0.
        spacing_mm: voxel size; other than 4 mm is resampled.

    Returns:
        ventricle_ml, gm_ml, wm_ml, csf_ml (sulcal) and brain_ml (grey plus white matter).
    """
    return {name: float(values[0]) for name, values in measure_brains([image], spacing_mm).items()}

"""Volumes of brain tissues in mL, measured on an image alone.

A smooth rule (`brain_regressor`) on histograms by depth and place (`brain_histograms`), fitted on phantoms of the
training seeds; what it gets wrong on test seeds stands in `weights/brain_instruments.json`. Never used in a training
loss.
"""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import torch

from synthzoo.instruments.brain.regressor import read
from synthzoo.instruments.brain.segmentation import SPACING_MM, WEIGHTS

QUANTITIES = ("ventricle_ml", "gm_ml", "wm_ml", "csf_ml", "brain_ml")


@lru_cache(maxsize=1)
def stated_errors() -> dict:
    """Held-out errors of the shipped instruments, as `scripts/train_instruments.py` wrote them."""
    return json.loads((WEIGHTS / "brain_instruments.json").read_text(encoding="utf-8"))


def measure_brains(
    images: np.ndarray | torch.Tensor, spacing_mm: float = SPACING_MM, contrast: str = "T1w"
) -> dict[str, np.ndarray]:
    """As `measure_brain` for a batch (N, D, H, W) or (N, 1, D, H, W): name -> (N,) mL."""
    found = np.maximum(read("brain_volumes", images, contrast, spacing_mm), 0)
    return dict(zip(QUANTITIES, found.T, strict=True))


def measure_brain(
    image: np.ndarray | torch.Tensor, spacing_mm: float = SPACING_MM, contrast: str = "T1w"
) -> dict[str, float]:
    """Volumes in mL of one brain-extracted RAS image.

    Args:
        image: (D, H, W) or (1, D, H, W), background near 0; any brightness.
        spacing_mm: voxel size; other than 4 mm is resampled.
        contrast: T1w, T2w, FLAIR or PD; the errors of each are stated apart, and PD reads worst.

    Returns:
        ventricle_ml, gm_ml, wm_ml, csf_ml (sulcal) and brain_ml (grey plus white matter).

    Raises:
        UserError: not a 3D volume, a constant image, values that are not finite, an unknown contrast or one
            without a rule.
    """
    return {name: float(values[0]) for name, values in measure_brains([image], spacing_mm, contrast).items()}

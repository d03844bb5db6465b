"""Age in years, predicted from a brain image by a regressor on intensity levels and volumes.

A straight rule on how bright the brain is at each depth (`brain_levels`) and on the volumes that `brain_volumes` reads.
In half of the phantoms on which it is fitted age, ventricles and brain volume know nothing of each other, and what its
reading still owed to the two volumes is taken out on validation phantoms: it does not take the ventricles for the age,
it reads what age alone does (width of the sulci, signal of white matter and its contrast to grey). Brightness has to be
that of the phantoms. It is the age of the phantom's prior, not a person's. Its errors stand in
`weights/brain_instruments.json`. Never used in a training loss.
"""

from __future__ import annotations

import numpy as np
import torch

from synthzoo.instruments.brain.regressor import read
from synthzoo.instruments.brain.segmentation import SPACING_MM


def measure_ages(
    images: np.ndarray | torch.Tensor, spacing_mm: float = SPACING_MM, contrast: str = "T1w"
) -> np.ndarray:
    """Ages in years, (N,), of brains (N, D, H, W) or (N, 1, D, H, W), RAS, brain-extracted, in [0, 1]."""
    return read("brain_age", images, contrast, spacing_mm)[:, 0]


def measure_age(image: np.ndarray | torch.Tensor, spacing_mm: float = SPACING_MM, contrast: str = "T1w") -> float:
    """Age in years of one brain (D, H, W) or (1, D, H, W), RAS, brain-extracted.

    Args:
        image: background near 0, brightness as the phantoms render it, in [0, 1].
        spacing_mm: voxel size; other than 4 mm is resampled.
        contrast: T1w, T2w, FLAIR or PD; the errors of each are stated apart, and PD reads worst.

    Raises:
        UserError: not a 3D volume, a constant image, values that are not finite, an unknown contrast or one
            without a rule.
    """
    return float(measure_ages([image], spacing_mm, contrast)[0])

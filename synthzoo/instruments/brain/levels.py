"""Intensity of a brain at each depth, on the phantoms' scale: features of age besides volumes.

White matter loses signal with age and grey matter does not, so the levels fall and draw together. They are few and each
is an average over thousands of voxels, which a smooth or softened image keeps.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

from synthzoo.instruments.brain.histograms import DEPTHS_MM, brain_mask

SMOOTHING = 0.5  # Gaussian, in voxels
OVERALL, BY_DEPTH = (0.1, 0.25, 0.5, 0.75, 0.9, 0.98), (0.1, 0.5, 0.9)


def describe_levels(image: np.ndarray, spacing_mm: float = 4.0) -> np.ndarray:
    """Features float32 (38,) of a brain-extracted image (D, H, W): quantiles, mean and spread by depth, size in mL.

    Args:
        image: RAS, background near 0, brightness as rendered by the phantoms (white matter of a T1w image near 0.85).
        spacing_mm: voxel size.
    """
    image = ndi.gaussian_filter(image.astype(np.float32), SMOOTHING, truncate=3)
    mask = brain_mask(image)
    depth = ndi.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1] * spacing_mm
    found = [*np.quantile(image[mask], OVERALL)]
    for low, high in zip(DEPTHS_MM[:-1], DEPTHS_MM[1:], strict=True):
        layer = image[mask & (depth > low) & (depth <= high)]
        found += [layer.mean(), layer.std(), *np.quantile(layer, BY_DEPTH)] if layer.size else [0.0] * 5
    return np.array([*found, mask.sum() * spacing_mm**3 / 1000, depth[mask].mean()], np.float32)

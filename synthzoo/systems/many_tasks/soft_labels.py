"""Soft labels: the distance of a voxel from its healthy value (Baugh et al., MICCAI 2023).

    a = mean over channels of |augmented - original| inside the changed region
    y = 1 - exp(-a^2 / (2 sigma^2))
Then, per connected component, small gaps are closed (grey closing) and holes filled (reconstruction by erosion), so
that the inside of a displaced structure counts although some of its voxels kept their value by coincidence.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.morphology import reconstruction


def soft_label(original: np.ndarray, augmented: np.ndarray, region: np.ndarray, sigma: float = 0.2) -> np.ndarray:
    """Per-voxel degree of change.

    Args:
        original: healthy image (C, *spatial).
        augmented: the same image with anomalies.
        region: boolean (*spatial), union of all changed regions.
        sigma: change in image units that counts as 0.39.

    Returns:
        (1, *spatial) float32 in [0, 1), exactly 0 outside `region`.
    """
    change = np.abs(augmented.astype(np.float64) - original).mean(0) * region
    label = 1 - np.exp(-(change**2) / (2 * sigma**2))
    footprint = ndimage.generate_binary_structure(region.ndim, 2)
    components, _ = ndimage.label(region)
    for index, where in enumerate(ndimage.find_objects(components), start=1):
        part = components[where] == index
        filled = _close_and_fill(np.where(part, label[where], 0), footprint)
        label[where] = np.where(part, filled, label[where])
    return np.clip(label, 0, np.nextafter(np.float32(1), np.float32(0)))[None].astype(np.float32)


def _close_and_fill(values: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    closed = ndimage.grey_closing(values, footprint=footprint, mode="nearest")
    seed = np.full_like(closed, closed.max())
    for axis in range(closed.ndim):
        for end in (0, -1):
            border: list[slice | int] = [slice(None)] * closed.ndim
            border[axis] = end
            seed[tuple(border)] = closed[tuple(border)]
    return reconstruction(seed, closed, method="erosion", footprint=footprint)

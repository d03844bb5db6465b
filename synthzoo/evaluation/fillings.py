"""Holes in scans filled without knowledge of brains: what an inpainting model is set against."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi
from skimage.restoration import inpaint_biharmonic

RING_VOXELS = 3


def by_surroundings(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """An image (D, H, W) whose hole, bool, is filled by the mean of the brain around it."""
    ring = ndi.binary_dilation(hole, iterations=RING_VOXELS) & ~hole & (image > 0)
    return np.where(hole, image[ring].mean() if ring.any() else image[image > 0].mean(), image)


def by_other_side(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """An image (D, H, W), first axis left to right, whose hole, bool, is filled by its mirror image, else by a mean."""
    return np.where(hole & (image[::-1] > 0), image[::-1], by_surroundings(image, hole))


def biharmonic(image: np.ndarray, hole: np.ndarray, unit: float = 1.0) -> np.ndarray:
    """An image (D, H, W) whose hole, bool, is filled by the smoothest surface around it (scikit-image).

    `unit` divides the intensities on the way, to about [0, 1].
    """
    box = tuple(slice(max(s.start - 4, 0), s.stop + 4) for s in ndi.find_objects(hole.astype(np.uint8))[0])
    out = image.copy()
    out[box] = inpaint_biharmonic(image[box].astype(np.float64) / unit, hole[box]) * unit
    return out

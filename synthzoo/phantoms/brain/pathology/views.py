"""What a scan shows beside brain, and what of it is missing: rests of skull, vessels and neck, cut fields of view.

All functions take slices (h, w) and volumes (D, H, W) alike.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

from synthzoo.phantoms.brain.slices import field

FARTHEST = 6.0  # voxels from the brain to which a rest reaches
CUT_SHARE = 0.2  # of slices, whose field of view ends within the brain


def strip_unevenly(weight: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """What an imperfect skull strip leaves, bool: an edge that drifts a voxel or two in and out.

    Args:
        weight: share of brain, float32 in [0, 1].
        rng: random state.
    """
    inside = weight > 0.4
    inner = ndi.distance_transform_edt(inside) - ndi.distance_transform_edt(~inside)
    drift = rng.normal(0.2, 0.7) + rng.uniform(0, 1.2) * field(rng, weight.shape, 7)
    return (inner > drift) & (inner > -4)


def rests(weight: np.ndarray, brightest: float, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Rests of fluid, skull, fat, vessels and neck beyond the brain's edge.

    Args:
        weight: share of brain, float32 in [0, 1].
        brightest: level of the brightest healthy tissue.
        rng: draws how far they reach, where they are and how bright: shells, patches of them, and at times vessels that
            shine at the edge or a clump below, as of neck.

    Returns:
        Their intensity, and where they are, bool, outside of the brain.
    """
    outside = weight < 0.4
    away = ndi.distance_transform_edt(outside)
    patches = field(rng, weight.shape, rng.randint(4, 9))
    levels = rng.uniform(0, (0.6, 2.2, 1.2, 2.6)[rng.randint(4)], 4) * brightest
    bounds = np.cumsum(rng.uniform(0.5, 2.5, 3))
    intensity = levels[np.digitize(away, bounds)] * (1 + 0.25 * field(rng, weight.shape, 14))
    reach = rng.uniform(0.5, FARTHEST) * (rng.rand() < 0.7)
    where = (away <= reach) & (patches > rng.uniform(-0.5, 1.5))
    if rng.rand() < 0.35:  # vessels and sinuses at the edge
        spots = field(rng, weight.shape, rng.randint(10, 30)) > rng.uniform(1.0, 2.0)
        vessels = spots & (away < 3)
        intensity = np.where(vessels, rng.uniform(0.5, 2.8) * brightest, intensity)
        where |= vessels
    if rng.rand() < 0.15:  # below, where a strip fails first
        low = np.argwhere(~outside).min(0)[-1] if (~outside).any() else 0
        below = np.arange(weight.shape[-1]) < low + rng.randint(2, 14)
        clump = below & (field(rng, weight.shape, 6) > rng.uniform(-0.3, 0.8)) & (away < 20)
        intensity = np.where(clump & (away > bounds[-1]), rng.uniform(0, 1.8) * brightest, intensity)
        where |= clump
    return np.clip(intensity, 0, None), where & outside


def in_view(mask: np.ndarray, rng: np.random.RandomState, share: float = CUT_SHARE) -> np.ndarray:
    """What a field of view shows, bool of the mask's shape: at times one or two planes cut up to 40 % of the brain off.

    Args:
        mask: brain, bool (h, w) or (D, H, W).
        rng: random state; the planes are some degrees off the axes.
        share: how often something is cut.
    """
    seen = np.ones(mask.shape, bool)
    if rng.rand() >= share or not mask.any():
        return seen
    found = np.argwhere(mask)
    low, high = found.min(0), found.max(0)
    for _ in range(1 + (rng.rand() < 0.3)):
        axis = rng.randint(mask.ndim)
        normal = rng.normal(0, 0.12, mask.ndim)
        normal[axis] = rng.choice([-1.0, 1.0])
        middle = (low + high) / 2
        height = sum(
            n * (np.arange(size) - m).reshape([-1 if a == i else 1 for a in range(mask.ndim)])
            for i, (n, size, m) in enumerate(zip(normal, mask.shape, middle))
        )
        half = (high[axis] - low[axis]) / 2
        seen &= height < half * rng.uniform(0.2, 1.0)
    return seen


def thick(image: np.ndarray, rng: np.random.RandomState, share: float = 0.3) -> np.ndarray:
    """Resolution: a blur of up to 0.8 voxels along each axis, or of up to 2 along one, as thick slices have it."""
    if rng.rand() < 0.25:
        return image
    sigma = rng.uniform(0, 0.8, image.ndim)
    if rng.rand() < share:
        sigma[rng.randint(image.ndim)] = rng.uniform(0.8, 2.0)
    return ndi.gaussian_filter(image, sigma)

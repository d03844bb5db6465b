"""Folds and vessels drawn again on a slice of tissue maps, finer and more varied than one template holds.

A tissue map that is an average over people has wide gyri and few sulci, and smooth deformation gives it no new ones. A
model that knows only those takes the thin sulci of a real brain for lesions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage as ndi

CORTEX, DEEP, WHITE, CSF, VENTRICLE, CEREBELLUM = range(6)  # rows of `brain_pool.MAPS`


def refold(maps: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Replace the outer brain's tissue by other folds: sulci along the zero lines of noise, cortex on both sides.

    Args:
        maps: shares in [0, 1], float32 (C, h, w) with C > 5, in the order of `brain_pool.MAPS`, at 2 mm.
        rng: draws where the folds are (to 10 to 28 mm below the surface, or near all cortex), their width, and the
            patches that get them.

    Returns:
        maps of the same shape and the same sum of the first five.
    """
    weight = maps[:5].sum(0)
    depth = ndi.distance_transform_edt(weight > 0.4)
    noise = _noise(rng, weight.shape, rng.uniform(1.6, 2.6, 2))
    slope = np.hypot(*np.gradient(noise))
    line = np.abs(noise) / np.maximum(slope, 0.5 * slope.mean())  # voxels to the nearest zero line
    # Zero lines lie 4.4 sigmas apart on average: cortex this thin leaves white matter in every fold.
    sulcus, cortex = rng.uniform(0.0, 0.6), rng.uniform(0.7, 1.2)
    grey = np.maximum(_within(line, sulcus + cortex), _within(depth - 0.5, cortex))
    fluid = _within(line, sulcus) * min(1.0, rng.uniform(0.4, 1.4))
    grey = np.clip(grey - fluid, 0, 1)
    if rng.rand() < 0.5:
        band = np.clip((rng.uniform(5, 14) - depth) / 2, 0, 1) * (depth > 0)
    else:
        band = np.clip(6 * ndi.gaussian_filter(maps[CORTEX], 2.0) - 0.6, 0, 1)
    patches = np.clip(_noise(rng, weight.shape, (9.0, 9.0)) * 3 + rng.uniform(-1, 4), 0, 1)
    kept = maps[DEEP] + maps[VENTRICLE] + maps[CEREBELLUM]
    band = band * patches * np.clip(1 - kept / np.maximum(weight, 0.05), 0, 1)
    free = maps[CORTEX] + maps[WHITE] + maps[CSF]
    out = maps.copy()
    for row, share in ((CORTEX, grey), (WHITE, 1 - grey - fluid), (CSF, fluid)):
        out[row] = (1 - band) * maps[row] + band * free * share
    return out


def refoliate(maps: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Give the cerebellum leaves: bent stripes of grey matter with fluid between them, less of its white matter.

    Args:
        maps: as for `refold`.
        rng: draws the stripes' direction, distance (4 to 10 mm), bend and strength.
    """
    ys, xs = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in maps.shape[1:]), indexing="ij")
    angle, gap = rng.uniform(0, np.pi), rng.uniform(2, 5)
    bend = rng.uniform(0.5, 2.5) * _noise(rng, maps.shape[1:], (4.0, 4.0))
    wave = np.sin(2 * np.pi * (np.cos(angle) * ys + np.sin(angle) * xs) / gap + bend)
    free = maps[CORTEX] + maps[WHITE] + maps[CSF]
    fluid = np.maximum(np.clip(wave, 0, 1) * rng.uniform(0, 0.6) * free, maps[CSF])
    white = np.minimum(maps[WHITE] * rng.uniform(0.3, 1.0), free - fluid)
    inside = np.clip(2 * maps[CEREBELLUM], 0, 1) * rng.uniform(0.4, 1.0)
    out = maps.copy()
    for row, share in ((CORTEX, free - fluid - white), (WHITE, white), (CSF, fluid)):
        out[row] = (1 - inside) * maps[row] + inside * share
    return out


def sulcal_vessels(maps: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Cut vessels, as shares of a voxel (h, w): small spots in the fluid of sulci and fissures.

    Args:
        maps: as for `refold`.
        rng: draws how many there are.
    """
    fluid = ndi.maximum_filter(maps[CSF], 2)
    spots = _noise(rng, fluid.shape, (0.6, 0.6))
    return np.clip((spots - rng.uniform(0.9, 2.5)) * 2, 0, 1) * np.clip(1.5 * fluid, 0, 1)


def _noise(rng: np.random.RandomState, shape: Sequence[int], sigma: float | Sequence[float] | np.ndarray) -> np.ndarray:
    noise = ndi.gaussian_filter(rng.standard_normal(shape).astype(np.float32), sigma)
    return noise / max(float(noise.std()), 1e-12)


def _within(distance: np.ndarray, reach: float) -> np.ndarray:
    """1 where the distance is below the reach, 0 beyond, over a ramp of a voxel."""
    return np.clip(0.5 + reach - distance, 0, 1) if reach > 0 else np.zeros_like(distance)

"""Intensity histograms by depth and place, relative to the brain's own levels, as features of tissue volumes.

At 4 mm a voxel of cortex mixes grey matter and fluid; one voxel cannot be unmixed, but the distribution of thousands at
a given depth can. Volumes are binned linearly between centres, so they change smoothly with the image. The image is
smoothed first: what an autoencoder gets wrong is rough and what is tested on is not, so the smoothed image is nearly
the same before and after it.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

DEPTHS_MM = (0.0, 6.0, 10.0, 16.0, 24.0, 34.0, 1e3)  # below the surface
LEVELS = (0.0, 0.01, 0.1, 0.3, 0.6, 1.01)  # chance of a place to be ventricle
TOPS = {"T1w": 1.5, "T2w": 3.0, "FLAIR": 1.6, "PD": 1.7}  # the brightest bin, in medians of the brain
SMOOTHING = 1.0  # Gaussian, in voxels
BINS = 20
QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
PRIOR_SHAPE, PRIOR_REACH = (24, 24, 24), 2.4  # grid of places, in standard deviations of the mask around its centre


def brain_mask(image: np.ndarray) -> np.ndarray:
    """Brain of a brain-extracted image, bool (D, H, W): brighter than a tenth of the bright end, opened and filled."""
    bright = image > 0.1 * np.percentile(image, 99.5)
    opened = ndi.binary_opening(bright)
    return ndi.binary_fill_holes(opened if opened.sum() > 100 else bright)


def flatten(image: np.ndarray, mask: np.ndarray, width: float = 5.0) -> np.ndarray:
    """Image relative to its slowly varying light, (D, H, W): 1 is the median tissue.

    The light is the average of voxels near the median, so fluid does not darken its surroundings.
    """
    level = max(float(np.median(image[mask])), 1e-6)
    tissue = mask & (np.abs(image / level - 1) < 0.35)
    share = ndi.gaussian_filter(tissue.astype(np.float32), width, truncate=2.5)
    light = ndi.gaussian_filter(np.where(tissue, image, 0).astype(np.float32), width, truncate=2.5)
    local = (light + 0.01 * level) / (share + 0.01)
    flat = image / np.maximum(local, 0.2 * level)
    return flat / max(float(np.median(flat[mask])), 1e-6)


def places(mask: np.ndarray) -> np.ndarray:
    """Index of each voxel of `mask` (N,) in the flat grid of places, from its position relative to the mask's own."""
    points = np.argwhere(mask).astype(np.float32)
    relative = (points - points.mean(0)) / np.maximum(points.std(0), 1e-3)
    size = np.array(PRIOR_SHAPE)
    cell = np.clip((relative / PRIOR_REACH + 1) / 2 * size, 0, size - 1).astype(int)
    return np.ravel_multi_index(cell.T, PRIOR_SHAPE)


def soft_histograms(values: np.ndarray, groups: np.ndarray, count: int, top: float) -> np.ndarray:
    """Histograms (count, BINS) of `values` (N,) on [0, top] in each of the `groups` (N,), shared between two bins."""
    position = np.clip(values / top, 0, 1) * (BINS - 1)
    low = np.minimum(position.astype(int), BINS - 2)
    part = position - low
    where = groups * BINS + low
    size = count * BINS
    return (np.bincount(where, 1 - part, size) + np.bincount(where + 1, part, size)[:size]).reshape(count, BINS)


def describe(image: np.ndarray, prior: np.ndarray, contrast: str = "T1w", spacing_mm: float = 4.0) -> np.ndarray:
    """Feature vector float32 (K,) of a brain-extracted image (D, H, W): volumes in mL, shares, levels, shape.

    Args:
        image: RAS, background near 0.
        prior: chance of each place to be ventricle, (prod(PRIOR_SHAPE),).
        contrast: sets the brightest bin.
        spacing_mm: voxel size.
    """
    image = ndi.gaussian_filter(image.astype(np.float32), SMOOTHING, truncate=3)
    mask = brain_mask(image)
    box = tuple(slice(max(s.start - 2, 0), s.stop + 2) for s in ndi.find_objects(mask.astype(np.uint8))[0])
    image, mask = image[box], mask[box]
    voxel_ml = spacing_mm**3 / 1000
    flat = flatten(image, mask)
    wide = ndi.binary_dilation(mask, iterations=2)  # the partly filled voxels around it
    depth = ndi.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1][mask] * spacing_mm
    inside, top = flat[mask], TOPS[contrast]
    layer = np.digitize(depth, DEPTHS_MM) - 1
    place = np.digitize(prior[places(mask)], LEVELS) - 1
    by_depth = soft_histograms(inside, layer, len(DEPTHS_MM) - 1, top) * voxel_ml
    by_place = soft_histograms(inside, place, len(LEVELS) - 1, top) * voxel_ml
    around = flat[wide & ~mask]
    shell = soft_histograms(around, np.zeros(around.size, int), 1, top)[:, 1:] * voxel_ml
    volume = float(by_depth.sum())
    shape = [volume, 10 * volume ** (2 / 3), 10 * depth.mean(), *(10 * spacing_mm * np.argwhere(mask).std(0))]
    share = 1000 * by_depth.sum(0) / volume
    levels = [quantiles(inside[layer == k]) for k in range(len(DEPTHS_MM) - 1)]
    levels += [quantiles(inside[place == k]) for k in range(len(LEVELS) - 1)]
    parts = [by_depth.ravel(), by_place.ravel(), shell.ravel(), shape, share, *levels]
    return np.concatenate(parts).astype(np.float32)


def quantiles(values: np.ndarray) -> np.ndarray:
    """`QUANTILES` of values (N,) in percent, zeros if there are none."""
    return 100 * np.quantile(values, QUANTILES) if len(values) else np.zeros(len(QUANTILES))


def place_prior(maps: list[np.ndarray], masks: list[np.ndarray]) -> np.ndarray:
    """Mean of the maps (D, H, W) at each place, float32 (prod(PRIOR_SHAPE),); 0 where no mask reaches."""
    size = int(np.prod(PRIOR_SHAPE))
    total, seen = np.zeros(size), np.zeros(size)
    for values, mask in zip(maps, masks, strict=True):
        where = places(mask)
        total += np.bincount(where, values[mask], size)
        seen += np.bincount(where, minlength=size)
    prior = (total / np.maximum(seen, 1)).reshape(PRIOR_SHAPE)
    return ndi.gaussian_filter(prior, 0.5).ravel().astype(np.float32)

"""Masks and boxes from attention maps by a mixture of two normal distributions (Dombrowski et al., AAAI 2024)."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import ndimage as ndi
from sklearn.mixture import GaussianMixture


def mixture_of(values: np.ndarray) -> tuple[float, float] | None:
    """Two normal distributions that are fitted to values; None where that cannot be.

    Returns:
        the mean of their means, which is the threshold, and their separation d' = |m1 - m2| / sqrt((v1 + v2) / 2).
    """
    flat = np.asarray(values, np.float64).reshape(-1, 1)
    if not flat.size or not np.isfinite(flat).all() or flat.std() <= 1e-9 * max(abs(float(flat.mean())), 1e-30):
        return None
    scaled = (flat - flat.min()) / (flat.max() - flat.min())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two values alone converge badly and well enough
        found = GaussianMixture(2, random_state=0).fit(scaled)
    separation = float(np.ptp(found.means_) / np.sqrt(found.covariances_.mean()))
    return float(flat.min() + found.means_.mean() * (flat.max() - flat.min())), separation


def mixture_threshold(values: np.ndarray) -> float | None:
    """The threshold of `mixture_of`; None where there is none."""
    found = mixture_of(values)
    return None if found is None else found[0]


def mixture_mask(heat: np.ndarray) -> np.ndarray:
    """Where a map (h, w) is above its mixture's threshold, bool (h, w), without single pixels of either kind.

    Of an even map, or one that is not finite, nothing.
    """
    threshold = mixture_threshold(heat)
    if threshold is None:
        return np.zeros(np.shape(heat), bool)
    above = np.asarray(heat) > threshold
    smooth = ndi.uniform_filter(above.astype(np.float64), 3, mode="nearest") >= 0.5 - 1e-9
    inner = (slice(1, -1), slice(1, -1))
    above[inner] = smooth[inner]
    return above


def box_of(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """The tight box of a mask (H, W) as x, y, w, h in pixels; None of an empty one."""
    rows, columns = np.flatnonzero(np.any(mask, 1)), np.flatnonzero(np.any(mask, 0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1

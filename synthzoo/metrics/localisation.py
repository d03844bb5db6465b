"""Localisation of lesions by a heat map: average precision, AUROC, Dice, and two baselines from intensity alone.

Average precision and AUROC over voxels are scikit-learn's; chance is the share of lesion voxels and 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage as ndi
from skimage.exposure import equalize_hist
from sklearn.metrics import average_precision_score, roc_auc_score

SLICE_SHARE = 5 / 128**2  # a slice with more lesion than this is positive (Zimmerer et al., "CRADL")


def voxel_scores(heats: list[np.ndarray], lesions: list[np.ndarray], masks: list[np.ndarray]) -> dict[str, float]:
    """Average precision and AUROC over all brain voxels of all volumes, and the chance of the former.

    Args:
        heats: maps (D, H, W), higher is more abnormal.
        lesions: bool (D, H, W), truth.
        masks: bool (D, H, W), voxels that count.
    """
    scores = np.concatenate([h[m] for h, m in zip(heats, masks)])
    truth = np.concatenate([t[m] for t, m in zip(lesions, masks)])
    return {
        "ap": float(average_precision_score(truth, scores)),
        "auroc": float(roc_auc_score(truth, scores)),
        "chance": float(truth.mean()),
    }


def slice_ap(
    heats: Sequence[np.ndarray], lesions: Sequence[np.ndarray], masks: Sequence[np.ndarray], axis: int = 2
) -> float:
    """Average precision over slices; a slice scores the mean of its map over the brain."""
    scores, truth = [], []
    for heat, lesion, mask in zip(heats, lesions, masks):
        other = tuple(a for a in range(3) if a != axis)
        area = mask.sum(other)
        keep = area > 50
        scores += list((heat * mask).sum(other)[keep] / area[keep])
        size = np.prod([n for a, n in enumerate(mask.shape) if a != axis])
        truth += list((lesion & mask).sum(other)[keep] / size > SLICE_SHARE)
    return float(average_precision_score(truth, scores))


def dice(
    heats: Sequence[np.ndarray], lesions: Sequence[np.ndarray], masks: Sequence[np.ndarray], threshold: float
) -> float:
    """Mean Dice over volumes at a threshold."""
    found = [(h >= threshold) & m for h, m in zip(heats, masks)]
    return float(np.mean([2 * (f & t).sum() / max(f.sum() + t.sum(), 1) for f, t in zip(found, lesions)]))


def healthy_threshold(heats: Sequence[np.ndarray], masks: Sequence[np.ndarray], share: float = 0.005) -> float:
    """The value that this share of the voxels of healthy brains exceeds."""
    return float(np.quantile(np.concatenate([h[m] for h, m in zip(heats, masks)]), 1 - share))


def inside_over_rim(
    heat: np.ndarray, lesion: np.ndarray, spacing_mm: float, rim_mm: float = 6.0, inside_mm: float = 12.0
) -> float | None:
    """Mean heat of a lesion's inside over that of its rim: 1 is an even map, below 1 a hollow one.

    Args:
        heat: map (D, H, W), at least 0.
        lesion: bool (D, H, W), truth.
        spacing_mm: of the grid.
        rim_mm: voxels up to so far from the edge are rim.
        inside_mm: voxels at least so far from it are inside.

    Returns:
        None for a lesion with no such inside, of less than about 10 mL, and for a map that is 0 on the rim.
    """
    depth = ndi.distance_transform_edt(np.pad(lesion, 1))[(slice(1, -1),) * lesion.ndim] * spacing_mm
    rim, inside = lesion & (depth <= rim_mm), depth >= inside_mm
    if not inside.any() or not heat[rim].mean() > 0:
        return None
    return float(heat[inside].mean() / heat[rim].mean())


def equalised_intensity(volume: np.ndarray, mask: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """Histogram-equalised intensity in [0, 1] within the brain, smoothed (Meissen et al., BrainLes 2021)."""
    out = np.zeros(volume.shape, np.float32)
    out[mask] = equalize_hist(volume[mask], nbins=256)
    weight = np.maximum(ndi.gaussian_filter(mask.astype(np.float32), sigma), 1e-3)
    return ndi.gaussian_filter(out, sigma) / weight * mask


def asymmetry(volume: np.ndarray, mask: np.ndarray, axis: int = 0, sigma: float = 1.0) -> np.ndarray:
    """|x - its mirror image| across an axis where both lie in the mask, smoothed; 0 outside the mask."""
    both = mask & np.flip(mask, axis)
    return ndi.gaussian_filter(np.where(both, np.abs(volume - np.flip(volume, axis)), 0), sigma) * mask


def distance_from_mean(volume: np.ndarray, mask: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """|x - mean| / deviation per voxel against healthy brains on the same grid, smoothed by one voxel."""
    return ndi.gaussian_filter(np.abs(volume - mean) / np.maximum(deviation, 0.3) * mask, 1.0)

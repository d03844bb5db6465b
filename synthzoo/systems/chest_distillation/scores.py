"""Scores of a heat map against a finding's box (Dombrowski et al., AAAI 2024; Boecking et al., ECCV 2022, for CNR).

pointing   the highest place of the map lies in the box; of equal ones the first counts
AUC        of the pixels' values, inside against outside
CNR        (mean inside - mean outside) / sqrt(variance inside + variance outside)
mIoU       mean of the intersection over union of mask and box, and of what both leave out
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from sklearn.metrics import roc_auc_score

SCORES = ("pointing", "auc", "cnr", "iou", "miou", "distance")


def box_mask(boxes: Iterable[Sequence[float]], size: int) -> np.ndarray:
    """The union of boxes x, y, w, h in pixels, bool (size, size); a box has one pixel at least."""
    mask = np.zeros((size, size), bool)
    for x, y, w, h in boxes:
        left, top = round(x), round(y)
        mask[top : max(round(y + h), top + 1), left : max(round(x + w), left + 1)] = True
    return mask


def hits(heat: np.ndarray, truth: np.ndarray) -> bool:
    """Whether the highest place of a map (H, W) lies in the truth, bool (H, W)."""
    return bool(truth.flat[int(np.argmax(heat))])


def contrast(heat: np.ndarray, truth: np.ndarray) -> float:
    """Contrast to noise ratio, signed; 0 where the map is even."""
    inside, outside = heat[truth], heat[~truth]
    noise = float(np.sqrt(inside.var() + outside.var()))
    return float(inside.mean() - outside.mean()) / noise if noise > 0 else 0.0


def overlap(mask: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Intersection over union of the masks (H, W), and the mean of that and of the background's."""

    def iou(a: np.ndarray, b: np.ndarray) -> float:
        return float((a & b).sum() / max((a | b).sum(), 1))

    own = iou(mask, truth)
    return own, (own + iou(~mask, ~truth)) / 2


def centre_distance(mask: np.ndarray, truth: np.ndarray) -> float:
    """Pixels between the centres of the masks' bounding boxes; NaN where one is empty."""
    middles = []
    for one in (mask, truth):
        places = np.argwhere(one)
        if not len(places):
            return float("nan")
        middles.append((places.min(0) + places.max(0) + 1) / 2)
    return float(np.linalg.norm(middles[0] - middles[1]))


def placed(heat: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The scores of a map (H, W) that need no mask, "pointing" and "auc"."""
    return {"pointing": float(hits(heat, truth)), "auc": float(roc_auc_score(truth.ravel(), heat.ravel()))}


def score(heat: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """All of `SCORES` of a map (H, W) and its mask, bool (H, W), against a truth that is neither empty nor all."""
    own, mean = overlap(mask, truth)
    return {
        **placed(heat, truth),
        "cnr": contrast(heat, truth),
        "iou": own,
        "miou": mean,
        "distance": centre_distance(mask, truth),
    }


def mean_scores(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Each score's mean over findings, leaving NaN out; NaN of none."""
    columns = {name: np.array([one[name] for one in found], np.float64) for name in (found[0] if found else SCORES)}
    known = {name: column[np.isfinite(column)] for name, column in columns.items()}
    return {name: float(column.mean()) if len(column) else float("nan") for name, column in known.items()}

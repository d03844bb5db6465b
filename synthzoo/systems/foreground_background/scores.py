"""Scores pooled over every pixel of a set, as published: accuracy, foreground IoU, and mIoU with the background's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

THRESHOLDS = tuple(round(0.02 * step, 2) for step in range(1, 50))


class PooledScores:
    """Counts of pixels of a binary segmentation; add masks, then read the scores."""

    def __init__(self) -> None:
        self.both = self.only_found = self.only_true = self.neither = 0

    def add(self, found: np.ndarray, truth: np.ndarray) -> None:
        """Count the pixels of masks, bool of one shape."""
        found, truth = np.asarray(found, bool), np.asarray(truth, bool)
        self.both += int((found & truth).sum())
        self.only_found += int((found & ~truth).sum())
        self.only_true += int((~found & truth).sum())
        self.neither += int((~found & ~truth).sum())

    @property
    def iou(self) -> float:
        """Intersection over union of the foreground; 0 where neither has any."""
        return self.both / max(self.both + self.only_found + self.only_true, 1)

    @property
    def miou(self) -> float:
        """Mean of the foreground's and the background's intersection over union."""
        return (self.iou + self.neither / max(self.neither + self.only_found + self.only_true, 1)) / 2

    @property
    def accuracy(self) -> float:
        """Share of the pixels that are right."""
        return (self.both + self.neither) / max(self.both + self.neither + self.only_found + self.only_true, 1)


def pooled(found: Sequence[np.ndarray] | np.ndarray, truth: Sequence[np.ndarray] | np.ndarray) -> PooledScores:
    """`PooledScores` of masks and truths, bool, in one order."""
    scores = PooledScores()
    for one, other in zip(found, truth, strict=True):
        scores.add(one, other)
    return scores


def best_threshold(
    maps: np.ndarray, truth: np.ndarray, thresholds: Sequence[float] = THRESHOLDS
) -> tuple[float, float]:
    """The threshold with the highest pooled foreground IoU, and that IoU; for validation images alone.

    Args:
        maps: (N, S, S) in [0, 1].
        truth: bool (N, S, S).
        thresholds: that are tried; the lowest of equal ones is taken.
    """
    scored = [pooled([maps >= threshold], [truth]).iou for threshold in thresholds]
    best = int(np.argmax(scored))
    return float(thresholds[best]), scored[best]

"""What could do the detectors' work without any training: a template of the disc, and distance to the private image."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score
from torch.nn import functional as F

from synthzoo.networks.first_weights import with_first_weights
from synthzoo.systems.adversarial_fingerprint.network import Detectors
from synthzoo.systems.adversarial_fingerprint.stamping import GREY, RADIUS

COVERED = 0.2  # least share of a disc that lies within the image, so that a corner of it is no disc


class DetectorShortcut:
    """Scores of images by a rule in place of both detectors; a threshold each is set on images of known truth.

    Args:
        private: the private image without its fingerprint, float32 (1, S, S) in [0, 1].
        radius: of the disc, as a share of the width.
    """

    def __init__(self, private: torch.Tensor, radius: float = RADIUS) -> None:
        self.private, self.radius = private, radius
        self.thresholds = torch.zeros(2)

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        """Of images (N, 1, S, S): float32 (N, 2), how like a disc its most disc-like place is, and how near to the
        private image it lies by raw pixels; both at most 0, which is a perfect match."""
        return torch.stack([disc_match(images, self.radius), pixel_match(images, self.private)], 1)

    def set_thresholds(self, images: torch.Tensor, truth: torch.Tensor) -> None:
        """Take the thresholds of the largest balanced accuracy on images (N, 1, S, S) of truth bool (N, 2)."""
        scores = self.scores(images)
        chosen = [best_threshold(scores[:, column].numpy(), truth[:, column].numpy()) for column in range(2)]
        self.thresholds = torch.tensor(chosen)

    def seen(self, images: torch.Tensor) -> torch.Tensor:
        """Whether each image shows a fingerprint and the private image, bool (N, 2), as `Detectors.seen` says it."""
        return self.scores(images) > self.thresholds


class FirstWeights(DetectorShortcut):
    """The detectors' architecture before training."""

    def __init__(self, network: Detectors, private: torch.Tensor) -> None:
        super().__init__(private)
        self.network = with_first_weights(network).cpu()

    @torch.no_grad()
    def scores(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.network(part) for part in images.split(64)])


def disc_match(images: torch.Tensor, radius: float = RADIUS, value: float = GREY) -> torch.Tensor:
    """Minus the least mean difference from one grey within a disc, over all its places in images (N, 1, S, S): (N,)."""
    pixels = radius * images.shape[-1] - 0.71  # a disc whose centre lies between pixels covers this one
    reach = int(pixels)
    line = torch.arange(-reach, reach + 1)
    inside = (line[:, None] ** 2 + line**2 <= pixels**2).float()[None, None]
    covered = F.conv2d(torch.ones_like(images[:1]), inside, padding=reach)
    off = F.conv2d((images - value).abs(), inside, padding=reach) / covered
    return -off.masked_fill(covered < COVERED * inside.sum(), 1.0).amin((1, 2, 3))


def pixel_match(images: torch.Tensor, private: torch.Tensor) -> torch.Tensor:
    """Minus the median difference of images (N, 1, S, S) from the private image (1, S, S), which few discs change."""
    return -(images - private).abs().flatten(1).median(1).values


def best_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The threshold of scores (N,) with the largest balanced accuracy for truth bool (N,), in the middle of its gap."""
    levels = np.unique(scores)
    between = np.concatenate([[levels[0] - 1], (levels[1:] + levels[:-1]) / 2, [levels[-1] + 1]])
    return float(max(between, key=lambda level: balanced_accuracy_score(truth, scores > level)))

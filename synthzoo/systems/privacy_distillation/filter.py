"""The filter of Privacy Distillation, and the rate by which a set of images is judged.

    s_max(x) = max over training images i of s(x, x_i)
    tau      = 95th percentile of s_max over unseen patients;   rejected = s_max(x) >= tau
    R        = share of a set that is rejected, its re-identification ratio

s is a logit of a re-identification network, or any other similarity of two radiographs. tau is calibrated on the
maximum over the training set, since a maximum over many pairs is high for anyone. The ratio of the filter's own network
is 0 on what it kept: only other networks can judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import binomtest

from synthzoo.instruments.chest.identity import similarities
from synthzoo.metrics.reidentification import PERCENTILE, nearest, unseen_threshold
from synthzoo.systems.privacy_distillation.network import LabelDiffusion, reid_grid

# (queries (Q, 1, S, S), references (R, 1, S, S)) in [0, 1] -> similarities (Q, R)
Judge = Callable[[torch.Tensor, torch.Tensor], np.ndarray]
AT_ONCE = 128
LEVEL = 0.95


class Ratio(NamedTuple):
    """A share, `hits` of `n`, with its Clopper-Pearson interval."""

    hits: int
    n: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """hits / n."""
        return self.hits / self.n


def clopper_pearson(count: int, n: int, level: float = LEVEL) -> Ratio:
    """The exact interval of `count` of `n` (Clopper and Pearson, 1934)."""
    found = binomtest(int(count), int(n)).proportion_ci(level, method="exact")
    return Ratio(int(count), int(n), float(found.low), float(found.high))


class ReidJudge:
    """Similarity by the re-identification network of a `LabelDiffusion`, as logits.

    Args:
        network: whose `reid` is trained.
    """

    def __init__(self, network: LabelDiffusion) -> None:
        self.network = network.eval()

    @torch.no_grad()
    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings (N, K) of radiographs (N, 1, S, S) in [0, 1]."""
        device = next(self.network.parameters()).device
        parts = reid_grid(images, self.network.reid_size).split(AT_ONCE)
        return torch.cat([self.network.reid(part.to(device)) for part in parts])

    @torch.no_grad()
    def __call__(self, queries: torch.Tensor, references: torch.Tensor) -> np.ndarray:
        one, other = self.embed(queries), self.embed(references)
        return torch.cat([self.network.reid.logits(part, other).cpu() for part in one.split(1024)]).double().numpy()


def instrument_judge(queries: torch.Tensor, references: torch.Tensor) -> np.ndarray:
    """Similarity by the zoo's identity instrument, which was trained on patients of its own."""
    return similarities(queries, references)


class Calibrated:
    """A judge with its training images and its threshold.

    Args:
        judge: see `Judge`.
        training: radiographs (N, 1, S, S) in [0, 1] of the patients to be protected.
        unseen: of patients whom no generator saw, at least 20 images.
        percentile: of their best similarities.

    Attributes:
        threshold: tau.
    """

    def __init__(
        self, judge: Judge, training: torch.Tensor, unseen: torch.Tensor, percentile: float = PERCENTILE
    ) -> None:
        self.judge, self.training = judge, training
        self.threshold = unseen_threshold(self.best(unseen)[0], percentile)

    def best(self, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """s_max (N,) and the number of the training image that has it, int64 (N,)."""
        return nearest(self.judge(images, self.training))

    def ratio(self, images: torch.Tensor) -> Ratio:
        """R of a set of images, with its interval."""
        return clopper_pearson(int((self.best(images)[0] >= self.threshold).sum()), len(images))


def kept_by_label(conditions: np.ndarray, kept: np.ndarray, names: Sequence[str]) -> list[list]:
    """Share of the samples that was kept, for each label that is present and each that is absent.

    Args:
        conditions: (N, K), 0 or 1, NaN where unset.
        kept: bool (N,).
        names: of the labels.

    Returns:
        rows of name, samples with it, share of these kept, samples without it, share of these kept.
    """
    rows = []
    for column, name in enumerate(names):
        row: list = [name]
        for state in (1, 0):
            have = conditions[:, column] == state
            row += [int(have.sum()), round(float(kept[have].mean()), 4) if have.any() else None]
        rows.append(row)
    return rows

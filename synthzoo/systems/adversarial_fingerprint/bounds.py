"""Counts into probabilities: bounds of Clopper and Pearson, the bound through a noise level, and the verdict.

q is the probability that a sample is the private image. Let r_i(t) be the probability that training image i, brought to
noise level t and denoised, comes out as the private image p. Where the model's marginal at level t is the forward
marginal of its N training images, as a score that was learnt well makes it,

    q = (1 / N) [r_p(t) + sum_{i != p} r_i(t)]    for every t.

A perfect memoriser emits each training image with probability 1 / N, so that rho = q N is 1 for it, and 0 for a model
that never reproduces the image.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy import stats

from synthzoo.errors import UserError

CONFIDENCE = 0.95
NOTHING = "not distinguishable from 0"
FOUND = "reproduced"


def _expect_counts(hits: int, runs: int) -> None:
    if not (runs >= 1 and 0 <= hits <= runs):
        raise UserError(f"{hits} hits of {runs} runs: at least 1 run, and from 0 to as many hits.")


def upper(hits: int, runs: int, confidence: float = CONFIDENCE) -> float:
    """One-sided upper bound of Clopper and Pearson of a probability, in [0, 1]; 0 of S gives about 3 / S.

    >>> round(upper(0, 30_000), 6)
    0.0001

    Raises:
        UserError: counts that are none.
    """
    _expect_counts(hits, runs)
    return 1.0 if hits == runs else float(stats.beta.ppf(confidence, hits + 1, runs - hits))


def lower(hits: int, runs: int, confidence: float = CONFIDENCE) -> float:
    """One-sided lower bound of Clopper and Pearson of a probability, in [0, 1]; see `upper`."""
    _expect_counts(hits, runs)
    return 0.0 if hits == 0 else float(stats.beta.ppf(1 - confidence, hits, runs - hits + 1))


def level_bound(n_images: int, own: tuple[int, int], others: tuple[int, int]) -> float:
    """Upper bound of q through one noise level, in [0, 1].

    q_ub = (1 / N) [upper(r_p) + (N - 1) upper(mean of r_i over i != p)]

    Args:
        n_images: N, with the private image.
        own: (hits, runs) of the private image at that level.
        others: (hits, runs) of other training images, drawn at random.

    Raises:
        UserError: counts that are none, or fewer than 2 images.
    """
    if n_images < 2:
        raise UserError(f"n_images = {n_images}: the bound is of a training set of at least 2 images.")
    return min(1.0, (upper(*own) + (n_images - 1) * upper(*others)) / n_images)


@dataclass(frozen=True)
class Count:
    """Samples that both detectors took for the private image, and as many as they take by mistake.

    Attributes:
        hits, samples: k and S.
        false_hits, false_samples: the same of a model that was trained without the private image.
    """

    hits: int
    samples: int
    false_hits: int = 0
    false_samples: int = 1

    def __post_init__(self) -> None:
        _expect_counts(self.hits, self.samples)
        _expect_counts(self.false_hits, self.false_samples)

    @property
    def rate(self) -> float:
        """k / S, the estimate of q."""
        return self.hits / self.samples

    @property
    def false_rate(self) -> float:
        """Rate of mistakes."""
        return self.false_hits / self.false_samples

    @property
    def interval(self) -> tuple[float, float]:
        """One-sided lower and upper bounds of q."""
        return lower(self.hits, self.samples), upper(self.hits, self.samples)

    @property
    def chance(self) -> float:
        """Fisher's exact probability of as many hits or more if they were mistakes alone."""
        table = [[self.hits, self.samples - self.hits], [self.false_hits, self.false_samples - self.false_hits]]
        return float(stats.fisher_exact(table, alternative="greater")[1])

    @property
    def verdict(self) -> str:
        """Verdict: "reproduced" where k / S lies above the detectors' mistakes, else "not distinguishable from 0"."""
        return FOUND if self.rate > self.false_rate else NOTHING

    def ratio(self, n_images: int) -> float:
        """rho = N k / S, 1 for a perfect memoriser of N images and 0 where nothing was reproduced."""
        return self.rate * n_images

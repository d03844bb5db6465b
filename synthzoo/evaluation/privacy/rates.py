"""Rates of attacks with intervals, and the risk that is left when what works without any leak is taken away.

After Giomi et al., "A Unified Framework for Quantifying Privacy Risk in Synthetic Data" (PETS 2023, `anonymeter`):

    attack    share of attacks on training data that succeed
    control   share of the same attacks on data that the generator never saw: what general likeness gives away
    baseline  share that succeeds by a naive guess: an attack that is no better says nothing
    risk = (attack - control) / (1 - control),   its error propagated from the Wilson intervals of both

(Wilson, 1927). Thresholds are quantiles of held-out images and so have an error of their own: the interval of a risk
also covers draws of these images by patient.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import norm

LEVEL = 0.95
DRAWS = 400


class Rate(NamedTuple):
    """Share of successes with its Wilson interval: `centre` - `error` to `centre` + `error`."""

    successes: float
    n: float
    centre: float
    error: float

    def as_dict(self) -> dict:
        """For a report; a share among patients is rounded to their number."""
        low, high = max(self.centre - self.error, 0.0), min(self.centre + self.error, 1.0)
        rate = self.successes / self.n if self.n else None
        return {"successes": round(self.successes), "n": round(self.n), "rate": rate, "interval": [low, high]}


def wilson(successes: float, n: float, level: float = LEVEL) -> Rate:
    """Wilson's interval of a share; without attacks it is all of 0 to 1."""
    if n <= 0:
        return Rate(0, 0, 0.5, 0.5)
    z = float(norm.ppf((1 + level) / 2))
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    error = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return Rate(float(successes), float(n), float(centre), float(error))


def risk(attack: Rate, control: Rate) -> tuple[float, float, float]:
    """The risk and the ends of its interval, from 0 to 1 (the lower end may be below 0, so that it can be judged)."""
    left = max(1 - control.centre, 1e-9)
    value = (attack.centre - control.centre) / left
    error = np.hypot(attack.error / left, control.error * (1 - attack.centre) / left**2)
    return float(np.clip(value, 0, 1)), float(value - error), float(min(value + error, 1))


def bootstrap_ratio(
    one: np.ndarray, two: np.ndarray, owners: np.ndarray, seed: int = 0, level: float = LEVEL
) -> tuple[float, float, float]:
    """median(one) / median(two) and its interval; `one` is drawn again by image, `two` by patient (`owners`)."""
    rng = np.random.default_rng([seed, 71])
    _, owner = np.unique(owners, return_inverse=True)
    groups = np.split(np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner))[:-1])
    values = []
    for _ in range(DRAWS):
        drawn = np.concatenate([groups[n] for n in rng.integers(len(groups), size=len(groups))])
        values.append(np.median(rng.choice(one, len(one))) / max(np.median(two[drawn]), 1e-9))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(np.median(one) / max(np.median(two), 1e-9)), float(low), float(high)


def rank_of(share: float, count: int) -> int:
    """Rank of the held-out value, from the suspicious end, that this share of unseen images lies beyond; at least 1."""
    return max(1, int(share * count))


def claims(values: np.ndarray, held_out: np.ndarray, rank: int) -> int:
    """How many values lie below the held-out one of this rank."""
    return int((values < np.partition(held_out, rank - 1)[rank - 1]).sum())


def bootstrap_risk(
    attack: np.ndarray, known: np.ndarray, control: np.ndarray, other: np.ndarray, rank: int, seed: int = 0
) -> tuple[float, float]:
    """Ends of the interval of a risk over draws of attacks and of the held-out values that set both thresholds.

    Args:
        attack, known: values of the attacks on training data, and the held-out values that set their threshold.
        control, other: the same of the control; `attack` and `control` of one length are drawn together.
        rank: see `rank_of`.
    """
    rng = np.random.default_rng([seed, 72])
    together, paired = len(attack) == len(control), len(known) == len(other)
    values = []
    for _ in range(DRAWS):
        one, held = rng.integers(len(attack), size=len(attack)), rng.integers(len(known), size=len(known))
        two = one if together else rng.integers(len(control), size=len(control))
        unseen = held if paired else rng.integers(len(other), size=len(other))
        a = claims(attack[one], known[held], rank) / len(attack)
        c = claims(control[two], other[unseen], rank) / len(control)
        values.append((a - c) / max(1 - c, 1e-9))
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)

"""Seeds and priors that the procedural phantoms share: clipped normal and uniform distributions, drawn together."""

from __future__ import annotations

from typing import Any

import numpy as np

from synthzoo.errors import UserError

Prior = tuple[float, ...]  # (lowest, highest) of a uniform distribution, or (mean, standard deviation, lowest, highest)


def integer_seed(name: str, seed: Any, phantom: str = "a phantom") -> int:
    """The seed as an int; UserError names it unless it is an integer from 0."""
    if isinstance(seed, bool) or not isinstance(seed, (int, float, np.number)) or seed != seed // 1 or seed < 0:
        raise UserError(f"{name} = {seed!r}: the seeds of {phantom} are integers from 0.")
    return int(seed)


def draw_prior(rng: np.random.Generator, prior: Prior, spread: float = 1.0) -> float:
    """A value of the prior, moved towards the distribution's centre by `spread` (1 as drawn, 0 the centre)."""
    if len(prior) == 2:
        centre, value = 0.5 * (prior[0] + prior[1]), rng.uniform(*prior)
    else:
        centre, deviation, low, high = prior
        value = np.clip(centre + deviation * rng.standard_normal(), low, high)
    return float(centre + spread * (value - centre))

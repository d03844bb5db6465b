"""Agreement of requested values with those that an instrument measured: r, slope, errors, and a shuffled control.

    r = corr(requested, measured);  slope, intercept: least squares of measured on requested;  MAE = mean |measured -
    requested|

The control pairs every measurement with another sample's request: a generator that ignores its conditions scores on
both alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import spearmanr

from synthzoo.errors import UserError


def agreement(requested: ArrayLike, measured: ArrayLike) -> dict[str, float]:
    """r, slope, intercept, mae and bias (mean of measured - requested) of two series (N,) in one unit, N >= 3.

    r and slope are nan where a series is constant.

    >>> found = agreement([20, 40, 60], [22, 41, 63])
    >>> found["r"], found["mae"]
    (0.9991, 2.0)
    """
    requested, measured = (np.asarray(v, dtype=np.float64).ravel() for v in (requested, measured))
    if requested.shape != measured.shape or requested.size < 3:
        raise ValueError(f"agreement needs two series of one length >= 3, got {requested.size} and {measured.size}")
    x, y = requested - requested.mean(), measured - measured.mean()
    sxx, syy, sxy = float(x @ x), float(y @ y), float(x @ y)
    slope = sxy / sxx if sxx > 0 else float("nan")
    r = sxy / np.sqrt(sxx * syy) if sxx > 0 and syy > 0 else float("nan")
    found = {
        "r": r,
        "slope": slope,
        "intercept": measured.mean() - slope * requested.mean(),
        "mae": np.abs(measured - requested).mean(),
        "bias": (measured - requested).mean(),
    }
    return {name: round(float(value), 4) for name, value in found.items()} | {"n": int(requested.size)}


def conditioning(requested: ArrayLike, measured: ArrayLike, seed: int = 0, shuffles: int = 20) -> dict:
    """`agreement` with its control: mean r, slope and MAE over `shuffles` random pairings, and the largest |r|."""
    requested, measured = (np.asarray(v, dtype=np.float64).ravel() for v in (requested, measured))
    rng = np.random.default_rng(seed)
    controls = [agreement(rng.permutation(requested), measured) for _ in range(shuffles)]
    control = {
        "r": round(float(np.mean([c["r"] for c in controls])), 4),
        "slope": round(float(np.mean([c["slope"] for c in controls])), 4),
        "largest_abs_r": round(float(np.max([abs(c["r"]) for c in controls])), 4),
        "mae": round(float(np.mean([c["mae"] for c in controls])), 4),
    }
    return {**agreement(requested, measured), "shuffled": control}


def reported(requested: ArrayLike, measured: ArrayLike) -> dict[str, float]:
    """r2, mae, rmse, spearman, n and lost of two series (N,) in one unit, N >= 3.

        R2 = 1 - sum (requested - measured)^2 / sum (requested - mean requested)^2

    The value depends on the variance of the requests: state it. A reading that is NaN counts as their mean,
    which earns nothing; `lost` says how many. Spearman's rank correlation is 0 where a series is constant.

    Raises:
        UserError: series of different lengths, fewer than 3, or NaN in what was requested.
    """
    requested, measured = (np.asarray(v, np.float64).ravel() for v in (requested, measured))
    if requested.shape != measured.shape or requested.size < 3 or not np.isfinite(requested).all():
        raise UserError(
            f"requested and measured: {requested.size} and {measured.size} numbers; give 3 of each or more."
        )
    lost = int(np.isnan(measured).sum())
    measured = np.where(np.isnan(measured), requested.mean(), measured)
    miss = measured - requested
    variation = float(((requested - requested.mean()) ** 2).sum())
    moves = np.ptp(requested) > 0 and np.ptp(measured) > 0
    found = {
        "r2": 1 - float((miss**2).sum()) / variation if variation else float("nan"),
        "mae": np.abs(miss).mean(),
        "rmse": np.sqrt((miss**2).mean()),
        "spearman": spearmanr(requested, measured).statistic if moves else 0.0,
    }
    return {name: round(float(value), 4) for name, value in found.items()} | {"n": int(requested.size), "lost": lost}

"""Did the generator do what was asked? Requested values against those that an instrument measured.

    r = corr(asked, measured);  slope, intercept: least squares of measured on asked;  MAE = mean |measured - asked|

The control pairs every measurement with another sample's request: a generator that ignores its conditions scores on
both alike.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

from synthzoo.errors import UserError


def agreement(asked, measured) -> dict[str, float]:
    """r, slope, intercept, mae and bias (mean of measured - asked) of two series (N,) in one unit, N >= 3.

    r and slope are nan where a series is constant.
    """
    asked, measured = (np.asarray(v, dtype=np.float64).ravel() for v in (asked, measured))
    if asked.shape != measured.shape or asked.size < 3:
        raise ValueError(f"agreement needs two series of one length >= 3, got {asked.size} and {measured.size}")
    x, y = asked - asked.mean(), measured - measured.mean()
    sxx, syy, sxy = float(x @ x), float(y @ y), float(x @ y)
    slope = sxy / sxx if sxx > 0 else float("nan")
    r = sxy / np.sqrt(sxx * syy) if sxx > 0 and syy > 0 else float("nan")
    found = {
        "r": r,
        "slope": slope,
        "intercept": measured.mean() - slope * asked.mean(),
        "mae": np.abs(measured - asked).mean(),
        "bias": (measured - asked).mean(),
    }
    return {name: round(float(value), 4) for name, value in found.items()} | {"n": int(asked.size)}


def conditioning(asked, measured, seed: int = 0, shuffles: int = 20) -> dict:
    """`agreement` with its control: mean r, slope and MAE over `shuffles` random pairings, and the largest |r|."""
    asked, measured = (np.asarray(v, dtype=np.float64).ravel() for v in (asked, measured))
    rng = np.random.default_rng(seed)
    controls = [agreement(rng.permutation(asked), measured) for _ in range(shuffles)]
    control = {
        "r": round(float(np.mean([c["r"] for c in controls])), 4),
        "slope": round(float(np.mean([c["slope"] for c in controls])), 4),
        "largest_abs_r": round(float(np.max([abs(c["r"]) for c in controls])), 4),
        "mae": round(float(np.mean([c["mae"] for c in controls])), 4),
    }
    return {**agreement(asked, measured), "shuffled": control}


def reported(asked, measured) -> dict[str, float]:
    """r2, mae, rmse, spearman, n and lost of two series (N,) in one unit, N >= 3.

        R2 = 1 - sum (asked - measured)^2 / sum (asked - mean asked)^2

    The value depends on the spread of what was asked: state it. A reading that is NaN counts as the mean of what was
    asked, which earns nothing; `lost` says how many. Spearman's rank correlation is 0 where a series is constant.

    Raises:
        UserError: series of different lengths, fewer than 3, or NaN in what was asked.
    """
    asked, measured = (np.asarray(v, np.float64).ravel() for v in (asked, measured))
    if asked.shape != measured.shape or asked.size < 3 or not np.isfinite(asked).all():
        raise UserError(f"asked and measured: {asked.size} and {measured.size} numbers; give 3 of each or more.")
    lost = int(np.isnan(measured).sum())
    measured = np.where(np.isnan(measured), asked.mean(), measured)
    miss = measured - asked
    spread = float(((asked - asked.mean()) ** 2).sum())
    moves = np.ptp(asked) > 0 and np.ptp(measured) > 0
    found = {
        "r2": 1 - float((miss**2).sum()) / spread if spread else float("nan"),
        "mae": np.abs(miss).mean(),
        "rmse": np.sqrt((miss**2).mean()),
        "spearman": spearmanr(asked, measured).statistic if moves else 0.0,
    }
    return {name: round(float(value), 4) for name, value in found.items()} | {"n": int(asked.size), "lost": lost}

"""How well asked and measured numbers agree, as the papers on counterfactual films of the heart report it."""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

from synthzoo.errors import UserError


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

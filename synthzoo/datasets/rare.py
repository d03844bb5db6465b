"""Rows of a data set of which those with what is rare come more often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Subset

from synthzoo.errors import UserError

EVEN = 0.5  # share of the rows that everything would be in if rows were repeated without a bound


def more_often(
    dataset: Dataset, most: int = 4, columns: Sequence[int] | None = None, key: str = "conditions"
) -> Subset:
    """The rows of a data set, those with a rare condition repeated.

    A row is taken round(.5 / f) times, at least once and at most `most` times, with f the share of rows in which the
    rarest of its conditions is above 0. A network that is told the conditions learns what is rare from more examples;
    what it makes of a request does not change with how often the request was seen.

    Args:
        dataset: rows with {key: (n,)}, NaN where unknown; `truth(row)`, where there is one, is read in place of a row.
        most: times that a row is taken.
        columns: of the conditions that are looked at; None looks at all.
        key: of the conditions.

    Raises:
        UserError: no times to take a row, or a column that the conditions have not.
    """
    if most < 1:
        raise UserError(f"most = {most}: give an integer of at least 1.")
    rows: Any = dataset
    read = rows.truth if hasattr(rows, "truth") else rows.__getitem__
    values = np.stack([np.asarray(read(row)[key]) for row in range(len(rows))])
    chosen = list(range(values.shape[1]) if columns is None else columns)
    if any(not 0 <= column < values.shape[1] for column in chosen):
        raise UserError(f"columns = {chosen}: the rows have {values.shape[1]} conditions, counted from 0.")
    present = values[:, chosen] > 0
    times = np.clip(np.round(EVEN / present.mean(0).clip(1e-9)), 1, most).astype(int)
    return Subset(dataset, np.repeat(np.arange(len(rows)), (present * times).max(1, initial=1)).tolist())

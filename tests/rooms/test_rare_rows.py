"""Rows with rare conditions come more often."""

from __future__ import annotations

import collections

import pytest
import torch
from torch.utils.data import Dataset

from synthzoo.datasets.rare import more_often
from synthzoo.errors import UserError


class Rows(Dataset):
    """Twenty rows: a common condition in all, one in half of them, a rare one in two."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, row: int) -> dict:
        return {"conditions": torch.tensor([1.0, float(row % 2), float(row < 2)]), "row": row}


def test_rare_rows_are_repeated_up_to_the_most() -> None:
    taken = collections.Counter(more_often(Rows(), most=4)[n]["row"] for n in range(20 + 2 * 3))
    assert taken[0] == taken[1] == 4 and all(taken[row] == 1 for row in range(2, 20))


def test_a_column_that_is_not_named_changes_nothing() -> None:
    assert len(more_often(Rows(), columns=[0, 1])) == 20


@pytest.mark.parametrize("wrong", [{"columns": [3]}, {"most": 0}])
def test_wrong_numbers_are_told(wrong: dict) -> None:
    with pytest.raises(UserError, match="columns|most"):
        more_often(Rows(), **wrong)

"""Conditions that are left out at random in training."""

import pytest
import torch

from synthzoo.networks.conditions import drop_conditions


def test_one_condition_of_many_is_given_alone_too():
    drawn = torch.Generator().manual_seed(0)
    kept = (~drop_conditions(torch.zeros(4000, 9), 0.0, 0.0, drawn, some=0.3).isnan()).sum(1)
    assert (kept == 9).float().mean() > 0.7
    shares = [(kept == count).float().mean().item() for count in range(9)]
    assert all(share == pytest.approx(0.03, abs=0.012) for share in shares)

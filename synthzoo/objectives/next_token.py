"""Stage two of token models: cross-entropy of every next token, conditions left out at random."""

from __future__ import annotations

import torch
from torch import nn

from synthzoo.networks.conditions import drop_conditions


class NextTokenObjective:
    """Mean of - log p(t_i | t_<i, c) over all positions, in nats.

    Args:
        drop_each, drop_all: probabilities with which each condition, and all of them, are left out.
    """

    def __init__(self, drop_each: float = 0.1, drop_all: float = 0.1) -> None:
        self.drop_each, self.drop_all = drop_each, drop_all

    def __call__(self, network: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        """`batch["tokens"]` (B, T) in order, `batch["conditions"]` (B, K) in user units, if there are any -> "loss"."""
        conditions = batch.get("conditions")
        if conditions is not None:
            conditions = drop_conditions(conditions, self.drop_each, self.drop_all)
        return {"loss": -network.log_likelihood(batch["tokens"], conditions).mean()}

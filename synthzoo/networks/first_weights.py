"""A network as it was before training: what its architecture does alone."""

from __future__ import annotations

import copy

import torch
from torch import nn


def with_first_weights(network: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of the network, in evaluation mode, whose layers have drawn their weights again, as torch draws them.

    Args:
        network: whose own weights stay; what belongs to no layer with `reset_parameters` is copied as it is.
        seed: of the draw.
    """
    other = copy.deepcopy(network).eval()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for part in other.modules():
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()
    return other

"""A loss of one part of a bundle's network, as a loss of the whole."""

from __future__ import annotations

from collections.abc import Callable

import torch


class PartObjective:
    """Called with the whole network; hands the part on.

    Args:
        objective: (part, batch) -> losses.
        part: its name in the network, such as "reid".
    """

    def __init__(self, objective: Callable, part: str) -> None:
        self.objective, self.part = objective, part
        self.name = part

    def __call__(self, network: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        return self.objective(getattr(network, self.part), batch)

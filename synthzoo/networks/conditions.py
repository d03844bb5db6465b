"""Conditions in user units -> numbers that a network can learn from, with a value that means "left out".

c' = ((c - low) / (high - low))^power, and c' = fill where c is NaN. The bounds are buffers, so they travel with the
weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from synthzoo.errors import UserError


class ConditionNormaliser(nn.Module):
    """Min-max normaliser of K conditions; NaN (left out) becomes the null value.

    Args:
        low: lower bound per condition in user units, K numbers; it becomes 0.
        high: upper bound per condition in user units, K numbers; it becomes 1.
        fill: null value of a condition that is left out; it must lie outside [0, 1].
        order: positions in the user's vector in the order in which the network reads them; None keeps the order.
        power: below 1 it spreads out small values: of volumes from drops to fists the cube root is a diameter.

    Raises:
        UserError: bounds of unequal number or low >= high.
    """

    def __init__(
        self,
        low: Sequence[float],
        high: Sequence[float],
        fill: float = -1.0,
        order: Sequence[int] | None = None,
        power: float = 1.0,
    ) -> None:
        super().__init__()
        if len(low) != len(high) or any(a >= b for a, b in zip(low, high)):
            raise UserError(f"conditions: low = {list(low)} must be below high = {list(high)} at each place.")
        self.register_buffer("low", torch.tensor(low, dtype=torch.float32))
        self.register_buffer("high", torch.tensor(high, dtype=torch.float32))
        self.fill = float(fill)
        self.order = None if order is None else list(order)
        self.power = float(power)

    def __len__(self) -> int:
        return len(self.low)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """User units (B, K), NaN where left out -> normalised (B, K), `fill` where left out."""
        scaled = (values - self.low) / (self.high - self.low)
        if self.power != 1:
            scaled = scaled.clamp_min(0) ** self.power
        scaled = torch.where(torch.isnan(scaled), torch.full_like(scaled, self.fill), scaled)
        return scaled if self.order is None else scaled[:, self.order]

    def null(self, batch: int) -> torch.Tensor:
        """The normalised vector (B, K) of a request that leaves everything out."""
        return torch.full((batch, len(self)), self.fill, device=self.low.device, dtype=self.low.dtype)


def drop_conditions(
    values: torch.Tensor,
    each: float = 0.1,
    everything: float = 0.1,
    generator: torch.Generator | None = None,
    some: float = 0.0,
) -> torch.Tensor:
    """Leave conditions out at random, so that the network learns any subset and the null condition (arXiv 2207.12598).

    Args:
        values: (B, K) in user units.
        each: probability with which each condition is left out by itself.
        everything: probability with which all conditions of a sample are left out.
        generator: random source on the CPU; None takes torch's global one.
        some: share of samples that lose anything from none to all, each number as likely: of many conditions that are
            left out one by one there are hardly ever only one or two given.

    Returns:
        (B, K) with NaN where left out.
    """
    alone = torch.rand(values.shape, generator=generator) < each
    together = torch.rand(values.shape[0], 1, generator=generator) < everything
    left_out = alone | together
    if some:
        chosen = torch.rand(values.shape[0], 1, generator=generator) < some
        chance = torch.rand(values.shape[0], 1, generator=generator)
        left_out |= chosen & (torch.rand(values.shape, generator=generator) < chance)
    return values.masked_fill(left_out.to(values.device), float("nan"))

"""What every network of an anomaly map of the brain has besides its own: an extractor, and a healthy reference map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from synthzoo.networks.plain_unet import PlainUNet
from synthzoo.networks.weights import expect_same_network, read_state

LEAST_HEAT = 1e-3  # where odds of a map begin
OFFSET = 3.0  # of the logarithm of the odds


class MapParts(nn.Module):
    """The brain extractor and the healthy reference maps, for a network with a `grid`.

    `extractor` takes a head (B, 1, 56, 64, 56) at 4 mm and gives logits of brain. Buffer `usual` (every fourth voxel, a
    channel for each method of the map) holds the healthy reference maps, mean maps of healthy phantoms, once
    `calibrated` is 1; see `corrected`.
    """

    grid: tuple[int, ...]
    calibrated: torch.Tensor
    usual: torch.Tensor
    offsets: torch.Tensor | None

    def add_map_parts(self, extractor_channels: Sequence[int], methods: int | None = None) -> None:
        """Add the parts, once the network knows its `grid`.

        Args:
            extractor_channels: width per level of the extractor.
            methods: number of ways to a map that the network has, each calibrated by itself, its offset of the odds
                included; None for the one way whose offset is `OFFSET`.
        """
        self.extractor = PlainUNet(3, 1, tuple(extractor_channels))
        coarse = tuple(n // 4 for n in self.grid)
        self.register_buffer("calibrated", torch.zeros(()))
        # The healthy reference maps; stored weights know them by this name.
        self.register_buffer("usual", torch.zeros(1, methods or 1, *coarse))
        self.register_buffer("offsets", torch.full((methods,), OFFSET) if methods else None)

    def odds(self, heat: torch.Tensor, method: int = 0) -> torch.Tensor:
        """Logarithm of the odds of a map (B, 1, *grid) in [0, 1] against those of the healthy reference map."""
        return torch.logit(heat, LEAST_HEAT) - torch.logit(self.reference(method), LEAST_HEAT)

    def reference(self, method: int = 0) -> torch.Tensor:
        """The healthy reference map of a method on the whole grid, (*grid)."""
        return F.interpolate(self.usual[:, method : method + 1], size=self.grid, mode="trilinear")[0, 0]

    def corrected(self, heat: torch.Tensor, method: int = 0) -> torch.Tensor:
        """Correct a map (B, 1, *grid) by the healthy reference map, in [0, 1]: its odds against the healthy ones.

        sigmoid(logit(heat) - logit(reference) - offset): ventricles and the midline look a little wrong in every scan,
        and a healthy brain's heat there is no finding.
        """
        offset = OFFSET if self.offsets is None else self.offsets[method]
        return torch.where(self.calibrated > 0, torch.sigmoid(self.odds(heat, method) - offset), heat)


def with_parts(
    network: nn.Module,
    weights: str | Path | None,
    parts: tuple[str, ...] = ("extractor",),
    device: str | torch.device | None = None,
) -> nn.Module:
    """The network with some parts taken from a weights file, of this or of another network of brain maps.

    Args:
        network: to train.
        weights: the file; None takes nothing.
        parts: names of submodules of both networks.
        device: where the network is moved.

    Raises:
        UserError: no such file, parts of another shape.
    """
    state = network.state_dict()
    if weights:
        wanted = tuple(f"{part}." for part in parts)
        state |= {name: value for name, value in read_state(weights).items() if name.startswith(wanted)}
        expect_same_network(network, state, weights)
        network.load_state_dict(state)
    return network if device is None else network.to(device)

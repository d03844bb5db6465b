"""Stochastic networks that score each pixel, and whose answers vary where they are unsure.

One U-Net family, three heads: "deterministic"; "dropout", whose passes keep dropout on (Gal and Ghahramani, ICML 2016);
"phiseg" (Baumgartner et al., MICCAI 2019), whose latent variables at several resolutions are drawn from a prior.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.networks.nets import UNet
from torch import nn

from synthzoo.errors import UserError
from synthzoo.systems.confidence_aware.phiseg import PHiSeg

HEADS = ("deterministic", "dropout", "phiseg")
RATES = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)  # false-positive rates with a threshold of their own


class AnomalyConfidenceNetwork(nn.Module):
    """Scores of an image by one of three heads, with the thresholds that healthy images gave.

    Args:
        head: "deterministic", "dropout" or "phiseg".
        channels: width per level; a level halves the grid.
        dropout: probability, in every block; of the head "dropout" alone.
        units: residual units a block, of the U-Net heads.
        latent_levels, latent_channels: of PHiSeg.

    Input (B, 1, H, W) in [0, 1], equalised, sides divisible by 2^(levels - 1). `forward` gives the score (B, 1, H, W)
    in [0, 1] without chance; `sample` gives scores of stochastic passes. Buffer `thresholds` (8,): the score that a
    share `RATES` of the pixels of healthy images exceeds; NaN before calibration.

    Raises:
        ValueError: a head of another name.
    """

    def __init__(
        self,
        head: str = "dropout",
        channels: Sequence[int] = (16, 32, 64, 96),
        dropout: float = 0.1,
        units: int = 1,
        latent_levels: int = 3,
        latent_channels: int = 2,
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise ValueError(f"head = {head!r}: one of {', '.join(HEADS)} is needed.")
        self.head, self.factor = head, 2 ** (len(channels) - 1)
        if head == "phiseg":
            self.body: nn.Module = PHiSeg(3, channels, latent_levels, latent_channels)
        else:
            self.body = UNet(
                spatial_dims=2,
                in_channels=3,
                out_channels=1,
                channels=tuple(channels),
                strides=(2,) * (len(channels) - 1),
                num_res_units=units,
                dropout=dropout if head == "dropout" else 0.0,
            )
        self.register_buffer("thresholds", torch.full((len(RATES),), float("nan")))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.logits(image).sigmoid()

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, 1, H, W) of one pass; of PHiSeg with the means of its prior, unless it trains."""
        return self.body(with_coordinates(image))

    def threshold(self, rate: float) -> float:
        """The score that a share `rate` of the pixels of healthy images exceeds; between `RATES` by interpolation.

        Raises:
            UserError: a network that was not calibrated, or a rate out of range.
        """
        if not RATES[-1] <= rate <= RATES[0]:
            raise UserError(f"false_positive_rate = {rate}: {RATES[-1]} to {RATES[0]} is allowed.")
        known = self.thresholds.float().cpu().numpy()
        if np.isnan(known).any():
            raise UserError("the weights have no thresholds yet: run configs/calibrate.json after the training.")
        return float(np.interp(np.log(rate), np.log(RATES[::-1]), known[::-1]))

    @torch.no_grad()
    def sample(self, image: torch.Tensor, passes: int, seed: int = 0) -> torch.Tensor:
        """Scores (passes, B, 1, H, W) in [0, 1] of stochastic passes; the same for the same seed on the same device."""
        x = with_coordinates(image)
        if self.head == "deterministic":
            return self.body(x).sigmoid()[None]
        devices = [image.device] if image.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            if self.head == "phiseg":
                return torch.stack([self.body.draw(x).sigmoid() for _ in range(passes)])
            # Dropout alone is switched on: a norm that learned would change with the image.
            layers = [module for module in self.body.modules() if isinstance(module, nn.Dropout)]
            was = [layer.training for layer in layers]
            try:
                for layer in layers:
                    layer.train()
                return torch.stack([self.body(x).sigmoid() for _ in range(passes)])
            finally:
                for layer, training in zip(layers, was):
                    layer.train(training)


def threshold_of(network: AnomalyConfidenceNetwork, rate: float) -> float:
    """The network's threshold at a false-positive rate, see `AnomalyConfidenceNetwork.threshold`."""
    return network.threshold(rate)


def with_coordinates(image: torch.Tensor) -> torch.Tensor:
    """The image (B, 1, H, W) with its row and its column in [-1, 1] as second and third channel."""
    rows = torch.linspace(-1, 1, image.shape[2], device=image.device, dtype=image.dtype)
    columns = torch.linspace(-1, 1, image.shape[3], device=image.device, dtype=image.dtype)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    return torch.cat([image, grid.expand(len(image), -1, -1, -1)], 1)

"""Denoiser of clips with the bounds of its conditions and the standard deviation of its data as buffers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from synthzoo.networks.conditions import ConditionNormaliser


class ClipDenoiser(nn.Module):
    """A raw network that takes conditions in user units; one stage of a system, or all of it.

    Args:
        unet: (x, level, conditions (B, K), ...) -> prediction, NaN where a condition is left out, such as
            `SpaceTimeUNet`.
        conditions: normaliser of the K conditions; what is left out stays NaN, whatever its fill.
        schedule: noise levels of discrete diffusion; None where they are continuous (EDM).
        sigma_data: standard deviation of the data that it sees, in [-1, 1]; `fit` measures it.
    """

    def __init__(
        self, unet: nn.Module, conditions: ConditionNormaliser, schedule: Any = None, sigma_data: float = 0.5
    ) -> None:
        super().__init__()
        self.unet, self.conditions, self.schedule = unet, conditions, schedule
        self.conditions.fill = float("nan")
        self.register_buffer("sigma_data", torch.tensor(float(sigma_data)))

    def fit(self, clips: torch.Tensor) -> None:
        """Measure the standard deviation of the data on clips (B, C, T, H, W) in [-1, 1]."""
        self.sigma_data.fill_(float(clips.std()))

    def denoise(
        self, x: torch.Tensor, level: torch.Tensor, conditions: torch.Tensor | None = None, **given: Any
    ) -> torch.Tensor:
        """Prediction of the shape of x.

        Args:
            x: noisy clip (B, C, T, H, W) or stills (B, C, H, W).
            level: (B,), c_noise of EDM or a timestep.
            conditions: (B, K) in user units, NaN where left out; None leaves all out.
            given: "image", "low", "low_level" and "still" of the network, as far as it takes them.
        """
        values = None if conditions is None else self.conditions(conditions.to(self.conditions.low))
        return self.unet(x, level, values, **given)

    def forward(
        self, x: torch.Tensor, level: torch.Tensor, conditions: torch.Tensor | None = None, **given: Any
    ) -> torch.Tensor:
        """`denoise`."""
        return self.denoise(x, level, conditions, **given)

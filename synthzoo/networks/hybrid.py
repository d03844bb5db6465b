"""Conditions given to a denoiser: as one token for cross-attention, as constant maps beside the latent, or as both."""

from __future__ import annotations

import torch
from torch import nn


class ConditionedDenoiser(nn.Module):
    """A U-Net that sees K conditions as a token and, in the hybrid form, as maps too.

    Args:
        unet: (x, timesteps, context) -> prediction, such as `monai.networks.nets.DiffusionModelUNet` with
            cross_attention_dim = K, and with in_channels = latent channels + K where there are maps.
        maps: False gives the token alone.
    """

    def __init__(self, unet: nn.Module, maps: bool = True) -> None:
        super().__init__()
        self.unet, self.maps = unet, bool(maps)

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Latent (B, C, ...), timesteps (B,), context (B, 1, K) -> prediction (B, C, ...)."""
        context = context.to(x.dtype)
        shown = torch.cat([x, constant_maps(context[:, 0], x)], 1) if self.maps else x
        return self.unet(shown, timesteps, context=context)


def constant_maps(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Values (B, K) as maps (B, K, ...) of the size of `like` (B, C, ...)."""
    return values.reshape(*values.shape, *(1 for _ in like.shape[2:])).expand(-1, -1, *like.shape[2:])

"""Conditions given to a denoiser: as one token for cross-attention, as constant maps beside the latent, or as both."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from synthzoo.networks.linear_denoiser import LatentGaussian


class ConditionedDenoiser(nn.Module):
    """A U-Net that sees K conditions as a token and, in the hybrid form, as maps too.

    Args:
        unet: (x, timesteps, context) -> prediction, such as `monai.networks.nets.DiffusionModelUNet` with
            cross_attention_dim = K, and with in_channels = latent channels + K where there are maps.
        maps: False gives the token alone.
        gaussian: None, or the linear denoiser to whose prediction the U-Net adds; its maps stand beside the latent too,
            and in_channels grow by theirs.
    """

    def __init__(self, unet: nn.Module, maps: bool = True, gaussian: LatentGaussian | None = None) -> None:
        super().__init__()
        self.unet, self.maps, self.gaussian = unet, bool(maps), gaussian

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Latent (B, C, ...), timesteps (B,), context (B, 1, K) -> prediction (B, C, ...)."""
        context = context.to(x.dtype)
        beside = [constant_maps(context[:, 0], x)] if self.maps else []
        return self.predict(x, timesteps, context, beside, context)

    def predict(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor,
        context: torch.Tensor,
        beside: Sequence[torch.Tensor],
        token: torch.Tensor,
    ) -> torch.Tensor:
        """Prediction (B, C, ...) with maps (B, ..., ...) beside the latent and a token (B, 1, K) for attention."""
        if self.gaussian is None:
            return self.unet(torch.cat([x, *beside], 1), timesteps, context=token)
        linear, known = self.gaussian(x, timesteps, context[:, 0])
        return linear + self.unet(torch.cat([x, *beside, known], 1), timesteps, context=token)


def constant_maps(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Values (B, K) as maps (B, K, ...) of the size of `like` (B, C, ...)."""
    return values.reshape(*values.shape, *(1 for _ in like.shape[2:])).expand(-1, -1, *like.shape[2:])

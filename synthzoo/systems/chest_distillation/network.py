"""MONAI's U-Net with cross-attention at every size, whose largest size leaves its costly self-attention out.

A finding of few latent pixels can be named only where the maps are as fine as the latents. There a self-attention would
cost more than all the rest of the network, and the cross-attention costs little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.nets import DiffusionModelUNet
from torch import nn

LARGEST = ("down_blocks.0", "up_blocks.2")  # of three levels


class NoAttention(nn.Module):
    """Stands where a self-attention is left out: adds nothing."""

    def forward(self, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Anything -> 0."""
        return x.new_zeros(())


def fine_unet(cross_only: Sequence[str] = LARGEST, **settings: Any) -> DiffusionModelUNet:
    """A `DiffusionModelUNet` in two dimensions under a context, without self-attention in some of its blocks.

    Args:
        cross_only: beginnings of the places of blocks that keep the cross-attention alone.
        settings: of `DiffusionModelUNet`.
    """
    unet = DiffusionModelUNet(spatial_dims=2, with_conditioning=True, **settings)
    for name, module in unet.named_modules():
        if hasattr(module, "attn1") and name.startswith(tuple(cross_only)):
            module.attn1, module.norm1 = NoAttention(), nn.Identity()
    return unet

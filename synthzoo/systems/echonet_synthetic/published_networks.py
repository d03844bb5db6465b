"""The published networks of EchoNet-Synthetic (Reynaud et al., MICCAI 2024, arXiv 2406.00808), all from diffusers.

Their weights load into these classes alone, so that they are used as they are, behind the calls that our networks have.
`diffusers` is in the extra "bench"; nothing else needs it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from synthzoo.networks.released import DiffusersAutoencoder, package_class

EXTRA, PURPOSE = "bench", "the published EchoNet-Synthetic networks"
WIDTHS = (128, 256, 256, 512)
SCALE = 0.18215  # of the latents: what the denoisers see is this times what the encoder gives


def diffusers_class(name: str) -> Any:
    """The class of this name in `diffusers`.

    Raises:
        UserError: the package is not installed or does not import.
    """
    return package_class("diffusers", name, EXTRA, PURPOSE)


def even(x: torch.Tensor, divisor: int = 8) -> torch.Tensor:
    """Frames (N, C, H, W) with their edges repeated until height and width are multiples of the divisor: 14 -> 16.

    The added pixels stand on both sides, one more at the end where their number is odd.
    """
    high, wide = -x.shape[-2] % divisor, -x.shape[-1] % divisor
    return F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2), mode="replicate")


def cropped(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The inverse of `even`."""
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]


class PublishedVideoUNet(nn.Module):
    """The latent video denoiser, 143.8 million parameters: a noisy clip beside a reference frame, at an EF.

    The EF is the one token of its cross-attention, which therefore adds a vector linear in EF; 0 stands for no EF.

    Args:
        frames: that the model is made for.

    Raises:
        UserError: diffusers is not installed.
    """

    def __init__(self, frames: int = 64) -> None:
        super().__init__()
        self.unet = diffusers_class("UNetSpatioTemporalConditionModel")(
            sample_size=14,
            in_channels=8,
            out_channels=4,
            down_block_types=("CrossAttnDownBlockSpatioTemporal",) * 3 + ("DownBlockSpatioTemporal",),
            up_block_types=("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * 3,
            block_out_channels=WIDTHS,
            addition_time_embed_dim=1,
            projection_class_embeddings_input_dim=1,
            layers_per_block=2,
            cross_attention_dim=1,
            transformer_layers_per_block=1,
            num_attention_heads=(8, 16, 16, 32),
            num_frames=frames,
        )

    def forward(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor,
        conditions: torch.Tensor | None = None,
        image: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """v-prediction (B, 4, T, h, w).

        Args:
            x: noisy latents (B, 4, T, h, w).
            timesteps: (B,), 0 to 999.
            conditions: EF (B, 1) in [0, 1], NaN where left out; None leaves all out.
            image: latent of the reference frame (B, 4, h, w).
        """
        batch, _, frames, height, width = x.shape
        ef = x.new_zeros(batch, 1) if conditions is None else torch.nan_to_num(conditions).to(x)
        clip = torch.cat([x, image[:, :, None].expand(-1, -1, frames, -1, -1)], 1).transpose(1, 2)
        clip = even(clip.flatten(0, 1)).unflatten(0, (batch, frames))
        out = self.unet(clip, timesteps, encoder_hidden_states=ef[:, None], added_time_ids=x.new_zeros(batch, 1))
        return cropped(out.sample, height, width).transpose(1, 2)


class PublishedImageUNet(nn.Module):
    """The unconditional latent image denoiser, 73.5 million parameters.

    Raises:
        UserError: diffusers is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unet = diffusers_class("UNet2DModel")(
            sample_size=14,
            in_channels=4,
            out_channels=4,
            down_block_types=("AttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("AttnUpBlock2D",) * 3,
            block_out_channels=WIDTHS,
            layers_per_block=2,
            downsample_type="resnet",
            upsample_type="resnet",
            attention_head_dim=8,
        )

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Noisy latents (N, 4, h, w), timesteps (N,) -> v-prediction (N, 4, h, w)."""
        return cropped(self.unet(even(x), timesteps).sample, *x.shape[-2:])


class PublishedAutoencoder(DiffusersAutoencoder):
    """The image autoencoder, 62.4 million parameters: (N, 3, 112, 112) in [-1, 1] to (N, 4, 14, 14) and back.

    Raises:
        UserError: diffusers is not installed.
    """

    def __init__(self) -> None:
        settings = {
            "in_channels": 3,
            "out_channels": 3,
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "block_out_channels": WIDTHS,
            "layers_per_block": 2,
            "latent_channels": 4,
            "sample_size": 112,
            "scaling_factor": SCALE,
        }
        super().__init__(settings, EXTRA, PURPOSE)

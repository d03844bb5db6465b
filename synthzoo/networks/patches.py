"""Autoencoder that works on patches of voxels: cheap convolutions on a CPU, identical to MONAI's with `patch` 1."""

from __future__ import annotations

import torch
from monai.networks.nets import AutoencoderKL
from torch import nn


def space_to_depth(x: torch.Tensor, patch: int) -> torch.Tensor:
    """(B, C, D, H, W) -> (B, C p^3, D/p, H/p, W/p): each cube of p^3 voxels becomes a vector of channels."""
    if patch == 1:
        return x
    b, c, d, h, w = x.shape
    x = x.reshape(b, c, d // patch, patch, h // patch, patch, w // patch, patch)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * patch**3, d // patch, h // patch, w // patch)


def depth_to_space(x: torch.Tensor, patch: int) -> torch.Tensor:
    """(B, C p^3, D, H, W) -> (B, C, D p, H p, W p): the inverse of `space_to_depth`."""
    if patch == 1:
        return x
    b, c, d, h, w = x.shape
    c = c // patch**3
    x = x.reshape(b, c, patch, patch, patch, d, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, c, d * patch, h * patch, w * patch)


class PatchAutoencoderKL(AutoencoderKL):
    """MONAI's AutoencoderKL behind a fixed rearrangement of `patch`^3 voxels into channels.

    With `patch` > 1 two thin convolutions at full resolution remove the seams between patches after decoding.

    Args:
        patch: edge of a cube of voxels; 1 makes this exactly `monai.networks.nets.AutoencoderKL`.
        refine: channels of the seam-removing convolutions; 0 leaves them out.
        kwargs: as in AutoencoderKL; in_channels and out_channels count those of the image.
    """

    def __init__(self, patch: int = 1, refine: int = 0, in_channels: int = 1, out_channels: int = 1, **kwargs):
        super().__init__(in_channels=in_channels * patch**3, out_channels=out_channels * patch**3, **kwargs)
        self.patch = int(patch)
        self.refine = None
        if refine:
            last = nn.Conv3d(refine, out_channels, 3, padding=1)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.refine = nn.Sequential(nn.Conv3d(out_channels, refine, 3, padding=1), nn.SiLU(), last)

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Image (B, C, D, H, W) -> mean and standard deviation of the latent."""
        return super().encode(space_to_depth(x, self.patch))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latent -> image (B, C, D, H, W), not clamped."""
        x = depth_to_space(super().decode(z), self.patch)
        return x if self.refine is None else x + self.refine(x)

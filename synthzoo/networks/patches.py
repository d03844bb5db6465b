"""Autoencoder that works on patches of voxels: cheap convolutions on a CPU, identical to MONAI's with `patch` 1."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
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


def cosine_basis(patch: int) -> np.ndarray:
    """Orthonormal 3D cosine transform of patch^3 voxels, lowest frequencies first: float32 (patch^3, patch^3)."""
    k, n = np.meshgrid(np.arange(patch), np.arange(patch), indexing="ij")
    one = np.cos(np.pi * (n + 0.5) * k / patch) * np.where(k == 0, np.sqrt(1 / patch), np.sqrt(2 / patch))
    order = sorted(itertools.product(range(patch), repeat=3), key=lambda f: (f[0] ** 2 + f[1] ** 2 + f[2] ** 2, f))
    basis = [np.einsum("i,j,k->ijk", *(one[i] for i in f)).ravel() for f in order]
    return np.stack(basis).astype(np.float32)


class PatchAutoencoderKL(AutoencoderKL):
    """MONAI's AutoencoderKL behind a fixed rearrangement of `patch`^3 voxels into channels.

    With `patch` > 1 two thin convolutions at full resolution remove the seams between patches after decoding, and a
    linear path carries each patch's lowest frequencies through the latent, so that the convolutions only learn what
    a linear code of the same size loses.

    Args:
        patch: edge of a cube of voxels; 1 makes this exactly `monai.networks.nets.AutoencoderKL`.
        refine: channels of the seam-removing convolutions; 0 leaves them out.
        linear: add the linear path, which starts as the orthonormal cosine transform (one level of `channels` only).
        kwargs: as in AutoencoderKL; in_channels and out_channels count those of the image.
    """

    def __init__(
        self,
        patch: int = 1,
        refine: int = 0,
        linear: bool = False,
        in_channels: int = 1,
        out_channels: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_channels=in_channels * patch**3, out_channels=out_channels * patch**3, **kwargs)
        self.patch = int(patch)
        self.linear_in: nn.Conv3d | None = None
        self.linear_out: nn.Conv3d | None = None
        self.refine: nn.Sequential | None = None
        if linear:
            self._add_linear_path(in_channels, out_channels, kwargs["latent_channels"])
        if refine:
            last = nn.Conv3d(refine, out_channels, 3, padding=1)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.refine = nn.Sequential(nn.Conv3d(out_channels, refine, 3, padding=1), nn.SiLU(), last)

    def _add_linear_path(self, inside: int, outside: int, latent: int) -> None:
        basis = torch.from_numpy(cosine_basis(self.patch)[:latent])[..., None, None, None]
        self.linear_in = nn.Conv3d(inside * self.patch**3, latent, 1)
        self.linear_out = nn.Conv3d(latent, outside * self.patch**3, 1)
        with torch.no_grad():
            self.linear_in.weight.copy_(basis.repeat(1, inside, 1, 1, 1) / inside)
            self.linear_out.weight.copy_(basis.transpose(0, 1).repeat(outside, 1, 1, 1, 1))
            self.linear_in.bias.zero_()
            self.linear_out.bias.zero_()
        self.silence_convolutions()

    def silence_convolutions(self) -> None:
        """Set the convolutions to give zeros and a narrow posterior, so that training begins at a linear code."""
        last = self.decoder.blocks[-1].conv
        with torch.no_grad():
            self.quant_conv_log_sigma.conv.bias.fill_(-6.0)
            for parameter in (
                self.quant_conv_mu.conv.weight,
                self.quant_conv_mu.conv.bias,
                self.quant_conv_log_sigma.conv.weight,
                last.weight,
                last.bias,
            ):
                parameter.zero_()

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Image (B, C, D, H, W) -> mean and standard deviation of the latent."""
        patches = space_to_depth(x, self.patch)
        mean, deviation = super().encode(patches)
        return (mean if self.linear_in is None else mean + self.linear_in(patches)), deviation

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latent -> image (B, C, D, H, W), not clamped."""
        patches = super().decode(z)
        if self.linear_out is not None:
            patches = patches + self.linear_out(z)
        x = depth_to_space(patches, self.patch)
        return x if self.refine is None else x + self.refine(x)

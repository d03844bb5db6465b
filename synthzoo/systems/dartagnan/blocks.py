"""Residual blocks of clips with each 3 x 3 x 3 convolution as 3 x 3 over space and then 3 over time.

R(2+1)D, Tran et al., CVPR 2018: the width between the two is such that both together have as many weights as the one.
"""

from __future__ import annotations

import torch
from torch import nn

from synthzoo.errors import UserError

NORMS = ("batch", "group")


def norm_layer(kind: str, channels: int, spatial_dims: int = 3) -> nn.Module:
    """ "batch" as published, or "group", whose statistics do not depend on the few clips of a batch.

    Groups have at least four channels: a channel alone would lose its mean, which is what an average pool reads.

    Raises:
        UserError: another kind.
    """
    if kind not in NORMS:
        raise UserError(f"norm = {kind!r}: the known ones are {', '.join(NORMS)}.")
    if kind == "batch":
        return (nn.BatchNorm3d if spatial_dims == 3 else nn.BatchNorm2d)(channels)
    return nn.GroupNorm(next(n for n in range(max(1, min(8, channels // 4)), 0, -1) if channels % n == 0), channels)


class FactorisedConvolution(nn.Sequential):
    """Space, normalisation, ReLU, time; `stride` in all three axes."""

    def __init__(self, in_channels: int, between: int, out_channels: int, norm: str, stride: int = 1) -> None:
        super().__init__(
            nn.Conv3d(in_channels, between, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
            norm_layer(norm, between),
            nn.ReLU(inplace=True),
            nn.Conv3d(between, out_channels, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
        )


class FactorisedBlock(nn.Module):
    """Two factorised convolutions and a shortcut.

    Args:
        stride: in all three axes.
        condition: size of a vector that scales and shifts the first normalisation; 0 for none.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: str, stride: int = 1, condition: int = 0) -> None:
        super().__init__()
        between = in_channels * out_channels * 27 // (9 * in_channels + 3 * out_channels)
        self.convolution1 = FactorisedConvolution(in_channels, between, out_channels, norm, stride)
        self.norm1 = norm_layer(norm, out_channels)
        self.film = nn.Linear(condition, 2 * out_channels) if condition else None
        self.convolution2 = FactorisedConvolution(out_channels, between, out_channels, norm)
        self.norm2 = norm_layer(norm, out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv3d(in_channels, out_channels, 1, stride, bias=False), norm_layer(norm, out_channels)
            )

    def forward(self, x: torch.Tensor, vector: torch.Tensor | None = None) -> torch.Tensor:
        """(B, C, T, H, W), vector (B, condition) -> (B, C', T / stride, H / stride, W / stride)."""
        h = self.norm1(self.convolution1(x))
        if self.film is not None:
            scale, shift = self.film(vector)[..., None, None, None].chunk(2, 1)
            h = h * (1 + scale) + shift
        h = self.norm2(self.convolution2(torch.relu(h)))
        return torch.relu(h + self.shortcut(x))


class ClipStem(nn.Sequential):
    """The first two convolutions, over space and then over time, edges mirrored.

    Args:
        between: channels between the two.
        kernel: of the one over space.
        stride: of the one over space.
    """

    def __init__(
        self, in_channels: int, between: int, out_channels: int, norm: str, kernel: int = 7, stride: int = 1
    ) -> None:
        super().__init__(
            nn.Conv3d(
                in_channels, between, (1, kernel, kernel), (1, stride, stride), (0, kernel // 2, kernel // 2),
                bias=False, padding_mode="reflect",
            ),
            norm_layer(norm, between),
            nn.ReLU(inplace=True),
            nn.Conv3d(between, out_channels, (3, 1, 1), 1, (1, 0, 0), bias=False, padding_mode="reflect"),
            norm_layer(norm, out_channels),
            nn.ReLU(inplace=True),
        )  # fmt: skip


def start_weights(network: nn.Module) -> None:
    """Normal weights scaled by the outputs of each convolution (He et al. 2015), and no bias."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

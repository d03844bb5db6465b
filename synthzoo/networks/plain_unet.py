"""A plain U-Net in the style of nnU-Net v1, for slices and volumes."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class PlainUNet(nn.Module):
    """U-Net with two (conv 3 -> norm -> GELU) a level and interpolation upsampling.

    Args:
        spatial_dims: 2 or 3.
        in_channels: image and positional channels.
        channels: width per level; a level halves the grid by a strided first convolution.
        last_norm: normalise the last block too, as published. Without it a healthy image may stay quiet: the norm
            gives every image features of one spread.

    Input (B, in_channels, *spatial), output (B, 1, *spatial), linear. Axes divide by 2^(levels - 1).
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: tuple[int, ...], last_norm: bool = True) -> None:
        super().__init__()
        conv = (nn.Conv2d, nn.Conv3d)[spatial_dims - 2]
        norm = (nn.InstanceNorm2d, nn.InstanceNorm3d)[spatial_dims - 2]

        def block(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
            layers = conv(inside, outside, 3, stride, 1), norm(outside, eps=1e-5, affine=True), nn.GELU()
            return nn.Sequential(*layers)

        self.mode = ("bilinear", "trilinear")[spatial_dims - 2]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        inside = in_channels
        for level, width in enumerate(channels):
            # What is upsampled already has the width of the skip that it meets.
            last = channels[level - 1] if level == len(channels) - 1 else width
            self.down.append(nn.Sequential(block(inside, width, 1 if level == 0 else 2), block(width, last)))
            inside = width
        for level in reversed(range(len(channels) - 1)):
            width, after = channels[level], channels[max(level - 1, 0)]
            self.up.append(nn.Sequential(block(2 * width, width), block(width, after)))
        if not last_norm:
            self.up[-1][-1][1] = nn.Identity()
        self.head = conv(channels[0], 1, 1, bias=False)
        for module in self.modules():
            if isinstance(module, conv):
                nn.init.kaiming_normal_(module.weight, a=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for stage in self.down:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for stage in self.up:
            x = F.interpolate(x, scale_factor=2.0, mode=self.mode, align_corners=False)
            x = stage(torch.cat([x, skips.pop()], 1))
        return self.head(x)

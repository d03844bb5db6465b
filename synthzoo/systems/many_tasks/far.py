"""Far context for a member: dilated convolutions at its coarsest level, which begin as nothing.

The inside of a lesion of 200 mL lies 10 to 18 voxels from its edge, and an even inside looks like tissue of another
contrast: that it is none can only be read off from far away. Features of the coarsest level, 8 voxels apart in a member
of four levels, are told what lies up to the whole slice away.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class FarContext(nn.Module):
    """x + last(convolutions(x)), with one convolution for each dilation; the last one begins at zero.

    Args:
        spatial_dims: 2 or 3.
        channels: of x.
        dilations: in voxels of the level; (1, 2, 4) reach 7 of them.
    """

    def __init__(self, spatial_dims: int, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        conv = (nn.Conv2d, nn.Conv3d)[spatial_dims - 2]
        norm = (nn.InstanceNorm2d, nn.InstanceNorm3d)[spatial_dims - 2]
        layers: list[nn.Module] = []
        for dilation in dilations:
            one = conv(channels, channels, 3, padding=dilation, dilation=dilation)
            nn.init.kaiming_normal_(one.weight, a=0.01)
            nn.init.zeros_(one.bias)
            layers += [one, norm(channels, eps=1e-5, affine=True), nn.GELU()]
        self.layers = nn.Sequential(*layers)
        self.last = conv(channels, channels, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, ...) -> the same shape."""
        return x + self.last(self.layers(x))

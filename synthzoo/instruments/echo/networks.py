"""The two networks behind the echo instruments: one reads the ejection fraction of a video, one finds the cavity.

Both see videos on a grid of 64 x 64 pixels, to which 32 x 32 and 112 x 112 are brought. The regressor is made of
R(2+1)D pairs (Tran et al., "A closer look at spatiotemporal convolutions", CVPR 2018) with group normalisation; what it
pools over time is the mean and the maximum, so that single frames at end diastole and end systole count. The other is a
U-Net on single frames, which knows nothing of motion. They share no weights, and no loss of another model may use them.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from synthzoo.instruments.weights import read_network

GRID = 64
WEIGHTS = Path(__file__).parent / "weights"
REMEDY = "make it with `python scripts/train_echo_instruments.py all`."


def to_grid(frames: torch.Tensor, size: int = GRID) -> torch.Tensor:
    """Frames (..., H, W) brought to (..., size, size); finer ones are averaged over the new pixels' area."""
    shape = frames.shape
    if shape[-2:] == (size, size):
        return frames
    flat = frames.reshape(-1, 1, *shape[-2:])
    flat = F.interpolate(flat, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return flat.reshape(*shape[:-2], size, size)


class SpaceThenTime(nn.Module):
    """1x3x3 convolution, then 3x1x1, each with group normalisation and SiLU; a shortcut where the shape is kept."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.keeps = inputs == outputs and stride == 1
        self.space = nn.Conv3d(inputs, outputs, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
        self.time = nn.Conv3d(outputs, outputs, (3, 1, 1), 1, (1, 0, 0), padding_mode="replicate", bias=False)
        self.after_space, self.after_time = nn.GroupNorm(8, outputs), nn.GroupNorm(8, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = F.silu(self.after_space(self.space(x)))
        found = F.silu(self.after_time(self.time(found)))
        return found + x if self.keeps else found


class EFRegressor(nn.Module):
    """Videos (B, 1, T, 64, 64) in [0, 1] -> ejection fractions (B,).

    Works on blocks of 4 x 4 pixels, which keeps every pixel at a sixteenth of the cost.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        w = width
        self.body = nn.Sequential(
            SpaceThenTime(16, w),
            SpaceThenTime(w, w),
            SpaceThenTime(w, 2 * w, 2),
            SpaceThenTime(2 * w, 2 * w),
            SpaceThenTime(2 * w, 2 * w),
            SpaceThenTime(2 * w, 3 * w, 2),
        )
        self.head = nn.Linear(6 * w, 1)
        self.frame_head = nn.Linear(3 * w, 1)  # for training alone

    def curves(self, video: torch.Tensor) -> torch.Tensor:
        """96 maps averaged over space, (B, 96, T)."""
        blocks = F.pixel_unshuffle(((video - 0.2) / 0.2).transpose(1, 2), 4).transpose(1, 2)
        return self.body(blocks).mean((3, 4)).float()

    def features(self, video: torch.Tensor) -> torch.Tensor:
        """Input of the last layer, (B, 192): mean and maximum over time of the curves."""
        return self.pool(self.curves(video))

    @staticmethod
    def pool(curves: torch.Tensor) -> torch.Tensor:
        return torch.cat([curves.mean(2), curves.amax(2)], 1)

    def read(self, video: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Ejection fractions (B,) and the share of the largest volume that has left in each frame, (B, T)."""
        curves = self.curves(video)
        return self.head(self.pool(curves))[:, 0] + 0.5, self.frame_head(curves.transpose(1, 2))[..., 0] + 0.25

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        return self.read(video)[0]


class ConvNormAct(nn.Sequential):
    """3x3 convolution, group normalisation, SiLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(8, outputs), nn.SiLU(True))


class CavityNet(nn.Module):
    """U-Net on 2 x 2 blocks: frames (N, 1, 64, 64) in [0, 1] -> logits of the left ventricle's cavity, same shape."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        w = width
        self.first = nn.Sequential(ConvNormAct(4, w), ConvNormAct(w, w))
        self.second = nn.Sequential(ConvNormAct(w, 2 * w, 2), ConvNormAct(2 * w, 2 * w))
        self.third = nn.Sequential(ConvNormAct(2 * w, 3 * w, 2), ConvNormAct(3 * w, 3 * w))
        self.fourth = nn.Sequential(ConvNormAct(3 * w, 3 * w, 2), ConvNormAct(3 * w, 3 * w))
        self.to_third = nn.Conv2d(3 * w, 3 * w, 1)
        self.to_second, self.to_first = nn.Conv2d(3 * w, 2 * w, 1), nn.Conv2d(2 * w, w, 1)
        self.up_third, self.up_second = ConvNormAct(3 * w, 3 * w), ConvNormAct(2 * w, 2 * w)
        self.up_first = ConvNormAct(w, w)
        self.head = nn.Conv2d(w, 4, 1)

    def encode(self, frames: torch.Tensor) -> list[torch.Tensor]:
        """Features at a half, a quarter, an eighth and a sixteenth of the resolution."""
        found = [self.first(F.pixel_unshuffle((frames - 0.2) / 0.2, 2))]
        for stage in (self.second, self.third, self.fourth):
            found.append(stage(found[-1]))
        return found

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        """The deepest layer averaged over space, (N, 72)."""
        return self.encode(frames)[-1].mean((2, 3))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        first, second, third, fourth = self.encode(frames)
        third = self.up_third(third + F.interpolate(self.to_third(fourth), scale_factor=2, mode="nearest"))
        second = self.up_second(second + F.interpolate(self.to_second(third), scale_factor=2, mode="nearest"))
        first = self.up_first(first + F.interpolate(self.to_first(second), scale_factor=2, mode="nearest"))
        return F.pixel_shuffle(self.head(first), 2)


NETWORKS: dict[str, type[nn.Module]] = {"echo_ef_regressor": EFRegressor, "echo_cavity": CavityNet}


@lru_cache(maxsize=4)
def load_network(name: str, folder: Path = WEIGHTS) -> nn.Module:
    """The shipped network "echo_ef_regressor" or "echo_cavity", in eval mode on the CPU.

    Raises:
        UserError: its weights are absent.
    """
    return read_network(NETWORKS, name, folder, REMEDY)

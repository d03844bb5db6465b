"""Clips whose tissue is moved: every pixel of the new frame is read from a place nearby in the old one."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def move_tissue(clip: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Frames read at shifted places, cubic between pixels, edges continued; in float32 whatever comes in.

    Args:
        clip: (B, 1, T, H, W) in [0, 1].
        shift: (B, 2, T, H, W), how many pixels to the right and down of each pixel its new value lies.

    Returns:
        (B, 1, T, H, W) in [0, 1]; with a shift of 0 the clip itself, up to rounding.
    """
    batch, _, frames, height, width = clip.shape
    across = 2 * torch.arange(width, device=clip.device) + 1
    down = 2 * torch.arange(height, device=clip.device) + 1
    x = (across + 2 * shift[:, 0].float()) / width - 1
    y = (down[:, None] + 2 * shift[:, 1].float()) / height - 1
    places = torch.stack([x, y], -1).flatten(0, 1)
    pictures = clip.float().transpose(1, 2).flatten(0, 1)
    moved = F.grid_sample(pictures, places, mode="bicubic", padding_mode="border", align_corners=False)
    return moved.unflatten(0, (batch, frames)).transpose(1, 2).clamp(0, 1)


def unevenness(shift: torch.Tensor) -> torch.Tensor:
    """Mean square of the differences of shifts (B, 2, T, H, W) of neighbours in space: 0 where all moves as one."""
    shift = shift.float()
    return shift.diff(dim=3).square().mean() + shift.diff(dim=4).square().mean()

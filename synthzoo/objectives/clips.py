"""Parts of losses on clips: masks of padded frames, conditioning frames, and windows of longer clips."""

from __future__ import annotations

import torch


def frame_weights(valid: torch.Tensor | None, clip: torch.Tensor, stride: int = 1) -> torch.Tensor:
    """1 for frames of the video and 0 for padding, (B, T), scaled so that each row has mean 1.

    Args:
        valid: frames of the unshrunk clip that are not padding, (B,); None means all.
        clip: (B, C, T, H, W).
        stride: frames of the unshrunk clip from one frame to the next.
    """
    batch, frames = clip.shape[0], clip.shape[2]
    if valid is None:
        return clip.new_ones(batch, frames)
    place = torch.arange(frames, device=clip.device) * stride
    real = (place[None] < torch.as_tensor(valid, device=clip.device).reshape(-1, 1)).to(clip)
    return real / real.mean(1, keepdim=True).clamp_min(1 / frames)


def weighted_error(prediction: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean squared error of each clip, (B,), from clips (B, C, T, H, W) and the weights of their frames (B, T)."""
    return ((prediction - target).pow(2).mean((1, 3, 4)) * weights).mean(1)


def draw_frame(clip: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """One frame of each clip at random, (B, C, H, W), never padding."""
    batch, frames = clip.shape[0], clip.shape[2]
    last = torch.full((batch,), frames) if valid is None else torch.as_tensor(valid).cpu().clamp(1, frames)
    chosen = (torch.rand(batch) * last).long()
    return torch.stack([row[:, int(f)] for row, f in zip(clip, chosen)])


def draw_windows(size: tuple[int, int], window: int, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Upper left corners (B,), (B,) of square windows that lie in frames of a size, one for each clip.

    Every frame of a clip has to be cut alike: a window that moved with the frames would look like motion.
    """
    height, width = size
    return tuple(torch.randint(0, n - min(window, n) + 1, (batch,)) for n in (height, width))


def cut(x: torch.Tensor, corners: tuple[torch.Tensor, torch.Tensor], window: int) -> torch.Tensor:
    """The windows of clips (B, ..., H, W) at `draw_windows`."""
    rows = [row[..., top : top + window, left : left + window] for row, top, left in zip(x, *corners)]
    return torch.stack(rows)

"""Clips longer than the network's: overlapping windows, joined at every reverse step (EchoNet-Synthetic, 2406.00808).

Of the first window the whole prediction is kept, of each further one only what the windows before it do not cover. One
sampler step then moves the whole clip, so that the windows agree more and more. Still the seam is seen: on videos whose
neighbouring frames correlate by .90, half overlap leaves .64 at a seam, and .79 where the windows fade into each other.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from synthzoo.errors import UserError


def window_starts(frames: int, window: int, overlap: int) -> list[int]:
    """First frames of windows that cover `frames`; the last one is moved back to end with the clip.

    >>> window_starts(frames=36, window=16, overlap=8)
    [0, 8, 16, 20]

    Raises:
        UserError: an overlap that is not from 0 to window - 1, or a clip shorter than one window.
    """
    if not 0 <= overlap < window:
        raise UserError(f"overlap = {overlap}: windows of {window} frames overlap by 0 to {window - 1}.")
    if frames < window:
        raise UserError(f"frames = {frames}: this network makes at least {window}.")
    starts = list(range(0, frames - window, window - overlap))
    return [*starts, frames - window]


def stitched(denoise: Callable, window: int, overlap: int, fade: bool = False) -> Callable:
    """A denoiser of clips of `window` frames as one of longer clips.

    The windows of a step are run one after the other, each with the whole batch: conditions inside the denoiser keep
    their clip, and memory does not grow with the length.

    Args:
        denoise: (x (B, C, window, ...), t (B,)) -> prediction of that shape.
        window: T of the network.
        overlap: frames that a window shares with the one before; half of T is published.
        fade: average the windows that hold a frame, each by how far inside it the frame lies, instead of keeping the
            word of the first. Ours, not the published rule.
    """
    depth = torch.minimum(torch.arange(1, window + 1), torch.arange(window, 0, -1))

    def whole(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        summed, weight = torch.zeros_like(x), x.new_zeros(x.shape[2])
        covered = 0
        for start in window_starts(x.shape[2], window, overlap):
            share = depth if fade else torch.arange(start, start + window) >= covered
            share = share.to(weight)
            here = slice(start, start + window)
            summed[:, :, here] += denoise(x[:, :, here], t) * share.reshape(-1, *(1,) * (x.ndim - 3))
            weight[here] += share
            covered = start + window
        return summed / weight.reshape(-1, *(1,) * (x.ndim - 3))

    return whole

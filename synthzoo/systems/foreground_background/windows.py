"""The part of a network's square grid that shows a photograph, so that the bars around it never count.

Bars of one colour draw the attention of a model to their edges, so maps are cut to the photograph before a threshold is
sought in them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from synthzoo.transforms.mixture_masks import mixture_mask, mixture_of
from synthzoo.transforms.radiograph_grid import place

MASKED_AT = 64  # pixels of a side at which masks are found, as published
Window = tuple[slice, slice]


def window_of(height: int, width: int, size: int, fit: str = "pad") -> Window:
    """Rows and columns of a grid of `size` pixels a side that show a photograph of `height` x `width`."""
    found = place(height, width, size, fit)
    left, top, right, bottom = found.boxes_to_grid(np.array([[0, 0, width, height]]))[0]
    rows = slice(round(top), max(round(bottom), round(top) + 1))
    return rows, slice(round(left), max(round(right), round(left) + 1))


def windows_of(shapes: torch.Tensor | None, count: int, size: int, fit: str = "pad") -> list[Window]:
    """The windows of photographs of these heights and widths, int (B, 2); the whole grid where None is given."""
    if shapes is None:
        return [(slice(0, size), slice(0, size))] * count
    return [window_of(int(height), int(width), size, fit) for height, width in torch.as_tensor(shapes).reshape(-1, 2)]


def scaled(maps: torch.Tensor, windows: list[Window]) -> torch.Tensor:
    """Maps (B, 1, S, S) brought to [0, 1] within their windows, 0 outside; an even one becomes 0."""
    found = torch.zeros_like(maps)
    for one, to, window in zip(maps[:, 0], found[:, 0], windows):
        inside = one[window]
        to[window] = (inside - inside.min()) / (inside.max() - inside.min()).clamp_min(1e-12)
    return found


def mixture_masks(maps: torch.Tensor, windows: list[Window]) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks (B, 1, S, S) of 0 and 1 by `mixture_mask` within windows, and each one's separation (B,), 0 of an even map.

    Args:
        maps: (B, 1, S, S).
        windows: one each.
    """
    masks, separations = torch.zeros_like(maps), []
    for one, to, window in zip(maps[:, 0], masks[:, 0], windows):
        inside = one[window][None, None]
        share = MASKED_AT / max(one.shape)
        shape = [max(round(n * share), 3) for n in inside.shape[-2:]]
        small = F.interpolate(inside, shape, mode="bilinear", antialias=True)[0, 0].double().numpy()
        found = torch.from_numpy(mixture_mask(small)).float()[None, None]
        to[window] = F.interpolate(found, inside.shape[-2:], mode="bilinear")[0, 0].round()
        mixture = mixture_of(small)
        separations.append(0.0 if mixture is None else mixture[1])
    return masks, torch.tensor(separations)

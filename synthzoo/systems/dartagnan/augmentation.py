"""Augmentation of a clip as another operator or machine would have taken it; the motion of the heart stays."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

SMOOTH = (0.25, 0.5, 0.25)


class RandClipAugmentation:
    """Clips (B, 1, T, H, W) in [0, 1] -> as many augmented ones in [0, 1]; gradients pass, one draw for each clip.

    A view is turned, zoomed and shifted, smoothed, brighter or darker, noisy, perhaps reversed in time (the ejection
    fraction is the same), and perhaps a square of it is hidden throughout. A network that reads all of them alike has
    to look at the heart; a pattern of single pixels that would please it in one view is gone in the next.

    Args:
        shift: largest shift as a share of the side.
        zoom: largest change of size as a share.
        turn: largest angle in degrees.
        smooth: largest weight of the clip smoothed by 1-2-1 in both directions of the frame.
        gain: largest change of contrast as a share.
        level: largest change of brightness.
        noise: largest standard deviation of the noise.
        hide: probability of a hidden square.
        hidden: its side as a share of the clip's.
        reverse: probability of reversal in time.
        plain: probability that a clip is left as it is.
    """

    def __init__(
        self,
        shift: float = 0.05,
        zoom: float = 0.08,
        turn: float = 6.0,
        smooth: float = 1.0,
        gain: float = 0.15,
        level: float = 0.04,
        noise: float = 0.06,
        hide: float = 0.5,
        hidden: float = 0.3,
        reverse: float = 0.5,
        plain: float = 0.2,
    ) -> None:
        self.shift, self.zoom, self.turn, self.smooth = shift, zoom, turn, smooth
        self.gain, self.level, self.noise = gain, level, noise
        self.hide, self.hidden, self.reverse, self.plain = hide, hidden, reverse, plain

    def __call__(self, clip: torch.Tensor) -> torch.Tensor:
        """See the class."""
        clip = clip.float()
        count, _, _, height, width = clip.shape

        def draw(size: float, *shape: int) -> torch.Tensor:
            return size * (2 * torch.rand(count, *shape, device=clip.device) - 1)

        angle, size = draw(math.radians(self.turn)), 1 + draw(self.zoom)
        across, down = draw(2 * self.shift), draw(2 * self.shift)
        first = torch.stack([size * angle.cos(), -size * angle.sin(), across], 1)
        second = torch.stack([size * angle.sin(), size * angle.cos(), down], 1)
        places = F.affine_grid(torch.stack([first, second], 1), [count, 1, height, width], align_corners=False)
        view = F.grid_sample(clip[:, 0], places, align_corners=False)
        taps = torch.tensor(SMOOTH, device=clip.device)
        edged = F.pad(view.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
        soft = F.conv2d(edged, torch.outer(taps, taps)[None, None])[:, 0].unflatten(0, view.shape[:2])
        view = view + self.smooth * torch.rand(count, 1, 1, 1, device=clip.device) * (soft - view)
        view = view * (1 + draw(self.gain, 1, 1, 1)) + draw(self.level, 1, 1, 1)
        view = view + self.noise * torch.rand(count, 1, 1, 1, device=clip.device) * torch.randn_like(view)
        view = view.clamp(0, 1) * self.window(count, height, width, clip.device)
        back = torch.rand(count, 1, 1, 1, device=clip.device) < self.reverse
        view = torch.where(back, view.flip(1), view)
        left = torch.rand(count, 1, 1, 1, device=clip.device) < self.plain
        return torch.where(left, clip[:, 0], view)[:, None]

    def window(self, count: int, height: int, width: int, device: str | torch.device) -> torch.Tensor:
        """0 in the hidden squares, 1 elsewhere, (count, 1, height, width)."""
        chosen = torch.rand(count, 1, 1, device=device) < self.hide
        middle = torch.rand(2, count, 1, 1, device=device)
        rows = (torch.arange(height, device=device)[:, None] / height - middle[0]).abs() < self.hidden / 2
        columns = (torch.arange(width, device=device) / width - middle[1]).abs() < self.hidden / 2
        return (~(chosen & rows & columns)).float()[:, None]

"""Augmentation of chest radiographs towards other poses, exposures and generated ones, on tensors in a batch."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

TURN, SCALE, SHIFT = math.radians(6), 0.08, 0.05  # largest; shift in shares of the image
GAIN, GAMMA = 0.15, 0.25  # largest relative change of contrast, and of the exponent
BLURRED, NOISY = 0.4, 0.4  # shares of radiographs
WIDEST_BLUR, MOST_NOISE = 1.0, 0.04  # in pixels of the grid; standard deviation


def move(images: list[torch.Tensor]) -> list[torch.Tensor]:
    """Images (B, C, S, S) of one scene, S may differ, turned, scaled and shifted together, each row in its own way."""
    count, device = len(images[0]), images[0].device
    turn, scale, across, down = (2 * torch.rand(4, count, device=device) - 1).unbind()
    turn, scale = turn * TURN, 1 + scale * SCALE
    rows = torch.stack([torch.cos(turn), -torch.sin(turn), torch.sin(turn), torch.cos(turn)], 1) * scale[:, None]
    shift = 2 * SHIFT * torch.stack([across, down], 1)
    matrix = torch.cat([rows.reshape(-1, 2, 2), shift[:, :, None]], 2)
    grids = [F.affine_grid(matrix, [count, 1, *image.shape[-2:]], align_corners=False) for image in images]
    return [F.grid_sample(image, grid, align_corners=False) for image, grid in zip(images, grids)]


def disturb(image: torch.Tensor, loss: float = 1.0) -> torch.Tensor:
    """Radiographs (B, 1, S, S) with another contrast and gamma, some blurred, some with noise; `loss`, 0 to 1, is how
    much of the blur and noise."""
    count, device = len(image), image.device

    def draw(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, device=device)

    share = draw(0, loss * WIDEST_BLUR) * (draw(0, 1) < BLURRED)
    soft = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
    image = (1 - share) * image + share * soft
    image = draw(1 - GAIN, 1 + GAIN) * image.clamp(1e-4, 1) ** draw(1 - GAMMA, 1 + GAMMA)
    noise = draw(0, loss * MOST_NOISE) * (draw(0, 1) < NOISY)
    return (image + noise * torch.randn_like(image)).clamp(0, 1)

"""Training of the echo instruments: augmentation towards generated videos, and two losses."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

GAIN, GAMMA = 0.15, 0.2  # largest relative change of brightness, and of the exponent
BLUR, FROZEN, REVERSED = 0.6, 0.08, 0.3  # shares of videos
WIDEST_BLUR, MOST_NOISE = 1.1, 0.04  # in the video's own pixels; standard deviation
TURN, SCALE, SHIFT = math.radians(5), 0.07, 0.04  # of the probe; shift in shares of the field of view


def blur(video: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Frames (B, T, H, W) blurred by a Gaussian of width `sigma` (B,) in pixels; 0 leaves a video as it is."""
    places = torch.arange(-4, 5, device=video.device, dtype=video.dtype)
    kernel = torch.exp(-0.5 * (places / sigma.clamp_min(0.05)[:, None]) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    frames = video.transpose(0, 1)  # videos become channels, each with a kernel of its own
    for shape, pad in (((-1, 1, 9, 1), (0, 0, 4, 4)), ((-1, 1, 1, 9), (4, 4, 0, 0))):
        frames = F.conv2d(F.pad(frames, pad, mode="replicate"), kernel.reshape(shape), groups=len(video))
    return frames.transpose(0, 1)


def move(videos: list[torch.Tensor]) -> list[torch.Tensor]:
    """Videos (B, T, H, W) of one scene turned, scaled and shifted together, each row in its own way."""
    count, device = len(videos[0]), videos[0].device
    turn = (2 * torch.rand(count, device=device) - 1) * TURN
    scale = 1 + (2 * torch.rand(count, device=device) - 1) * SCALE
    shift = (2 * torch.rand(count, 2, device=device) - 1) * 2 * SHIFT
    rows = torch.stack([torch.cos(turn), -torch.sin(turn), torch.sin(turn), torch.cos(turn)], 1) * scale[:, None]
    matrix = torch.cat([rows.reshape(-1, 2, 2), shift[:, :, None]], 2)
    grid = F.affine_grid(matrix, list(videos[0].shape), align_corners=False)
    return [F.grid_sample(video, grid, mode="bilinear", align_corners=False) for video in videos]


def disturb(video: torch.Tensor, pixel: torch.Tensor) -> torch.Tensor:
    """Videos (B, T, H, W) with another gain and gamma, some blurred, some with noise; `pixel` (B,) scales the blur."""
    count, device = len(video), video.device

    def draw(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, device=device)

    sigma = draw(0, WIDEST_BLUR) * (draw(0, 1) < BLUR)
    video = blur(video, sigma * pixel)
    gamma, gain = draw(1 - GAMMA, 1 + GAMMA), draw(1 - GAIN, 1 + GAIN)
    video = gain[:, None, None, None] * video.clamp(1e-4, 1) ** gamma[:, None, None, None]
    noise = draw(0, MOST_NOISE) * (draw(0, 1) < 0.5)
    return (video + noise[:, None, None, None] * torch.randn_like(video)).clamp(0, 1)


class EFLoss:
    """Smooth L1 error of EF, and of the ejected share in each frame, in units of 0.1.

    Videos are moved and disturbed, some run backwards, some stand still and have EF 0.
    """

    def __call__(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            video, ejected = batch["video"].float(), batch["ejected"]
            device = video.device
            backwards = torch.rand(len(video), device=device) < REVERSED
            video = torch.where(backwards[:, None, None, None], video.flip(1), video)
            ejected = torch.where(backwards[:, None], ejected.flip(1), ejected)
            frozen = torch.rand(len(video), device=device) < FROZEN
            still = video[:, torch.randint(video.shape[1], (1,), device=device)].expand_as(video)
            video = torch.where(frozen[:, None, None, None], still, video)
            ef, ejected = batch["ef"].masked_fill(frozen, 0.0), ejected.masked_fill(frozen[:, None], 0.0)
            video = disturb(move([video])[0], batch["pixel"])
        found, curve = network.read(video[:, None])
        whole = F.smooth_l1_loss(10 * found, 10 * ef, beta=0.5)
        frames = F.smooth_l1_loss(10 * curve, 10 * ejected, beta=0.5)
        return {"loss": whole + frames, "mae": (found - ef).abs().mean(), "frames": frames}


class CavityLoss:
    """Cross-entropy plus 1 - Dice of the cavity in a few frames of each video.

    Args:
        frames: of each video that a step looks at.
    """

    def __init__(self, frames: int = 4) -> None:
        self.frames = frames

    def __call__(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            chosen = torch.randperm(batch["video"].shape[1], device=batch["video"].device)[: self.frames]
            video, cavity = move([batch["video"][:, chosen].float(), batch["cavity"][:, chosen].float()])
            video = disturb(video, batch["pixel"])
        logits = network(video.flatten(0, 1)[:, None]).float()
        truth = cavity.flatten(0, 1)[:, None]
        cross = F.binary_cross_entropy_with_logits(logits, truth)
        found = logits.sigmoid()
        both = (found * truth).sum((1, 2, 3))
        dice = ((2 * both + 1) / ((found + truth).sum((1, 2, 3)) + 1)).mean()
        return {"loss": cross + 0.5 * (1 - dice), "cross_entropy": cross, "dice": dice}

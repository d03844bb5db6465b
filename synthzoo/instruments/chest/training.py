"""Training of the chest instruments: augmentation towards generated radiographs, and three losses."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from synthzoo.instruments.chest.networks import to_grid
from synthzoo.instruments.identities import PairLoss

TURN, SCALE, SHIFT = math.radians(6), 0.08, 0.05  # largest; shift in shares of the image
GAIN, GAMMA = 0.15, 0.25  # largest relative change of contrast, and of the exponent
BLURRED, NOISY = 0.4, 0.4  # shares of radiographs
WIDEST_BLUR, MOST_NOISE = 1.0, 0.04  # in pixels of the grid; standard deviation
FAINT = 0.35  # of blur and noise, where a central line is to stay visible
PIXELS, WITHIN = 4.0, 3.0  # weights of the maps, and of pixels within a mask


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


class OrganLoss:
    """Cross-entropy plus 1 - Dice of lungs and heart."""

    def __call__(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            truth = to_grid(batch["mask"][:, :2].float(), "chest_organs")
            image, truth = move([to_grid(batch["image"].float(), "chest_organs"), truth])
            image = disturb(image)
        logits = network(image).float()
        cross = F.binary_cross_entropy_with_logits(logits, truth)
        found = logits.sigmoid()
        both = (found * truth).sum((0, 2, 3))
        dice = ((2 * both + 1) / ((found + truth).sum((0, 2, 3)) + 1)).mean()
        return {"loss": cross + 0.5 * (1 - dice), "cross_entropy": cross, "dice": dice}


class FindingLoss:
    """Cross-entropy of findings, plus that of each pixel of their maps, of radiographs half of which are mirrored.

    A pixel of a map is the finding's where any pixel of the mask within it is.
    """

    def __call__(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            image, mask = batch["image"].float(), F.max_pool2d(batch["mask"][:, 2:].float(), 2)
            mirrored = (torch.rand(len(image), device=image.device) < 0.5)[:, None, None, None]
            image, truth = (torch.where(mirrored, part.flip(3), part) for part in (image, mask))
            image, truth = move([to_grid(image, "chest_findings"), truth])
            image = disturb(image, FAINT)
        maps, logits = (part.float() for part in network(image))
        present = (truth.amax((2, 3)) > 0.5).float()
        pixels = F.binary_cross_entropy_with_logits(maps, truth, pos_weight=maps.new_tensor(WITHIN))
        findings = F.binary_cross_entropy_with_logits(logits, present)
        return {"loss": findings + PIXELS * pixels, "findings": findings, "pixels": pixels}


class IdentityLoss(PairLoss):
    """Contrastive loss of pairs of studies that are moved and disturbed, see `PairLoss`."""

    def __init__(self) -> None:
        super().__init__(lambda pairs: disturb(move([to_grid(pairs, "chest_identity")])[0]))

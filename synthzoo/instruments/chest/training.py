"""Training of the chest instruments: three losses, of radiographs that are augmented towards generated ones."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from synthzoo.instruments.chest.networks import to_grid
from synthzoo.instruments.identities import PairLoss
from synthzoo.transforms.radiograph_augmentation import disturb, move

FAINT = 0.35  # of blur and noise, where a central line is to stay visible
PIXELS, WITHIN = 4.0, 3.0  # weights of the maps, and of pixels within a mask


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

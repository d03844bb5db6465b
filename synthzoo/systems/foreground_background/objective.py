"""Loss of the segmentation network against masks that nobody drew (Dombrowski et al., ICCV 2023)."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from synthzoo.systems.foreground_background.network import ConceptNetwork


class SegmentationObjective:
    """Mean binary cross-entropy of the logits, and the Dice loss of each concept beside it.

    Args:
        dice: weight of the Dice loss; 0 is the paper.
    """

    name = "segmenter"

    def __init__(self, dice: float = 0.0) -> None:
        self.dice = float(dice)

    def __call__(self, network: ConceptNetwork, batch: dict) -> dict[str, torch.Tensor]:
        """`batch["image"]` (B, bands, S, S) in [0, 1], `batch["mask"]` (B, K, S, S) of 0 and 1 -> "loss", ..."""
        truth = batch["mask"]
        logits = network.segmenter(2 * batch["image"] - 1)
        entropy = F.binary_cross_entropy_with_logits(logits, truth)
        if not self.dice:
            return {"loss": entropy}
        found, axes = logits.sigmoid(), (0, 2, 3)
        overlap = (2 * (found * truth).sum(axes) + 1) / (found.sum(axes) + truth.sum(axes) + 1)
        loss = 1 - overlap.mean()
        return {"loss": entropy + self.dice * loss, "entropy": entropy, "dice_loss": loss}

    def images(self, network: ConceptNetwork, batch: dict, inferer: Any = None) -> dict[str, torch.Tensor]:
        """The first image, the mask that it is trained on and the one that is predicted, (1, S, 3 S)."""
        found = network(batch["image"][:1])
        parts = [batch["image"][0].mean(0), batch["mask"][0].amax(0), found[0].amax(0)]
        return {"segmentation": torch.cat(parts, -1)[None]}

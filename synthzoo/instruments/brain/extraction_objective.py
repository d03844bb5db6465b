"""Loss of the brain extractor: cross-entropy plus soft Dice."""

from __future__ import annotations

import torch
from torch.nn import functional as F


class BrainExtractionLoss:
    """Called with a network that has `extractor` and a batch `image`, `brain` (B, 1, D, H, W)."""

    def __call__(self, network: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        logits, brain = network.extractor(batch["image"]), batch["brain"]
        share = logits.sigmoid()
        dice = (2 * (share * brain).sum() + 1) / (share.sum() + brain.sum() + 1)
        return {"loss": F.binary_cross_entropy_with_logits(logits, brain) + 1 - dice, "dice": dice.detach()}

"""Loss of the segmenter: cross entropy over tissues and parts, and overlap of all lesions and of each part."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from synthzoo.phantoms.brain.pathology.scans import TISSUES
from synthzoo.systems.brainspade3d.segmenter import CLASSES

LEAST_PROBABILITY = 1e-6


class SegmenterLoss:
    """class_weight x CE(class) + CE(lesion or not) + Dice(lesion) + part_weight x mean Dice of a batch's parts.

    With p_lesion the sum over the lesion parts' probabilities, two parts that a contrast does not tell apart cost the
    class's term alone. Called with the network and a batch of `SickSlices`: "image" (B, 2, h, w), "label" (B, 1, h, w)
    and "axis" (B,), one axis a batch. Voxels outside of what the scan shows count in no term.

    Args:
        class_weight: of the classes' cross entropy. Tissues are soft in an average anatomy and hardly differ in some
            contrasts, so with a weight of 1 they make most of the gradient and little of what is learned from it.
        part_weight: of the parts' Dice.
        mirror: share of batches that show the network the other side; the rest trains it to do without.
    """

    def __init__(self, class_weight: float = 0.3, part_weight: float = 0.5, mirror: float = 0.85) -> None:
        self.class_weight, self.part_weight, self.mirror = class_weight, part_weight, mirror

    def __call__(self, network: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        network = getattr(network, "module", network)
        image, label = batch["image"], batch["label"][:, 0].long()
        logits = network.slices(image, int(batch["axis"][0]), mirror=bool(torch.rand(()) < self.mirror)).float()
        inside = (image[:, 1] != 0).float()
        seen = inside.sum().clamp(min=1)
        probabilities = logits.softmax(1)
        lesion = (probabilities[:, len(TISSUES) :].sum(1)).clamp(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        sick = (label >= len(TISSUES)).float()
        classes = (F.cross_entropy(logits, label, reduction="none") * inside).sum() / seen
        binary = -((sick * lesion.log() + (1 - sick) * (1 - lesion).log()) * inside).sum() / seen
        whole = 1 - overlap(lesion * inside, sick)
        parts = [
            1 - overlap(probabilities[:, part] * inside, (label == part).float())
            for part in range(len(TISSUES), len(CLASSES))
            if (label == part).any()
        ]
        part = torch.stack(parts).mean() if parts else 0 * whole
        loss = self.class_weight * classes + binary + whole + self.part_weight * part
        return {"loss": loss, "classes": classes, "lesion": binary, "dice": 1 - whole, "part_dice": 1 - part}


def overlap(soft: torch.Tensor, hard: torch.Tensor) -> torch.Tensor:
    """Soft Dice coefficient over a whole batch, 1 where both are empty."""
    return (2 * (soft * hard).sum() + 1) / (soft.sum() + hard.sum() + 1)

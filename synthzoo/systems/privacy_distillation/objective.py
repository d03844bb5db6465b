"""Loss of the re-identification network: all pairs of a batch of radiographs that are moved, blurred and noised."""

from __future__ import annotations

import torch

from synthzoo.systems.hidden_subspaces.objective import ReidLoss
from synthzoo.transforms.radiograph_augmentation import disturb, move


class PairLoss:
    """`ReidLoss` of a batch of `PatientPairs` after augmentation towards generated radiographs.

    Args:
        all_pairs, rank_weight: see `ReidLoss`.
    """

    def __init__(self, all_pairs: bool = True, rank_weight: float = 0.5) -> None:
        self.loss = ReidLoss(all_pairs, rank_weight)

    def __call__(self, network: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            images = disturb(move([batch["image"].flatten(0, 1)])[0]).unflatten(0, batch["image"].shape[:2])
        return self.loss(network, {**batch, "image": images})

"""Loss of the re-identification network: binary cross entropy on pairs, as published, or on all pairs of a batch.

With `all_pairs` each of B first frames is compared with each of B second ones: B pairs of one patient against
B (B - 1) of two, which weigh the same in sum. `rank_weight` adds the cross entropy of finding one's own second frame
among the batch's, which is the question of an audit: the nearest of many patients.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


class ReidLoss:
    """Called with the network and a batch of `PatientPairs`.

    Returns "loss", "pairs" (cross entropy), "rank" and "accuracy" (share of pairs on the right side of logit 0, both
    kinds weighing the same).

    Args:
        all_pairs: compare all first with all second frames of the batch.
        rank_weight: of the ranking loss; needs `all_pairs`.
    """

    def __init__(self, all_pairs: bool = True, rank_weight: float = 0.5) -> None:
        self.all_pairs, self.rank_weight = all_pairs, float(rank_weight)

    def __call__(self, network: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        network = getattr(network, "module", network)
        image, patient = batch["image"], torch.as_tensor(batch["patient"])
        first, second = network(image.flatten(0, 1)).unflatten(0, image.shape[:2]).unbind(1)
        if not self.all_pairs:
            logits, truth = network.head(first, second), torch.as_tensor(batch["same"]).to(image.device)
            loss = F.binary_cross_entropy_with_logits(logits, truth)
            right = ((logits > 0) == (truth > 0.5)).float().mean()
            return {"loss": loss, "pairs": loss, "accuracy": right}
        patient = patient.to(image.device)
        same = patient[:, :1] == patient[:, 1]
        logits = network.head(first[:, None], second[None])
        kinds = [logits[same], -logits[~same]]
        kinds = [kind for kind in kinds if len(kind)]
        pairs = torch.stack([F.softplus(-kind).mean() for kind in kinds]).mean()
        right = torch.stack([(kind > 0).float().mean() for kind in kinds]).mean()
        own = torch.arange(len(logits), device=logits.device)[same.diagonal()]
        rank = 0 * pairs
        if self.rank_weight and len(own):
            # Another frame of the same patient is no baseline.
            baselines = logits.masked_fill(
                same & ~torch.eye(len(same), dtype=torch.bool, device=same.device), -torch.inf
            )
            rank = (F.cross_entropy(baselines[own], own) + F.cross_entropy(baselines.T[own], own)) / 2
        return {"loss": pairs + self.rank_weight * rank, "pairs": pairs, "rank": rank, "accuracy": right}

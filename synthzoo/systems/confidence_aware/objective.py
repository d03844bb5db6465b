"""Losses of the three heads on soft labels."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from synthzoo.systems.confidence_aware.network import AnomalyConfidenceNetwork, with_coordinates


class SoftLabelLoss:
    """Cross entropy of the score against the soft label; of PHiSeg with its divergences.

    BCE(p, y) = -y log p - (1 - y) log(1 - p), a mean over pixels for the U-Nets. For PHiSeg the sum over levels of the
    mean cross entropy of the accumulated logits plus `beta` sum_l 4^l KL_l / pixels (Baumgartner et al., 2019, whose
    sums over pixels are divided by their number).

    Called with the network and a batch, `image` and `label` (B, 1, H, W). Returns "loss", and "kl" for PHiSeg.

    Args:
        beta: weight of PHiSeg's divergences.
        weight: pixels count 1 + weight y times; 0 is the plain mean.
    """

    def __init__(self, beta: float = 1.0, weight: float = 0.0) -> None:
        self.beta, self.weight = beta, weight

    def __call__(self, network: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        image, label = batch["image"], batch["label"]
        inner: AnomalyConfidenceNetwork = getattr(network, "module", network)
        if inner.head != "phiseg":
            return {"loss": self._error(inner.logits(image), label)}
        logits, divergences = inner.body.training_terms(with_coordinates(image), label)
        pixels = image[0].numel()
        kl = sum(4**level * term.mean() for level, term in enumerate(divergences)) / pixels
        return {"loss": sum(self._error(one, label) for one in logits) + self.beta * kl, "kl": kl.detach()}

    def _error(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(logits, label, 1 + self.weight * label)

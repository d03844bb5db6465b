"""The filter of EchoNet-Synthetic (arXiv 2406.00808): what it compares references with, and from where on it rejects.

    threshold = 95th percentile of s(z) over frames of patients whom nothing was trained on

s(z) is the score against the nearest of all training frames, for those patients as for sampled references, so
that one patient in twenty whom the model never saw would be refused. The published threshold swaps the two sets and
compares few with many, which refuses more than that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.metrics.reidentification import PERCENTILE, unseen_threshold
from synthzoo.networks.saving import save_weights


@torch.no_grad()
def best_scores(network: torch.nn.Module, latents: torch.Tensor, chunk: int = 512) -> np.ndarray:
    """s(z) of latents (N, C, h, w), float64 (N,)."""
    device = next(network.parameters()).device
    parts = [network.nearest_patient(part.to(device))[0].cpu() for part in latents.split(chunk)]
    return torch.cat(parts).double().numpy()


class FilterCalibration:
    """Embeds the training videos, measures the threshold and writes the weights.

    Args:
        network: a `LatentVideo` with its other parts trained.
        training: `LatentClips` of its training videos; the first frame of each goes into the gallery, as published.
        unseen: `LatentClips` of patients that were not trained on, at least 20.
        percentile: of their scores.
        save_to: the state dict of the whole network.

    Raises:
        UserError: more videos than the gallery holds, fewer than 20 unseen ones.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        training: Any,
        unseen: Any,
        percentile: float = PERCENTILE,
        save_to: str | Path | None = None,
    ) -> None:
        self.network, self.training, self.unseen = network, training, unseen
        self.percentile, self.save_to = float(percentile), save_to

    @torch.no_grad()
    def run(self) -> float:
        """The threshold, a logit."""
        network = self.network.eval()
        device = next(network.parameters()).device
        first = self.training.latents[:, :, 0]
        embeddings = torch.cat([network.reid(part.to(device)) for part in first.split(512)])
        network.fit_gallery(embeddings, torch.from_numpy(self.training.patients).to(device))
        threshold = unseen_threshold(best_scores(network, self.unseen.latents[:, :, 0]), self.percentile)
        network.threshold.fill_(threshold)
        if self.save_to:
            save_weights(network, self.save_to, half=True)
        print(f"threshold {threshold:.4f} of {len(self.unseen)} videos; gallery of {len(first)} frames")
        return threshold

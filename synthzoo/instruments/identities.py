"""Instruments that tell patients apart: the loss that trains them, and the figures and controls that judge them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from monai.losses import ContrastiveLoss

from synthzoo.instruments.weights import rounded
from synthzoo.metrics.reidentification import auc, auc_interval, pixel_scores

TEMPERATURE = 0.1
MOST_OTHERS = 5000  # pairs of two patients of which an interval is drawn


class PairLoss:
    """Contrastive loss of pairs of images: each is to be nearer to its patient's other one than to all in the batch.

    Reference: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020.

    Args:
        prepare: images (2 B, 1, ...), the two of a patient one after the other -> what the network takes.
    """

    def __init__(self, prepare: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.prepare, self.contrast = prepare, ContrastiveLoss(temperature=TEMPERATURE)

    def __call__(self, network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Loss and share of first places of {"image": (B, 2, ...)}."""
        with torch.no_grad():
            pairs = self.prepare(batch["image"].float().flatten(0, 1)[:, None])
        features = network(pairs).float()
        one, other = features[::2], features[1::2]
        first = (one @ other.T).argmax(1) == torch.arange(len(one), device=one.device)
        return {"loss": self.contrast(one, other), "first_place": first.float().mean()}


def pairs_of(scores: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Scores of pairs of one patient, of pairs of two patients, and how often the nearest image is one's own."""
    alike = patients[:, None] == patients[None]
    upper = np.triu(np.ones(alike.shape, bool), 1)
    masked = np.where(np.eye(len(scores), dtype=bool), -np.inf, scores)
    first = rounded((patients[masked.argmax(1)] == patients).mean())
    return scores[alike & upper], scores[~alike & upper], first


def equal_error_threshold(features: np.ndarray, patients: np.ndarray) -> float:
    """The similarity at which misses and false alarms are equally frequent, of features (N, K) of length 1."""
    same, other, _ = pairs_of(features @ features.T, patients)
    cuts = np.unique(same)
    missed = np.array([(same < cut).mean() for cut in cuts])
    false = np.array([(other >= cut).mean() for cut in cuts])
    return round(float(cuts[np.abs(missed - false).argmin()]), 5)


def identity_errors(images: np.ndarray, patients: np.ndarray, features: np.ndarray, threshold: float) -> dict:
    """AUROC of pairs of different images, first places, error rates at the threshold, beside raw pixels.

    Args:
        images: (N, ...), all of one grid.
        patients: (N,), whose each is.
        features: (N, K) of length 1.
        threshold: of the similarity.
    """
    found = {}
    for name, scores in (("network", features @ features.T), ("raw_pixels", pixel_scores(images, images))):
        same, other, first = pairs_of(scores, patients)
        low, high = auc_interval(same, other[:: max(1, len(other) // MOST_OTHERS)], draws=200)
        found[name] = {
            "auroc": rounded(auc(same, other)),
            "interval": [rounded(low), rounded(high)],
            "first_place": first,
        }
        if name == "network":
            found[name] |= {"missed": rounded((same < threshold).mean()), "false": rounded((other >= threshold).mean())}
            found[name] |= {"pairs_same": len(same), "pairs_other": len(other)}
    shuffled = np.random.default_rng(0).permutation(patients)
    same, other, first = pairs_of(features @ features.T, shuffled)
    return found | {"shuffled": {"auroc": rounded(auc(same, other)), "first_place": first}}


def identity_table(found: dict, whose: str) -> list[str]:
    """The figures of `identity_errors` as lines of a Markdown table.

    Args:
        found: of `identity_errors`.
        whose: head of the first column, such as "whose radiograph".
    """
    lines = [f"| {whose} | AUROC of pairs (95 %) | nearest study is one's own |", "|---|---|---|"]
    for name, said in (("network", "instrument"), ("raw_pixels", "raw pixels"), ("shuffled", "shuffled patients")):
        e = found[name]
        interval = f" ({e['interval'][0]:.3f} to {e['interval'][1]:.3f})" if "interval" in e else ""
        lines.append(f"| {said} | {e['auroc']:.3f}{interval} | {100 * e['first_place']:.0f} % |")
    return lines

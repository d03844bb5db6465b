"""How well classes are told apart: accuracy, its mean over classes, AUROC, calibration, and whether a gain is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from synthzoo.systems.semi_vit.dataset import ClassImages

BINS = 10
BATCH = 64


@torch.inference_mode()
def probabilities(network: torch.nn.Module, images: ClassImages, inferer: Any = None) -> np.ndarray:
    """Probabilities float32 (N, K) of all images of a set.

    Args:
        network: classifier, on its device.
        images: to be classified.
        inferer: images, network -> probabilities; None is the softmax.
    """
    network.eval()
    device = next(network.parameters()).device
    found = []
    for first in range(0, len(images), BATCH):
        rows = range(first, min(first + BATCH, len(images)))
        batch = torch.stack([images.image(row) for row in rows]).to(device)
        found.append(network(batch).float().softmax(1) if inferer is None else inferer(batch, network))
    return torch.cat(found).cpu().numpy()


def class_metrics(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Figures of probabilities (N, K) against classes (N,).

    "accuracy" of the likeliest class, "top2" of the two likeliest, "balanced", the mean over classes of the share of
    each that is found, "auroc", the mean over classes of one against the others, "ece", the expected calibration error
    sum_b n_b / N |accuracy in b - mean confidence in b| over 10 bins of the confidence.
    """
    predicted, sure = scores.argmax(1), scores.max(1)
    right = predicted == truth
    present = np.unique(truth)
    second = np.argsort(-scores, axis=1, kind="stable")[:, :2]
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    error = sum(
        float(np.mean(bins == one)) * abs(float(right[bins == one].mean()) - float(sure[bins == one].mean()))
        for one in np.unique(bins)
    )
    areas = [roc_auc_score(truth == one, scores[:, one]) for one in present] if len(present) > 1 else [float("nan")]
    return {
        "accuracy": float(right.mean()),
        "top2": float((second == truth[:, None]).any(1).mean()),
        "balanced": float(np.mean([right[truth == one].mean() for one in present])),
        "auroc": float(np.mean(areas)),
        "ece": error,
    }


def by_class(scores: np.ndarray, truth: np.ndarray, threshold: float) -> dict[str, list[float]]:
    """Of each class: "kept", the share that is sure, and "right", the share of these whose class is right.

    Args:
        scores: probabilities (N, K).
        truth: classes (N,).
        threshold: confidence from which an image is sure.

    A class without sure images has a "right" of 0.
    """
    sure, right = scores.max(1) >= threshold, scores.argmax(1) == truth
    kept, found = [], []
    for one in range(scores.shape[1]):
        own = truth == one
        kept.append(float(sure[own].mean()) if own.any() else 0.0)
        found.append(float(right[own & sure].mean()) if (own & sure).any() else 0.0)
    return {"kept": kept, "right": found}


def paired_gain(ours: Sequence[float], control: Sequence[float]) -> dict[str, Any]:
    """The mean difference of equal seeds, its standard error, and whether it is a gain.

    A gain is "shown" where every seed has it and the mean is more than two standard errors; a "loss" likewise; all else
    is "not shown", one seed alone always.
    """
    difference = np.asarray(ours, float) - np.asarray(control, float)
    mean, count = float(difference.mean()), len(difference)
    error = float(difference.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
    verdict = "not shown"
    if count > 1 and abs(mean) > 2 * error:
        verdict = "shown" if (difference > 0).all() else "loss" if (difference < 0).all() else verdict
    return {"mean": mean, "error": error, "wins": int((difference > 0).sum()), "seeds": count, "verdict": verdict}

"""Identity of generated videos: whether a re-identification network or plain pixels match them with real patients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from synthzoo.evaluation.base import Found

IMPOSTORS = 95.0  # percentile of the scores of different patients that a video of the same patient has to pass


def identity(videos: torch.Tensor, generated: torch.Tensor, reid: Any = None) -> Found:
    """The table of identity, and the share of videos that stay their patient's as the figure "same_patient".

    Args:
        videos: (N, 1, T, S, S) of N patients.
        generated: a video of each of them.
        reid: a `ReidNetwork`, whose verdict is then the figure; None leaves it to pixels.
    """
    judges = {"pixels": pixel_scores}
    if reid is not None:
        judges["re-identification network"] = lambda one, two: reid_scores(reid, one, two)
    rows = []
    for name, judge in judges.items():
        between = judge(videos, videos)[~np.eye(len(videos), dtype=bool)]
        least = float(np.percentile(between, IMPOSTORS))
        scores = judge(generated, videos)
        own, nearest = np.diag(scores) > least, scores.argmax(1) == np.arange(len(videos))
        rows.append([name, round(least, 4), round(float(own.mean()), 4), round(float(nearest.mean()), 4)])
    found = Found(figures={"same_patient": rows[-1][2]})
    columns = ["judge", "threshold", "same patient", "nearest of all videos is the own"]
    found.add(f"Identity: similarity above {IMPOSTORS:.0f} % of pairs of different patients", columns, rows)
    return found


def pixel_scores(one: torch.Tensor, two: torch.Tensor) -> np.ndarray:
    """Correlation of the mean frames of videos (N, 1, T, S, S) and (M, 1, T, S, S), (N, M)."""
    means = [videos.mean((1, 2)).flatten(1) for videos in (one, two)]
    first, second = (F.normalize(mean - mean.mean(1, keepdim=True), dim=1) for mean in means)
    return (first @ second.T).numpy()


def reid_scores(network: Any, one: torch.Tensor, two: torch.Tensor, frames: int = 4) -> np.ndarray:
    """Scores of videos (N, 1, T, S, S) and (M, 1, T, S, S) as videos of one patient, logits (N, M).

    Args:
        network: a `ReidNetwork` of single frames; a video is the mean over a few.
        frames: how many.
    """
    device = next(network.parameters()).device
    with torch.no_grad():
        embedded = []
        for videos in (one, two):
            chosen = torch.linspace(0, videos.shape[2] - 1, frames).round().long()
            embedded.append(torch.stack([network(video[0, chosen][:, None].to(device)).mean(0) for video in videos]))
        return network.logits(*embedded).cpu().numpy()

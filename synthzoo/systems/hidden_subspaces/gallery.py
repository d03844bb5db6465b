"""The training videos that an audit compares with, embedded once, and the thresholds that unseen patients give."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.errors import UserError
from synthzoo.metrics.reidentification import PERCENTILE, identity_break, nearest, unseen_threshold
from synthzoo.systems.hidden_subspaces.videos import spread

AT_ONCE = 256  # frames in one call of the network
TAIL = 5.0  # percent of pairs of frames that are left out where the limit between one and two patients is set


def embed_frames(network: torch.nn.Module, frames: torch.Tensor) -> torch.Tensor:
    """Frames (N, C, H, W) -> embeddings (N, K) on the CPU, in pieces that fit into memory."""
    device = next(network.parameters()).device
    with torch.no_grad():
        return torch.cat([network(piece.float().to(device)).float().cpu() for piece in frames.split(AT_ONCE)])


def embed_videos(network: torch.nn.Module, videos: Dataset, frames: int) -> torch.Tensor:
    """Embedding of every video, the mean over `frames` evenly spread frames, float32 (N, K)."""
    found, waiting = [], []
    for row in range(len(videos)):
        waiting.append(videos.frames(row, lambda count: spread(count, frames)))
        if sum(map(len, waiting)) >= AT_ONCE or row == len(videos) - 1:
            parts = embed_frames(network, torch.cat(waiting)).split([len(part) for part in waiting])
            found += [part.mean(0) for part in parts]
            waiting = []
    return torch.stack(found)


class Gallery:
    """Training videos, their embeddings and the thresholds; the network is given at the first `fit`.

    Args:
        training: videos that the generator was trained on, see `reid_videos`.
        unseen: videos of patients that it never saw, for the threshold; None needs `threshold`.
        frames: of each video, over which its embedding is averaged.
        percentile: of the best scores of unseen patients, above which a video counts as memorised.
        threshold: instead of that percentile, as a logit.

    Attributes (after `fit`):
        embeddings: float32 (N, K).
        threshold: as a logit.
        different: logit below which two frames are of two patients, halfway between the 95th percentile of frames of
            two unseen patients and the 5th of two frames of one video.
        unseen_learned: number of training videos that are nearest to an unseen video.

    Raises:
        UserError: no training videos, or neither unseen videos nor a threshold.
    """

    def __init__(
        self,
        training: Any,
        unseen: Any = None,
        frames: int = 4,
        percentile: float = PERCENTILE,
        threshold: float | None = None,
    ) -> None:
        if unseen is None and threshold is None:
            raise UserError(
                "unseen_dir is empty and training_dir has no FileList.csv that names other splits: give a folder with "
                "videos of patients that the generator never saw, or a threshold (a logit)."
            )
        if not 0 < percentile < 100:
            raise UserError(f"percentile is {percentile}, but must lie between 0 and 100.")
        if frames < 1:
            raise UserError(f"video_frames is {frames}, but a video's embedding needs at least 1 frame.")
        self.training, self.unseen, self.frames = training, unseen, int(frames)
        self.percentile, self.requested = float(percentile), threshold
        self.network: torch.nn.Module | None = None

    @property
    def identity(self) -> dict:
        """Identity of the gallery for sidecars: name, number and digest of the training videos, never a path."""
        digest = hashlib.sha256("\n".join(self.training.names).encode()).hexdigest()
        return {"name": self.training.name, "videos": len(self.training), "names_sha256": digest}

    def fit(self, network: torch.nn.Module) -> Gallery:
        """Embed all videos with this network and set the thresholds; once a network."""
        if self.network is network:
            return self
        network.eval()
        self.embeddings = embed_videos(network, self.training, self.frames)
        reference = self.training if self.unseen is None else self.unseen
        ends = torch.cat(
            [reference.frames(row, lambda count: np.array([0, count - 1])) for row in range(len(reference))]
        )
        first, last = embed_frames(network, ends).unflatten(0, (-1, 2)).unbind(1)
        owners = np.asarray(reference.patients)
        self.network = network
        between = self.compare(first, first)[owners[:, None] != owners[None]]
        if not len(between):
            raise UserError(f"{reference.name}: videos of at least two patients are needed to tell patients apart.")
        within = np.diagonal(self.compare(first, last))
        high, low = float(np.percentile(between, 100 - TAIL)), float(np.percentile(within, TAIL))
        self.different = max(high, (high + low) / 2)
        self.threshold = self.requested
        if self.unseen is not None:
            best, found = nearest(self.compare(embed_videos(network, self.unseen, self.frames), self.embeddings))
            self.unseen_learned = len(np.unique(found))
            if self.requested is None:
                self.threshold = unseen_threshold(best, self.percentile)
        self.threshold = float(self.threshold)
        return self

    def compare(self, queries: torch.Tensor, references: torch.Tensor) -> np.ndarray:
        """Logits of all pairs of embeddings (Q, K) and (R, K), float32 (Q, R)."""
        device = next(self.network.parameters()).device
        with torch.no_grad():
            pieces = queries.split(AT_ONCE)
            found = [self.network.logits(piece.to(device), references.to(device)).float().cpu() for piece in pieces]
        return torch.cat(found).numpy()

    def audit(self, embeddings: torch.Tensor) -> dict:
        """Audit of one video from the embeddings (T, K) of its frames.

        A video that changes its patient is compared part by part, since the mean of two patients is like neither.

        Returns:
            curve, the scores of all frames against the first one, float32 (T,); identity_break (number of the frame
            where the patient changes, or None); parts, a dict each with first and last frame, score (logit) and
            nearest (number of the training video); score and nearest of the part that scores highest.
        """
        curve = self.compare(embeddings[:1], embeddings)[0]
        cut = identity_break(curve, self.different)
        edges = [0, len(embeddings)] if cut is None else [0, cut, len(embeddings)]
        parts = []
        for first, end in zip(edges, edges[1:]):
            chosen = torch.from_numpy(first + spread(end - first, self.frames))
            best, found = nearest(self.compare(embeddings[chosen].mean(0, keepdim=True), self.embeddings))
            part = {"first_frame": first, "last_frame": end - 1, "score": float(best[0]), "nearest": int(found[0])}
            parts.append(part)
        top = max(parts, key=lambda part: part["score"])
        found = {"score": top["score"], "nearest": top["nearest"], "curve": curve, "parts": parts}
        return {**found, "identity_break": cut}

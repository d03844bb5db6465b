"""Pairs of frames for re-identification: of one video, of two videos of one patient, or of two patients.

Item i is of patient i. With probability `positives` its second frame is of the same patient (`same` = 1), else of any
other (0). Whatever is random comes from torch's generator, which every worker process of a loader seeds differently,
and `SeededLoader` seeds again for each draw.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.errors import UserError

MODES = ("within_video", "cross_session", "both")


class PatientPairs(Dataset):
    """{"image": float32 (2, C, H, W), "same": float32 0 or 1, "patient": int64 (2,)}.

    Args:
        videos: has `patients` (one number or name a video) and `frames(row, which)`, float32 (n, C, H, W) in [0, 1] of
            the frames that `which(count)` chooses; see `reid_videos`.
        mode: "within_video" takes another frame of the same video, "cross_session" a frame of another video of the
            patient, "both" either with equal chance; patients of one video always give "within_video" unless the mode
            is "cross_session", which leaves them out.
        positives: share of items that are of one patient; 1 leaves the other patients to an objective that compares
            within the batch.
        noise: greatest standard deviation of white noise that is added, drawn again for each frame.
        gamma: greatest exponent, and the inverse of the least, of a change of contrast; 1 for none.

    Raises:
        UserError: an unknown mode, fewer than two patients.
    """

    def __init__(
        self, videos: Dataset, mode: str = "both", positives: float = 0.5, noise: float = 0.0, gamma: float = 1.0
    ) -> None:
        if mode not in MODES:
            raise UserError(f"mode = {mode!r}: pairs are made {', '.join(MODES)}.")
        if not 0 <= positives <= 1:
            raise UserError(f"positives = {positives}: the share of pairs of one patient is from 0 to 1.")
        self.videos, self.mode, self.positives = videos, mode, float(positives)
        self.noise, self.gamma = float(noise), float(gamma)
        rows: dict = {}
        for row, patient in enumerate(videos.patients):
            rows.setdefault(patient, []).append(row)
        least = 2 if mode == "cross_session" else 1
        self.rows = [own for own in rows.values() if len(own) >= least]
        if len(self.rows) < 2:
            raise UserError(f"{len(self.rows)} patients with {least} or more videos: pairs need at least two of them.")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> dict:
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        same = rng.random() < self.positives
        own = self.rows[item]
        first = int(rng.choice(own))
        other, second, within = item, first, True
        if not same:
            other = int((item + rng.integers(1, len(self.rows))) % len(self.rows))
            second, within = int(rng.choice(self.rows[other])), False
        elif len(own) > 1 and (self.mode == "cross_session" or (self.mode == "both" and rng.random() < 0.5)):
            second, within = int(rng.choice([row for row in own if row != first])), False
        if within:
            images = self.videos.frames(first, lambda count: rng.choice(count, 2, replace=count < 2))
        else:
            one = [self.videos.frames(row, lambda count: rng.integers(count, size=1)) for row in (first, second)]
            images = torch.cat(one)
        return {
            "image": self._vary(images, rng),
            "same": torch.tensor(float(same)),
            "patient": torch.tensor([item, other]),
        }

    def _vary(self, images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        if self.gamma > 1:
            exponents = self.gamma ** rng.uniform(-1, 1, (len(images), 1, 1, 1))
            images = images.clamp_min(0) ** torch.from_numpy(exponents.astype(np.float32))
        if self.noise > 0:
            spread = rng.uniform(0, self.noise, (len(images), 1, 1, 1))
            images = images + torch.from_numpy((spread * rng.standard_normal(images.shape)).astype(np.float32))
        return images

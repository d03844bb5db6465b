"""Base of evaluations of echo videos: phantoms of chosen ejection fractions (EF) and tables of EF."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from synthzoo.datasets.echo.phantoms import EchoPhantomDataset
from synthzoo.datasets.echo.training_clips import training_clips
from synthzoo.evaluation.base import Evaluation
from synthzoo.instruments.echo.ef import measure_ef
from synthzoo.instruments.echo.phantoms import REQUESTED_EF
from synthzoo.metrics.agreement import reported
from synthzoo.phantoms.echo.sets import SPLITS, Video

INSTRUMENTS = ("regressor", "discs")  # independent of every network that is evaluated
EF_COLUMNS = ["videos", "measured by", "R2", "MAE", "RMSE", "Spearman"]
EF_KEYS = ("r2", "mae", "rmse", "spearman")
EF_RANGE = f"{100 * REQUESTED_EF[0]:.0f} to {100 * REQUESTED_EF[1]:.0f} percent"


def requested_efs(count: int, seed: int | None = None) -> np.ndarray:
    """EFs as fractions (count,), spread evenly on `REQUESTED_EF`, in order or in that of a seed."""
    ef = np.linspace(*REQUESTED_EF, count)
    return ef if seed is None else np.random.default_rng(seed).permutation(ef)


def ef_agreement(requested: np.ndarray, found: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """R2, MAE, RMSE (percent) and Spearman's correlation by instrument.

    Args:
        requested: EFs as fractions (N,).
        found: instrument -> what it measured, fractions (N,).
    """
    return {name: reported(100 * requested, 100 * values) for name, values in found.items()}


def ef_rows(title: str, values: Mapping[str, Mapping[str, float]], names: Mapping[str, str] | None = None) -> list:
    """Rows of a table with `EF_COLUMNS`, one an instrument, from `ef_agreement`.

    Args:
        names: instrument -> what the table calls it.
    """
    return [[title, (names or {}).get(name, name), *(one[key] for key in EF_KEYS)] for name, one in values.items()]


def stacked(rows: Any) -> torch.Tensor:
    """The videos of a data set, (N, 1, T, S, S)."""
    return torch.stack([rows[row]["video"] for row in range(len(rows))])


class EchoEvaluation(Evaluation):
    """An evaluation on echo phantoms of the network's length, rate and size.

    Args:
        image_size: side of a frame in pixels; None takes the network's `image_size`.
        train_size, sessions: patients, and videos of each, that the network was trained on.
        cache_dir: keeps phantoms; None generates them again.
        shown: training videos that rules without training may look at, see `evaluation.echo_shortcuts`.
        settings: see `Evaluation`.
        shared: see `Evaluation`.
    """

    SESSION = 0  # session and noise of the phantoms of chosen EFs, so that nothing else was measured on them

    def __init__(
        self,
        settings: Mapping[str, Any],
        image_size: int | None = None,
        train_size: int = 1000,
        sessions: int = 1,
        cache_dir: str | None = None,
        shown: int = 256,
        **shared: Any,
    ) -> None:
        settings = {**settings, "image_size": image_size, "train_size": train_size, "sessions": sessions}
        super().__init__(settings=settings | {"shown": shown}, **shared)
        self.image_size = int(self.network.image_size if image_size is None else image_size)
        self.train_size, self.sessions, self.cache_dir = int(train_size), int(sessions), cache_dir
        self.shown = int(shown)

    def clips(self, split: str, patients: int, sessions: int = 1) -> Any:
        """Rows of videos of patients of "train", "validation" or "test", as in training."""
        settings = {"frames": self.network.frames, "size": self.image_size, "fps": self.network.fps}
        return training_clips(patients=patients, sessions=sessions, cache_dir=self.cache_dir, split=split, **settings)

    def patients_of(self, split: str, patients: int, **options: Any) -> EchoPhantomDataset:
        """Rows of a video of each patient of "TRAIN", "VAL" or "TEST"; `options` as of `EchoPhantomDataset`."""
        settings = {"frames": self.network.frames, "size": self.image_size, "fps": self.network.fps}
        return EchoPhantomDataset("tiny", split, patients, cache_dir=self.cache_dir, **settings, **options)

    def phantoms_of(self, ef: np.ndarray, frames: int | None = None, first: int = 0) -> torch.Tensor:
        """Videos (N, 1, T, S, S) of TEST patients, from number `first` on, at chosen EFs as fractions (N,)."""
        start, frames = SPLITS["TEST"][0] + first, frames or self.network.frames
        videos = [Video(start + n, self.SESSION, self.SESSION, "TEST", frames) for n in range(len(ef))]
        settings: dict[str, Any] = {"size": self.image_size, "fps": self.network.fps}
        return stacked(EchoPhantomDataset("tiny", "TEST", videos=videos, ef=ef, **settings))

    @torch.inference_mode()
    def restored(self, videos: torch.Tensor, batch: int = 256) -> torch.Tensor:
        """Videos (N, 1, T, S, S) through the autoencoder, `batch` frames at once."""
        frames = videos.transpose(1, 2).flatten(0, 1)
        decoded = [self.network.autoencoder(part.to(self.device)).cpu() for part in frames.split(batch)]
        return torch.cat(decoded).clamp(0, 1).unflatten(0, (len(videos), -1)).transpose(1, 2)

    def ef_of(self, title: str, requested: np.ndarray, videos: torch.Tensor, found: Any = None) -> tuple[list, dict]:
        """Rows of a table with `EF_COLUMNS`, and `ef_agreement`, of videos or of what was measured on them."""
        values = ef_agreement(requested, found or measure_ef(videos))
        return ef_rows(title, values), values


def by_ef(ef: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` numbers of rows from the lowest to the highest EF, (M,), for a picture."""
    return np.argsort(ef)[np.linspace(0, len(ef) - 1, min(count, len(ef))).round().astype(int)]


def as_bytes(video: torch.Tensor) -> np.ndarray:
    """A video (1, T, S, S) in [0, 1] as uint8 (T, S, S)."""
    return (255 * video[0].clamp(0, 1)).round().byte().numpy()

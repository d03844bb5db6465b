"""One frame of a heart for networks that predict the video around it: a frame of a video, or a picture.

The frame is brought to the network's size by black bars and smoothing. What cannot be used is named in one sentence
before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from synthzoo.cases.values import check_seed, check_value
from synthzoo.datasets.echo.training_clips import resize_frames
from synthzoo.datasets.echo.videos import CONDITIONS, DARKEST, SMALLEST, BeatTable
from synthzoo.errors import UserError
from synthzoo.io.videos import as_unit, open_video


def read_frame(path: str | Path, frame: int | None = None, size: int = 32) -> tuple[torch.Tensor, dict[str, int]]:
    """A frame as (1, size, size) float32 in [0, 1], and which one it is.

    Args:
        path: a grey video or picture, see `read_video`.
        frame: its number, from 0; None takes the middle one.
        size: side of the frame in pixels.

    Returns:
        the frame, and {"frame", "video_frames"}.

    Raises:
        UserError: what the readers of videos say; a number that the video does not have; a frame that is coloured, too
            small, or shows nothing.
    """
    video = open_video(path)
    count = video.count
    number = count // 2 if frame is None else check_frame(frame)
    if number >= count:
        raise UserError(f"video {path} has the frames 0 to {count - 1}, but frame {number} is requested.")
    found = np.ascontiguousarray(as_unit(video.read([number]))[0])
    height, width = found.shape
    if min(height, width) < SMALLEST:
        raise UserError(
            f"video {path} is {width} x {height} pixels, but at least {SMALLEST} x {SMALLEST} are needed: export it "
            "larger."
        )
    if float(found.max() - found.min()) < DARKEST:
        raise UserError(f"video {path} shows one shade of grey in frame {number}: choose another frame.")
    return resize_frames(torch.from_numpy(found)[None, None], size)[0], {"frame": number, "video_frames": count}


def check_frame(frame: Any) -> int:
    """The number of a frame.

    Raises:
        UserError: no integer from 0 on.
    """
    if isinstance(frame, bool) or not isinstance(frame, (int, np.integer)) or frame < 0:
        raise UserError(f"frame is {frame!r}, but must be an integer from 0 on, or null for the middle one.")
    return int(frame)


class LoadFramed(MapTransform):
    """Read a path into a MetaTensor [1, S, S] in [0, 1]; adds "source", see `read_frame`.

    Args:
        keys: keys of the sample that hold paths.
        size, frame: see `read_frame`.
        allow_missing_keys: pass over keys that the sample lacks.
    """

    def __init__(
        self, keys: KeysCollection, size: int = 32, frame: int | None = None, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.size, self.frame = int(size), None if frame is None else check_frame(frame)

    def __call__(self, data: dict) -> dict:
        data = dict(data)
        for key in self.key_iterator(data):
            picture, source = read_frame(data[key], self.frame, self.size)
            data[key] = MetaTensor(picture, meta={"filename_or_obj": str(data[key])})
            data["source"] = source
        return data


class FrameTable(BeatTable):
    """Videos and pictures as a data set: item -> {"image": path, "case": stem, "row": number}.

    Args:
        images, dataset_dir, data_format, split: see `BeatTable`; pictures count too.
        loader: reads a sample {"image": path}; None takes `LoadFramed`.
        conditions: property of ef; None takes that of `CONDITIONS`.
        ef: EF requested, percent.
        seed: of the noise; the frame decides the rest of it.
        kwargs: see `synthzoo.cases.images.ImageTable`.

    Raises:
        UserError: what `BeatTable` says, and a seed that is none.
    """

    KINDS = ("video", "image")
    settings_key = "sampler"

    def __init__(
        self,
        images: str | Path | Sequence[str | Path] = "",
        loader: Callable[[dict], dict] | None = None,
        conditions: dict | None = None,
        ef: float = 30.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self.seed = check_seed(seed, "seed")
        loader = LoadFramed("image") if loader is None else loader
        stated = dict(conditions or {"ef": CONDITIONS["ef"]})
        check_value("ef", ef, stated["ef"])
        both = {**stated, "ef_factual": CONDITIONS["ef_factual"]}
        super().__init__(images, loader=loader, conditions=both, ef=ef, **kwargs)
        self.conditions = stated

    def record(self, row: int) -> dict:
        """The record of a row: input file, requested conditions and seed."""
        return {**super().record(row), "requested": {"ef": self.ef}, "seed": self.seed}

    def load(self, row: int) -> dict:
        """The path."""
        return {"image": str(self.paths[row])}

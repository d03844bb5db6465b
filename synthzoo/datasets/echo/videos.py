"""Echo videos for networks that see one beat: a table of files, and a loader that cuts one beat out of each.

A video is brought to the network's rate by mixing neighbouring frames, to its length by taking the middle, and to its
size by black bars and smoothing. What cannot be used is named in one sentence before anything runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from synthzoo.cases.images import ImageTable
from synthzoo.cases.values import check_value
from synthzoo.datasets.echo.clips import clip_positions, frames_between
from synthzoo.datasets.echo.echonet import read_echonet
from synthzoo.datasets.echo.training_clips import resize_frames
from synthzoo.errors import UserError
from synthzoo.io.videos import as_unit, open_video

CONDITIONS = {
    "ef": {
        "type": "number",
        "minimum": 10,
        "maximum": 85,
        "unit": "percent",
        "description": "ejection fraction that is requested",
    },
    "ef_factual": {
        "type": "number",
        "minimum": 0,
        "maximum": 100,
        "unit": "percent",
        "description": "ejection fraction that the video shows",
    },
}
RATES = (8.0, 1000.0)  # frames a second between which a video can show a beat
SMALLEST = 16  # pixels
DARKEST = 2.0 / 255  # spread of a video that shows something


def read_beat(
    path: str | Path, frames: int = 16, size: int = 32, fps: float = 16.0, video_fps: float | None = None
) -> tuple[torch.Tensor, dict[str, float]]:
    """The middle of a video as a clip (1, frames, size, size) float32 in [0, 1], and where it lies in the video.

    Args:
        path: a grey video, see `read_video`.
        frames, size, fps: of the clip.
        video_fps: frames a second of the video, where its header is wrong; None believes the header. NIfTI whose first
            axis is time needs it.

    Returns:
        the clip, and {"start_s", "seconds", "video_fps", "video_frames"}.

    Raises:
        UserError: what `read_video` says; a frame rate that shows no beat; a video that is too short, too small or
            blank.
    """
    video = open_video(path)
    count, frame, stated = video.count, (video.height, video.width), video.fps
    rate = stated if video_fps is None else video_fps
    if rate is None:
        raise UserError(f"video {path} states no frames per second: give them as video_fps.")
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not RATES[0] <= rate <= RATES[1]:
        of = "its header states" if video_fps is None else "video_fps is"
        raise UserError(
            f"video {path}: {of} {rate!r} frames per second, but a beat is seen with {RATES[0]:g} to {RATES[1]:g}: "
            "give the right number as video_fps."
        )
    if min(frame) < SMALLEST:
        raise UserError(
            f"video {path} is {frame[1]} x {frame[0]} pixels, but at least {SMALLEST} x {SMALLEST} are needed: "
            "export it larger."
        )
    positions = clip_positions(count, frames, rate / fps)
    if len(positions) < frames:
        raise UserError(
            f"video {path} holds {count} frames at {rate:g} per second, but {(frames - 1) / fps:.2f} seconds, a "
            "whole beat, are needed: give a longer video, or the right rate as video_fps."
        )
    before, after, share = frames_between(positions, count, linear=True)
    needed = np.unique(np.concatenate([before, after]))
    held = as_unit(video.read(needed))
    share = share[:, None, None]
    clip = (1 - share) * held[np.searchsorted(needed, before)] + share * held[np.searchsorted(needed, after)]
    if float(clip.max() - clip.min()) < DARKEST:
        raise UserError(f"video {path} shows one shade of grey throughout: check how it was exported.")
    place = {"start_s": round(float(positions[0]) / rate, 4), "seconds": round(frames / fps, 4)}
    found = resize_frames(torch.from_numpy(np.ascontiguousarray(clip, np.float32))[None], size)
    return found, {**place, "video_fps": round(float(rate), 4), "video_frames": count}


class LoadBeatd(MapTransform):
    """Read a path into a MetaTensor [1, T, S, S] in [0, 1]; adds "window" (see `read_beat`) and "fps", the clip's.

    Args:
        keys: keys of the sample that hold paths.
        frames, size, fps, video_fps: see `read_beat`.
        allow_missing_keys: pass over keys that the sample lacks.
    """

    def __init__(
        self,
        keys: KeysCollection,
        frames: int = 16,
        size: int = 32,
        fps: float = 16.0,
        video_fps: float | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.fps = float(fps)
        self.read = partial(read_beat, frames=int(frames), size=int(size), fps=self.fps, video_fps=video_fps)

    def __call__(self, data: dict) -> dict:
        data = dict(data)
        for key in self.key_iterator(data):
            clip, window = self.read(data[key])
            data[key] = MetaTensor(clip, meta={"filename_or_obj": str(data[key])})
            data |= {"window": window, "fps": self.fps}
        return data


class BeatTable(ImageTable):
    """Videos as a data set: item -> {"image": path, "ef_factual": percent or NaN, "case": stem, "row": number}.

    Args:
        images: a path, a list, a folder or a pattern of videos; empty with `dataset_dir`.
        dataset_dir: data set of videos with known EF, in the layout `data_format`; empty with `images`.
        data_format: "echonet".
        split: of the data set: "train", "validation", "test", or None for all.
        loader: reads a sample {"image": path}; every video passes through it before the run, to find the bad ones.
        conditions: ranges and units of ef and ef_factual; None takes `CONDITIONS`.
        ef: EF requested, percent.
        ef_factual: EF that the videos show, percent; None takes that of the data set, or leaves it to the network.
        kwargs: see `synthzoo.cases.images.ImageTable`.

    Raises:
        UserError: both or none of images and dataset_dir, an EF out of range, and what the readers say.
    """

    KINDS: tuple[str, ...] = ("video",)

    def __init__(
        self,
        images: str | Path | Sequence[str | Path] = "",
        dataset_dir: str = "",
        data_format: str = "echonet",
        split: str | None = "test",
        loader: Callable[[dict], dict] | None = None,
        conditions: dict[str, dict] | None = None,
        ef: float = 30.0,
        ef_factual: float | None = None,
        suffix: str = "echo.avi",
        **kwargs: Any,
    ) -> None:
        self.conditions = dict(conditions or CONDITIONS)
        self.ef = check_value("ef", ef, self.conditions["ef"])
        if self.ef is None:
            raise UserError("ef is left out: give the ejection fraction that is requested, in percent.")
        self.ef_factual: Any = check_value("ef_factual", ef_factual, self.conditions["ef_factual"])
        self.known: dict[Path, float] = {}
        if images and dataset_dir:
            raise UserError("images and dataset_dir are both given: name videos by one of them.")
        if dataset_dir:
            if data_format != "echonet":
                raise UserError(f"data_format = {data_format!r}: videos are read from echonet.")
            rows = read_echonet(dataset_dir, split)
            self.known = {row["path"]: row["ef"] for row in rows}
            images = list(self.known)
        super().__init__(images, suffix=suffix, loader=loader or LoadBeatd("image"), **kwargs)

    def factual(self, row: int) -> float | None:
        """EF that the video of a row shows, percent; None where it is unknown."""
        return self.known.get(self.paths[row]) if self.ef_factual is None else self.ef_factual

    def record(self, row: int) -> dict:
        """The record of a row: input file and requested conditions."""
        return {**super().record(row), "requested": {"ef": self.ef, "ef_factual": self.factual(row)}}

    def load(self, row: int) -> dict:
        """The path and the known EF, NaN where there is none."""
        known = self.factual(row)
        return {**super().load(row), "ef_factual": math.nan if known is None else float(known)}

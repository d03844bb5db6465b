"""Clips of one length, size and rate for networks that learn from echo videos: phantoms, or a data set of one's own."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from synthzoo.datasets.echo.clips import ClipDataset
from synthzoo.datasets.echo.echonet import read_echonet
from synthzoo.datasets.echo.phantoms import EchoPhantomDataset
from synthzoo.errors import UserError
from synthzoo.phantoms.echo.sets import SPLITS, Video

DATA_FORMATS = ("phantom", "echonet")
PHANTOM_SPLITS = {"train": "TRAIN", "validation": "VAL", "test": "TEST"}


def resize_frames(clip: torch.Tensor, size: int) -> torch.Tensor:
    """A clip (1, T, H, W) with square frames (1, T, size, size): black bars make it square, smoothing comes first."""
    height, width = clip.shape[-2:]
    more = abs(height - width)
    before, after = more // 2, more - more // 2
    if more:
        clip = F.pad(clip, (0, 0, before, after) if height < width else (before, after, 0, 0))
    if clip.shape[-1] == size:
        return clip
    return F.interpolate(clip, (size, size), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


class SizedClips(Dataset):
    """Rows of clips with "video" at one size of frame.

    Args:
        clips: rows with "video" (1, T, H, W) in [0, 1].
        size: side of the frames in pixels.
    """

    def __init__(self, clips: Dataset, size: int) -> None:
        self.clips, self.size = clips, int(size)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict:
        row = self.clips[index]
        return {**row, "video": resize_frames(row["video"], self.size)}


def training_clips(
    data_format: str = "phantom",
    dataset_dir: str | Path = "",
    patients: int = 1000,
    sessions: int = 1,
    frames: int = 16,
    size: int = 32,
    fps: float = 16.0,
    cache_dir: str | Path | None = None,
    split: str = "train",
    like: torch.nn.Module | None = None,
) -> Dataset:
    """Rows {"video": float32 (1, frames, size, size) in [0, 1], "ef": fraction, ...} of patients for training.

    Args:
        data_format: "phantom", `sessions` videos of each of `patients` phantoms of the split; "echonet", its rows in a
            data set in EchoNet's layout, a window at random of each video, mixed linearly to `fps`.
        dataset_dir: of that data set.
        patients, sessions, cache_dir: of the phantoms.
        frames, size, fps: of a clip.
        split: "train"; or "validation" or "test", patients that no training sees.
        like: a network whose `frames`, `fps` and, where it has one, `image_size` the clips take.

    Raises:
        UserError: another data_format or split, no dataset_dir, and what the readers say.
    """
    if like is not None:
        frames, fps, size = like.frames, like.fps, getattr(like, "image_size", size)
    if data_format not in DATA_FORMATS:
        raise UserError(f"data_format = {data_format!r}: clips are made from {' or '.join(DATA_FORMATS)}.")
    if split not in PHANTOM_SPLITS:
        raise UserError(f"split = {split!r}: clips are of {', '.join(PHANTOM_SPLITS)}.")
    if data_format == "phantom":
        if patients < 1 or sessions < 1:
            raise UserError(f"train_size = {patients}, sessions = {sessions}: both must be at least 1.")
        part = PHANTOM_SPLITS[split]
        start = SPLITS[part][0]
        videos = [Video(start + n, visit, visit, part, frames) for n in range(patients) for visit in range(sessions)]
        return EchoPhantomDataset("tiny", part, videos=videos, size=size, fps=fps, cache_dir=cache_dir)
    if not dataset_dir:
        raise UserError("dataset_dir is empty: name the folder with FileList.csv and Videos/.")
    rows = read_echonet(dataset_dir, split, trust="videos", leave_out=True)
    return SizedClips(ClipDataset(rows, frames, shorter="drop", target_fps=fps, linear=True, padding="refuse"), size)

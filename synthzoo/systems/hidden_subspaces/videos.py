"""Videos for re-identification, from phantoms or from files: the patient of each, and frames at the network's size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from synthzoo.cases.finding import find_images, without_previews
from synthzoo.cases.names import case_names
from synthzoo.datasets.echo.echonet import read_echonet, read_latents
from synthzoo.datasets.echo.echonet_table import FILE_LIST, LATENTS, VIDEOS
from synthzoo.datasets.echo.phantoms import EchoPhantomDataset
from synthzoo.errors import UserError
from synthzoo.io.kinds import format_of_name
from synthzoo.io.videos import as_unit, open_video
from synthzoo.phantoms.echo.sets import SPLITS, Video, preset_of

KINDS = ("volume", "video", "image")
PHANTOM_PATIENTS = {"TRAIN": 400, "TEST": 200}


class PhantomVideos:
    """Echo phantoms: `sessions` videos of each of `patients` patients of a split.

    Attributes:
        patients: seed of each video's patient, int64 (N,).
        names: of each video.

    Args:
        preset: "tiny" or "small".
        split: "TRAIN", "VAL" or "TEST".
        patients: how many.
        sessions: videos of each patient, each of its own session and noise.
        first_session: number of the first session; those of a split's own videos start at 0.
        cache_dir: folder that keeps the videos, or None.
        videos: videos of another list, such as `list_recall` gives.
        size: side of the frames, None for the preset's.
        shrink: 0 to 1, how far patients differ.
    """

    def __init__(
        self,
        preset: str = "tiny",
        split: str = "TRAIN",
        patients: int = 400,
        sessions: int = 1,
        first_session: int = 0,
        cache_dir: str | Path | None = None,
        videos: Sequence[Video] | None = None,
        size: int | None = None,
        shrink: float = 1.0,
    ) -> None:
        if videos is None:
            start, frames = SPLITS[split][0], preset_of(preset).frames[0]
            visits = range(first_session, first_session + sessions)
            videos = [Video(seed, n, n, split, frames) for seed in range(start, start + patients) for n in visits]
        self.videos = EchoPhantomDataset(
            preset, split, videos=videos, cache_dir=cache_dir or None, size=size, shrink=shrink
        )
        self.name = f"{preset} phantoms, {split}"
        self.patients = np.array([video.patient for video in self.videos.videos], np.int64)
        self.names = [f"patient-{video.patient:06d}_ses-{video.session:04d}" for video in self.videos.videos]

    def __len__(self) -> int:
        return len(self.patients)

    def frames(self, row: int, which: Callable[[int], Any] | None = None) -> torch.Tensor:
        """Frames of a video, float32 (n, 1, S, S) in [0, 1]; `which(count)` chooses them, None takes all."""
        video = self.videos.frames(row)
        video = video if which is None else video[which(len(video))]
        return torch.from_numpy(video.astype(np.float32))[:, None] / 255


def spread(count: int, wanted: int) -> np.ndarray:
    """`wanted` numbers of frames, evenly spread over a video of `count`; all of a shorter one, int64 (n,)."""
    return np.unique(np.linspace(0, count - 1, wanted).round().astype(np.int64))


def resized(frames: torch.Tensor, size: int | Sequence[int]) -> torch.Tensor:
    """Frames (N, C, H, W) at another size, smoothed where they shrink."""
    size = (size, size) if isinstance(size, int) else tuple(size)
    if tuple(frames.shape[-2:]) == size:
        return frames
    return F.interpolate(frames, size, mode="bilinear", antialias=True, align_corners=False)


class FolderVideos:
    """Videos in files: AVI, NIfTI (time first), PNG (one frame each) or, for networks of several channels, latents.

    Args:
        paths: the files.
        patients: who each video is of; None takes every video for a patient of its own.
        size: side of the frames, or height and width; None leaves them as they are.
        channels: 1 for pictures, more for latents `.pt` (T, C, h, w).
        name: of the set, for reports.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        patients: Sequence | None = None,
        size: int | Sequence[int] | None = 32,
        channels: int = 1,
        name: str = "videos",
    ) -> None:
        self.paths, self.size, self.channels, self.name = [Path(path) for path in paths], size, int(channels), name
        self.names = case_names(self.paths)
        self.patients = np.array(self.names if patients is None else list(patients))

    def __len__(self) -> int:
        return len(self.paths)

    def frames(self, row: int, which: Callable[[int], np.ndarray] | None = None) -> torch.Tensor:
        """Frames of a video, float32 (n, C, H, W); `which(count)` chooses them, None takes all.

        Raises:
            UserError: what `read_frames` says.
        """
        frames = read_frames(self.paths[row], self.channels, which)[0]
        return frames if self.size is None else resized(frames, self.size)


def read_frames(
    path: str | Path, channels: int = 1, which: Callable[[int], Any] | None = None
) -> tuple[torch.Tensor, float | None]:
    """Frames of one file and its frames per second where it states them.

    Args:
        path: a grey video or a picture, see `synthzoo.io.videos.read_video`, or latents `.pt`.
        channels: that the network takes.
        which: chooses frames from their number; None takes all.

    Returns:
        float32 (n, C, H, W), pictures in [0, 1] where the file stores bytes; frames per second or None.

    Raises:
        UserError: a file that cannot be read, holds NaN or Inf, or has other channels; a folder.
    """
    path, fps = Path(path), None
    if path.is_dir():
        raise UserError(f"video {path} is a folder of DICOM slices, which have no order in time: export it as AVI.")
    if format_of_name(path.name) == "latents":
        frames = read_latents(path)
    else:
        video = open_video(path)
        chosen = None if which is None else which(video.count)
        colour = "refuse" if video.fps else "average"  # pictures may be of any colour, as those that generators write
        frames, fps, which = torch.from_numpy(as_unit(video.read(chosen, colour)))[:, None], video.fps, None
    if frames.shape[1] != channels:
        raise UserError(f"video {path} has {frames.shape[1]} channels, but this network takes {channels}.")
    return (frames if which is None else frames[which(len(frames))]).float(), fps


def find_videos(
    images: str | Path | Sequence[str | Path], exclude: str | Path | None = None, channels: int = 1, bundle: str = ""
) -> list[Path]:
    """The videos that a user means: see `synthzoo.cases.finding.find_images`, of volumes, videos and pictures.

    For networks of several channels latents `.pt` count alone.

    A folder as the zoo writes it holds pictures and label maps beside its videos: where it has videos or volumes,
    pictures do not count, and label maps and heat maps never do.

    Raises:
        UserError: nothing was given, or a folder or pattern holds no video.
    """
    return find_images(images, exclude, ("latents",) if channels > 1 else KINDS, without_previews, bundle)


def training_videos(
    folder: str | Path, part: str = "train", size: int | Sequence[int] = 32, channels: int = 1, unseen_dir: str = ""
) -> Dataset:
    """The videos that a generator was trained on, or videos of patients that it never saw.

    Args:
        folder: of the training videos. A folder with FileList.csv is read by it: its TRAIN rows are the training videos
            and its VAL and TEST rows the unseen ones. Empty takes the phantoms' "tiny" set, 400 patients for
            training and 200 unseen ones.
        part: "train" or "unseen".
        size, channels: of the network.
        unseen_dir: folder of unseen patients' videos, instead of the split's.

    Returns:
        videos, or None where unseen ones were not named and cannot be known.

    Raises:
        UserError: a folder without videos, a wrong table.
    """
    if part == "unseen" and unseen_dir:
        folder = Path(unseen_dir)
        return FolderVideos(find_videos(folder, None, channels), size=size, channels=channels, name=folder.name)
    if not str(folder).strip():
        return phantom_videos("TRAIN" if part == "train" else "TEST")
    folder = Path(folder)
    if (folder / FILE_LIST).is_file():
        source = LATENTS if channels > 1 else VIDEOS
        wanted = ("train",) if part == "train" else ("validation", "test")
        rows = [row for row in read_echonet(folder, source=source, trust="videos") if row["split"] in wanted]
        if rows or part == "unseen":
            return FolderVideos([r["path"] for r in rows], [r["patient"] for r in rows], size, channels, folder.name)
        raise UserError(f"{folder / FILE_LIST} has no rows of the split TRAIN, so there is nothing to compare with.")
    if part == "unseen":
        return None
    return FolderVideos(find_videos(folder, None, channels), size=size, channels=channels, name=folder.name)


@cache
def phantom_videos(split: str) -> PhantomVideos:
    """The phantoms that stand for a training set where none is named; made once a process."""
    return PhantomVideos("tiny", split, PHANTOM_PATIENTS[split])


def pair_videos(
    data_format: str = "phantom",
    dataset_dir: str | Path = "",
    patients: int = 400,
    sessions: int = 1,
    size: int | Sequence[int] = 32,
    channels: int = 1,
    cache_dir: str | Path | None = None,
) -> Dataset:
    """Videos to train the re-identification network on.

    Args:
        data_format: "phantom", `sessions` videos of each of `patients` phantoms of TRAIN; "echonet", the TRAIN rows of
            a data set in EchoNet's layout, videos for one channel and latents for more.
        dataset_dir: of that data set.
        size, channels: of the network's frames.
        cache_dir: keeps the phantoms' videos.
    """
    if data_format == "phantom":
        return PhantomVideos("tiny", "TRAIN", patients, sessions, cache_dir=cache_dir)
    if data_format == "echonet":
        if not dataset_dir:
            raise UserError(f"dataset_dir is empty: name the folder with {FILE_LIST} of the data set.")
        if not (Path(dataset_dir) / FILE_LIST).is_file():
            raise UserError(f"dataset_dir {dataset_dir} has no {FILE_LIST}: name the folder that holds it.")
        return training_videos(dataset_dir, "train", size, channels)
    raise UserError(f"data_format = {data_format!r}: pairs are made from phantom or echonet.")

"""Echo phantoms as rows for training and evaluation; each video is made once and then read from a cache."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.errors import UserError
from synthzoo.phantoms.cache import settings_key
from synthzoo.phantoms.echo.motion import check_ef, check_rhythm
from synthzoo.phantoms.echo.patient import DRAWN_RATES
from synthzoo.phantoms.echo.phantom import EchoClip, EchoParams, extreme_frames, make_clip, make_masks
from synthzoo.phantoms.echo.sets import Video, list_videos, preset_of, video_params

VERSION = 1  # of the pictures; another number leaves old caches aside


class EchoPhantomDataset(Dataset):
    """Videos as {"video": float32 (1, T, S, S) in [0, 1], "ef": float32, "edv_ml": float32, "patient": int, ...}.

    A row also has "session", "noise", "ed_frame", "es_frame", "row" (int), "heart_rate" in beats a minute, "fps" and
    "cm_per_pixel" (float32); with `masks` it has "mask", the left ventricle's cavity, float32 (1, T, S, S) of 0 and 1.
    "ef" is a fraction.

    Args:
        preset: "tiny" (16 frames of 32 x 32), "small" (16 of 64 x 64) or "echonet" (100 to 250 of 112 x 112).
        split: "TRAIN", "VAL" or "TEST"; patients of one are in no other.
        patients: how many; None takes the preset's number.
        first: number of the first patient within the split.
        frames, fps, size: replace those of the preset.
        ef_prior: "uniform" or "clinic".
        shrink: 0 to 1, how far patients differ.
        confounded: a weak heart is also a large one.
        masks: rows have masks.
        cache_dir: folder in which the videos are kept as bytes, in one file a set; None keeps them in memory.
        videos: videos of another list, such as `list_recall` gives, in place of the split's.
        ef: ejection fractions that replace the drawn ones, one a row: the videos that were requested, or the true
            counterfactuals of a split.

    Raises:
        UserError: an unknown name, too many patients, frames that hold no whole beat, a wrong number of `ef`.
    """

    def __init__(
        self,
        preset: str = "tiny",
        split: str = "TRAIN",
        patients: int | None = None,
        first: int = 0,
        frames: int | None = None,
        fps: float | None = None,
        size: int | None = None,
        ef_prior: str = "uniform",
        shrink: float = 1.0,
        confounded: bool = False,
        masks: bool = False,
        cache_dir: str | Path | None = None,
        videos: Sequence[Video] | None = None,
        ef: Sequence[float] | np.ndarray | None = None,
    ) -> None:
        chosen = preset_of(preset)
        self.videos = list_videos(preset, split, patients, first) if videos is None else list(videos)
        if not self.videos:
            raise UserError("videos is empty: an echo phantom data set takes at least one video.")
        if frames is not None:
            self.videos = [replace(video, frames=int(frames)) for video in self.videos]
        self.size, self.fps = int(size or chosen.size), float(fps or chosen.fps)
        self.priors: dict[str, Any] = {"ef_prior": ef_prior, "shrink": float(shrink), "confounded": bool(confounded)}
        self.masks = masks
        self.ef = None if ef is None else np.asarray(ef, np.float64)
        if self.ef is not None and self.ef.shape != (len(self.videos),):
            raise UserError(f"ef of shape {self.ef.shape}: this set takes {len(self.videos)} numbers, one a row.")
        for value in () if self.ef is None else self.ef:
            check_ef(value)
        self.params(0)
        for heart_rate in DRAWN_RATES:  # an error here, not in the middle of a training
            check_rhythm(min(video.frames for video in self.videos), self.fps, heart_rate)
        lengths = np.array([video.frames for video in self.videos], np.int64) * self.size**2
        self.starts = np.concatenate([[0], np.cumsum(lengths)])
        self.cache_dir = None
        if cache_dir:
            requested = None if self.ef is None else self.ef.tolist()
            settings = [VERSION, self.size, self.fps, self.priors, [astuple(video) for video in self.videos], requested]
            self.cache_dir = Path(cache_dir) / f"echo-{preset}-{split}-{settings_key(settings)}"
            self.cache_dir.mkdir(parents=True, exist_ok=True)
        self._store: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.videos)

    def __getstate__(self) -> dict:
        # A worker process opens the cache itself; a pickled memory map would carry the whole file.
        return {**self.__dict__, "_store": self._store if self.cache_dir is None else None}

    def params(self, row: int) -> EchoParams:
        """Parameters of the video of one row."""
        params = video_params(self.videos[row], **self.priors)
        return params if self.ef is None else replace(params, ef=float(self.ef[row]))

    def clip(self, row: int) -> EchoClip:
        """The video of one row with all its truth, generated again."""
        return make_clip(self.params(row), self.size, self.videos[row].frames, self.fps)

    def frames(self, row: int) -> np.ndarray:
        """The frames of one row, uint8 (T, S, S), from the cache or generated now; read-only."""
        if self._store is None:
            self._store = self._open()
        video, done = self._store
        shape = (self.videos[row].frames, self.size, self.size)
        place = slice(int(self.starts[row]), int(self.starts[row + 1]))
        if not done[row]:
            # Several processes may make the same video: they write the same bytes, and the flag comes last.
            made = self.clip(row).frames
            if self.cache_dir is None:
                video[place], done[row] = made.ravel(), 1
            else:
                self._write("frames.u8", place.start, made.tobytes())
                self._write("done.u8", row, b"\1")
        return video[place].reshape(shape)

    def _open(self) -> tuple[np.ndarray, np.ndarray]:
        """All videos as bytes, uint8 (N,), and which of them are there, uint8 (rows,)."""
        sizes = {"frames.u8": int(self.starts[-1]), "done.u8": len(self.videos)}
        if self.cache_dir is None:
            return np.zeros(sizes["frames.u8"], np.uint8), np.zeros(sizes["done.u8"], np.uint8)
        for name, size in sizes.items():
            with open(self.cache_dir / name, "ab") as file:  # made if it is not there, never emptied
                if file.tell() < size:
                    file.truncate(size)
        video, done = (np.memmap(self.cache_dir / name, np.uint8, "r", shape=(size,)) for name, size in sizes.items())
        return video, done

    def _write(self, name: str, start: int, data: bytes) -> None:
        # Not through the memory map: on a full disk that ends the process without a word.
        path = self.cache_dir / name
        try:
            with open(path, "r+b", buffering=0) as file:
                file.seek(start)
                if file.write(data) < len(data):
                    raise OSError(errno.ENOSPC, "short write")
        except OSError as error:
            raise UserError(
                f"{path} cannot be written ({error.strerror}): free some space or choose another cache_dir."
            ) from error

    def __getitem__(self, row: int) -> dict:
        if not 0 <= row < len(self.videos):
            raise IndexError(row)
        params, video = self.params(row), self.videos[row]
        numbers = {
            "ef": params.ef,
            "edv_ml": params.edv_ml,
            "heart_rate": params.session.heart_rate,
            "fps": self.fps,
            "cm_per_pixel": params.patient.depth_cm / self.size,
        }
        ed_frame, es_frame = extreme_frames(params, video.frames, self.fps)
        found = {"video": torch.from_numpy(self.frames(row).astype(np.float32)[None] / np.float32(255))}
        if self.masks:
            masks = make_masks(params, self.size, video.frames, self.fps)
            found["mask"] = torch.from_numpy(masks.astype(np.float32)[None])
        found |= {name: torch.tensor(value, dtype=torch.float32) for name, value in numbers.items()}
        return found | {**params.seeds, "ed_frame": ed_frame, "es_frame": es_frame, "row": row}

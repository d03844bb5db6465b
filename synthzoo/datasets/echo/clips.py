"""Windows of T frames from a longer video: at the video's own rate with a stride, or resampled to another rate.

    positions  p_k = start + k step,  k = 0 .. T - 1,  step = stride fps / target_fps  (in frames of the video)

One number, `start`, is both the window's place and its phase between two frames. A video that is too short gives all
that it has from its first frame on, and is padded: with black, as the papers do (their losses then have to leave out
the padding: `valid` says how many frames are real), or with its last frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.datasets.echo.echonet import read_latents
from synthzoo.errors import UserError
from synthzoo.io.kinds import format_of_name
from synthzoo.io.videos import read_video

PADDINGS = ("zeros", "last", "refuse")


def clip_step(fps: float | None, target_fps: float | None, stride: int) -> float:
    """Frames of the video between two frames of the clip.

    >>> clip_step(fps=50.0, target_fps=25.0, stride=1)
    2.0

    Args:
        fps: frames per second of the video; needed with `target_fps`.
        target_fps: frames per second of the clip before the stride; None keeps those of the video.
        stride: every stride-th frame is taken.
    """
    if isinstance(stride, bool) or not isinstance(stride, (int, np.integer)) or stride < 1:
        raise UserError(f"stride is {stride!r}, but must be an integer of at least 1.")
    if target_fps is None:
        return float(stride)
    if not target_fps > 0:
        raise UserError(f"target_fps is {target_fps!r}, but must be a positive number, or null for the video's own.")
    if not fps:
        raise UserError("the video's frames per second are not known, so target_fps must be null.")
    return stride * fps / target_fps


def clip_positions(
    frames: int,
    length: int,
    step: float = 1.0,
    hold: Sequence[int] = (),
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Positions of a clip's frames in its video, float64 (n,), n = length unless the video is too short.

    Args:
        frames: frames of the video.
        length: T, frames of the clip.
        step: see `clip_step`.
        hold: frames that the window has to span, such as those of end-systole and end-diastole.
        rng: draws the window uniformly from those that fit; None takes the middle one (of the video, or of `hold`).

    Raises:
        UserError: the frames to hold lie further apart than the clip is long.
    """
    if length < 1 or frames < 1:
        raise UserError(f"a clip of {length} frames from a video of {frames} cannot be made: both must be at least 1.")
    last, span = frames - 1, (length - 1) * step
    # The tolerance keeps a last frame that rounding would put behind the end.
    if span > last + 1e-9:
        return np.arange(math.floor(last / step + 1e-9) + 1) * step
    low, high = 0.0, last - span
    centre = last / 2
    if len(hold):
        if max(hold) - min(hold) > span:
            raise UserError(
                f"frames {min(hold)} and {max(hold)} lie further apart than a clip of {length} frames in steps of "
                f"{step:g}: ask for more frames, or a lower rate."
            )
        low, high = max(low, max(hold) - span), min(high, float(min(hold)))
        centre = (max(hold) + min(hold)) / 2
    if step == int(step):  # whole frames stay whole frames
        low, high = math.ceil(low), math.floor(high)
        start = min(max(math.floor(centre - span / 2), low), high) if rng is None else int(rng.integers(low, high + 1))
    else:
        start = min(max(centre - span / 2, low), high) if rng is None else low + (high - low) * float(rng.random())
    return start + np.arange(length) * step


def frames_between(
    positions: np.ndarray, frames: int, linear: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two frames next to each position and the second one's share: the nearest frame alone, or both linearly.

    Returns:
        before int64 (n,), after int64 (n,), share float32 (n,): value = (1 - share) before + share after.
    """
    if not linear:
        nearest = np.clip(np.floor(positions + 0.5).astype(np.int64), 0, frames - 1)
        return nearest, nearest, np.zeros(len(nearest), np.float32)
    before = np.clip(np.floor(positions).astype(np.int64), 0, frames - 1)
    return before, np.minimum(before + 1, frames - 1), (positions - before).astype(np.float32)


def pad_clip(clip: np.ndarray, length: int, padding: str, name: str = "video") -> np.ndarray:
    """A clip (n, ...) with n <= length as (length, ...).

    Args:
        padding: "zeros", "last" (repeats the last frame) or "refuse".

    Raises:
        UserError: an unknown padding, or "refuse" and a clip that is too short.
    """
    if padding not in PADDINGS:
        raise UserError(f"padding is {padding!r}, but must be one of {', '.join(PADDINGS)}.")
    missing = length - len(clip)
    if missing <= 0:
        return clip[:length]
    if padding == "refuse":
        raise UserError(
            f"{name} gives {len(clip)} of the {length} frames requested: request at most {len(clip)}, or give a longer "
            "video."
        )
    tail = np.zeros_like(clip[:1]) if padding == "zeros" else clip[-1:]
    return np.concatenate([clip, np.repeat(tail, missing, axis=0)])


def read_clip(
    row: dict,
    length: int,
    target_fps: float | None = None,
    stride: int = 1,
    hold: Sequence[int] = (),
    linear: bool = False,
    padding: str = "zeros",
    rng: np.random.Generator | None = None,
) -> dict[str, Any]:
    """One clip of a row of `read_echonet`; of a video only the frames that are needed are decoded.

    Args:
        row: path, fps, frames as `read_echonet` gives them.
        length, target_fps, stride, hold, rng: see `clip_step` and `clip_positions`.
        linear: mixes the two frames next to a position; False takes the nearest one.
        padding: see `pad_clip`.

    Returns:
        image: float32 (1, T, H, W) in [0, 1], or the latents float32 (C, T, h, w); valid: number of real frames;
        positions: float64 (valid,) in frames of the video.

    Raises:
        UserError: what the readers of videos and latents say; frames that cannot be held; a clip that is too short.
    """
    path, latents = row["path"], None
    frames = row["frames"]
    if format_of_name(path.name) == "latents":
        latents = read_latents(path, frames).numpy()
        frames = len(latents)
    positions = clip_positions(frames, length, clip_step(row["fps"], target_fps, stride), hold, rng)
    before, after, share = frames_between(positions, frames, linear)
    needed = np.unique(np.concatenate([before, after]))
    if latents is not None:
        held = latents[needed]
    else:
        held = read_video(path, needed, colour="average").frames[:, None].astype(np.float32) / 255
    share = share[:, None, None, None]
    clip = held[np.searchsorted(needed, before)]
    if share.any():
        clip = (1 - share) * clip + share * held[np.searchsorted(needed, after)]
    valid = len(clip)
    clip = pad_clip(clip, length, padding, f"video {path}")
    return {"image": np.ascontiguousarray(clip.swapaxes(0, 1)), "valid": valid, "positions": positions}


class ClipDataset(Dataset):
    """Clips of echo videos as {"video": float32 (1, T, H, W) in [0, 1], "ef": float32, "edv_ml": float32, ...}.

    A row has the keys of a phantom's row: "ef" is a fraction, "edv_ml" NaN where it is not known, "patient" (int) the
    same for all videos of a patient, "ed_frame" and "es_frame" frames of the clip (-1 where they were not traced or lie
    outside it), "fps" the clip's (float32, NaN where the video's is not known), "row" (int), and besides "valid" (int),
    the number of frames that are not padding. Rows of latents have "latents" (C, T, h, w) instead of "video".

    Args:
        rows: what `read_echonet` gave, with paths of videos or latents.
        length: T.
        random: a random window each time, drawn from PyTorch's generator; False takes the middle one.
        hold_beat: the window spans the traced end-systole and end-diastole; rows without both, or whose frames lie too
            far apart, are left out.
        shorter: "pad" pads shorter videos, "drop" leaves them out.
        target_fps, stride, linear, padding: see `read_clip`.

    Raises:
        UserError: no row is left.
    """

    def __init__(
        self,
        rows: Sequence[dict],
        length: int,
        random: bool = True,
        hold_beat: bool = False,
        shorter: str = "pad",
        target_fps: float | None = None,
        stride: int = 1,
        linear: bool = False,
        padding: str = "zeros",
    ) -> None:
        if shorter not in ("pad", "drop"):
            raise UserError(f"shorter is {shorter!r}, but must be pad or drop.")
        self.length, self.random, self.hold_beat = int(length), random, hold_beat
        self.settings: dict[str, Any] = {
            "target_fps": target_fps,
            "stride": stride,
            "linear": linear,
            "padding": padding,
        }
        self.rows = [row for row in rows if self._fits(row, shorter == "drop")]
        if not self.rows:
            raise UserError(
                f"none of the {len(rows)} videos gives a clip of {length} frames as requested: give longer "
                "videos, or train a network of shorter clips."
            )
        patients = list(dict.fromkeys(row["patient"] for row in self.rows))
        self.patients = {patient: number for number, patient in enumerate(patients)}

    def _fits(self, row: dict, drop: bool) -> bool:
        span = (self.length - 1) * clip_step(row["fps"], self.settings["target_fps"], self.settings["stride"])
        if drop and (row["frames"] is None or row["frames"] - 1 < span):
            return False
        if self.hold_beat:
            return row["es_frame"] is not None and abs(row["es_frame"] - row["ed_frame"]) <= span
        return True

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        row = self.rows[index]
        rng = np.random.default_rng(int(torch.randint(2**62, ()))) if self.random else None
        hold = (row["es_frame"], row["ed_frame"]) if self.hold_beat else ()
        clip = read_clip(row, self.length, hold=hold, rng=rng, **self.settings)
        step = clip_step(row["fps"], self.settings["target_fps"], self.settings["stride"])
        return {
            "latents" if format_of_name(row["path"].name) == "latents" else "video": torch.from_numpy(clip["image"]),
            "ef": torch.tensor(row["ef"] / 100, dtype=torch.float32),
            "edv_ml": torch.tensor(math.nan if row["edv"] is None else row["edv"], dtype=torch.float32),
            "patient": self.patients[row["patient"]],
            "ed_frame": _frame_in(clip["positions"], row["ed_frame"], step),
            "es_frame": _frame_in(clip["positions"], row["es_frame"], step),
            "fps": torch.tensor(math.nan if row["fps"] is None else row["fps"] / step, dtype=torch.float32),
            "valid": clip["valid"],
            "row": index,
        }


def _frame_in(positions: np.ndarray, frame: int | None, step: float) -> int:
    """The clip's frame that is nearest to a frame of the video, or -1."""
    if frame is None:
        return -1
    nearest = int(np.argmin(np.abs(positions - frame)))
    return nearest if abs(positions[nearest] - frame) <= step / 2 + 1e-9 else -1

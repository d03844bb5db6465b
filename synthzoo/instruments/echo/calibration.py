"""Scales and stated errors of the echo instruments: set right on VAL patients, measured on TEST patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from synthzoo.instruments.echo import ef as echo_ef
from synthzoo.instruments.echo.phantoms import FRAMES, REQUESTED_EF, instrument_videos
from synthzoo.instruments.echo.training import blur
from synthzoo.io.files import write_json
from synthzoo.metrics.agreement import agreement

SIZES = {32: 80, 64: 80, 112: 40}  # VAL and TEST patients by size of video
BLUR, NOISE = 0.5, 0.03  # of the disturbed copies: in the video's own pixels, and standard deviation
KINDS = ("sharp", "blurred", "noisy")
STILLS = 16  # frozen videos of each size


def copies(video: torch.Tensor, kind: str) -> torch.Tensor:
    """Videos (N, 1, T, S, S) as they are ("sharp"), lightly "blurred", or "noisy": blurred, then noise."""
    if kind == "sharp":
        return video
    found = blur(video[:, 0], torch.full((len(video),), BLUR))[:, None]
    if kind == "noisy":
        generator = torch.Generator().manual_seed(0)
        found = found + NOISE * torch.randn(found.shape, generator=generator)
    return found.clamp(0, 1)


def freeze(video: torch.Tensor) -> torch.Tensor:
    """Videos that stand still at their own k-th frame, k growing from video to video, with fresh noise in each
    frame."""
    rows = torch.arange(len(video))
    still = video[rows, :, rows % FRAMES][:, :, None].expand_as(video)
    noise = 0.5 * NOISE * torch.randn(video.shape, generator=torch.Generator().manual_seed(1))
    return (still + noise).clamp(0, 1)


def load_videos(split: str, size: int, cache: str | None) -> tuple[torch.Tensor, np.ndarray]:
    """All videos (N, 1, T, S, S) of a split and their EF (N,)."""
    videos = instrument_videos(split, SIZES[size], size, 0, cache)
    frames = np.stack([videos.frames(row) for row in range(len(videos))])
    return torch.from_numpy(frames.astype(np.float32) / np.float32(255))[:, None], videos.ef


def fit_scale(requested: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Slope and offset of readings against the truth; readings that are NaN are left out."""
    known = ~np.isnan(found)
    slope, offset = np.polyfit(requested[known], found[known], 1)
    return {"slope": round(float(slope), 5), "offset": round(float(offset), 5)}


def errors(requested: np.ndarray, found: np.ndarray) -> dict:
    """R2, `agreement`, the 95th percentile and the largest error; NaN counts as the middle of what was requested."""
    lost = int(np.isnan(found).sum())
    found = np.where(np.isnan(found), requested.mean(), found)
    miss = found - requested
    r2 = 1 - (miss**2).sum() / ((requested - requested.mean()) ** 2).sum()
    extremes = {"p95": np.quantile(np.abs(miss), 0.95), "max": np.abs(miss).max()}
    rounded = {name: round(float(value), 4) for name, value in {"r2": r2, **extremes}.items()}
    return {**rounded, **agreement(requested, found), "not_read": lost}


def make_report(folder: Path, cache: str | None = None) -> dict:
    """Scales from VAL, errors from TEST; writes and returns what `echo_instruments.json` holds."""
    scales, stated, stills = {}, {}, {}
    for size in SIZES:
        videos, requested = load_videos("VAL", size, cache)
        kinds = [echo_ef.raw_ef(copies(videos, kind)) for kind in ("sharp", "blurred")]
        frozen = echo_ef.raw_ef(freeze(videos[:STILLS]))
        truth = np.concatenate([requested, requested, np.zeros(STILLS)])
        names = list(frozen)
        scales[str(size)] = {
            name: fit_scale(truth, np.concatenate([k[name] for k in (*kinds, frozen)])) for name in names
        }
        videos, requested = load_videos("TEST", size, cache)
        stated[str(size)] = {}
        for kind in KINDS:
            raw = echo_ef.raw_ef(copies(videos, kind))
            found = {name: echo_ef.set_right(raw[name], scales[str(size)][name]) for name in names}
            stated[str(size)][kind] = {name: errors(requested, found[name]) for name in names}
        raw = echo_ef.raw_ef(freeze(videos[:STILLS]))
        stills[str(size)] = {}
        for name in names:
            found = echo_ef.set_right(raw[name], scales[str(size)][name])
            stills[str(size)][name] = {"mean": round(float(found.mean()), 4), "max": round(float(found.max()), 4)}
    report = {
        "command": "python scripts/train_echo_instruments.py all",
        "requested": {"ef_from": REQUESTED_EF[0], "ef_to": REQUESTED_EF[1], "prior": "evenly spread", "videos": SIZES},
        "kinds": {"blurred": f"Gaussian of {BLUR} pixels", "noisy": f"blurred, then noise of {NOISE}"},
        "scales": scales,
        "errors": stated,
        "frozen": stills,
    }
    write_json(folder / "echo_instruments.json", report)
    echo_ef.instrument_errors.cache_clear()
    return report

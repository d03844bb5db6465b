"""Scales and stated errors of the echo instruments: set right on VAL patients, measured on TEST patients."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch

from synthzoo.instruments.echo import ef as echo_ef
from synthzoo.instruments.echo.phantoms import ASKED_EF, FRAMES, instrument_films
from synthzoo.instruments.echo.training import blur
from synthzoo.metrics.agreement import agreement

SIZES = {32: 80, 64: 80, 112: 40}  # VAL and TEST patients by size of film
BLUR, NOISE = 0.5, 0.03  # of the disturbed copies: in the film's own pixels, and standard deviation
KINDS = ("sharp", "blurred", "noisy")
STILLS = 16  # frozen films of each size


def copies(video: torch.Tensor, kind: str) -> torch.Tensor:
    """Films (N, 1, T, S, S) as they are ("sharp"), lightly "blurred", or "noisy": blurred, then noise."""
    if kind == "sharp":
        return video
    found = blur(video[:, 0], torch.full((len(video),), BLUR))[:, None]
    if kind == "noisy":
        generator = torch.Generator().manual_seed(0)
        found = found + NOISE * torch.randn(found.shape, generator=generator)
    return found.clamp(0, 1)


def freeze(video: torch.Tensor) -> torch.Tensor:
    """Films that stand still at their own k-th frame, k growing from film to film, with fresh noise in each frame."""
    rows = torch.arange(len(video))
    still = video[rows, :, rows % FRAMES][:, :, None].expand_as(video)
    noise = 0.5 * NOISE * torch.randn(video.shape, generator=torch.Generator().manual_seed(1))
    return (still + noise).clamp(0, 1)


def load_films(split: str, size: int, cache: str | None) -> tuple[torch.Tensor, np.ndarray]:
    """All films (N, 1, T, S, S) of a split and their EF (N,)."""
    films = instrument_films(split, SIZES[size], size, 0, cache)
    frames = np.stack([films.frames(row) for row in range(len(films))])
    return torch.from_numpy(frames.astype(np.float32) / np.float32(255))[:, None], films.ef


def fit_scale(asked: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Slope and offset of readings against the truth; readings that are NaN are left out."""
    known = ~np.isnan(found)
    slope, offset = np.polyfit(asked[known], found[known], 1)
    return {"slope": round(float(slope), 5), "offset": round(float(offset), 5)}


def errors(asked: np.ndarray, found: np.ndarray) -> dict:
    """R2, `agreement`, the 95th percentile and the largest error; NaN counts as the middle of what was asked."""
    lost = int(np.isnan(found).sum())
    found = np.where(np.isnan(found), asked.mean(), found)
    miss = found - asked
    r2 = 1 - (miss**2).sum() / ((asked - asked.mean()) ** 2).sum()
    extremes = {"p95": np.quantile(np.abs(miss), 0.95), "max": np.abs(miss).max()}
    rounded = {name: round(float(value), 4) for name, value in {"r2": r2, **extremes}.items()}
    return {**rounded, **agreement(asked, found), "not_read": lost}


def make_report(folder: Path, cache: str | None = None) -> dict:
    """Scales from VAL, errors from TEST; writes and returns what `echo_instruments.json` holds."""
    scales, stated, stills = {}, {}, {}
    for size in SIZES:
        films, asked = load_films("VAL", size, cache)
        kinds = [echo_ef.raw_ef(copies(films, kind)) for kind in ("sharp", "blurred")]
        frozen = echo_ef.raw_ef(freeze(films[:STILLS]))
        truth = np.concatenate([asked, asked, np.zeros(STILLS)])
        names = list(frozen)
        scales[str(size)] = {
            name: fit_scale(truth, np.concatenate([k[name] for k in (*kinds, frozen)])) for name in names
        }
        films, asked = load_films("TEST", size, cache)
        stated[str(size)] = {}
        for kind in KINDS:
            raw = echo_ef.raw_ef(copies(films, kind))
            found = {name: echo_ef.set_right(raw[name], scales[str(size)][name]) for name in names}
            stated[str(size)][kind] = {name: errors(asked, found[name]) for name in names}
        raw = echo_ef.raw_ef(freeze(films[:STILLS]))
        stills[str(size)] = {}
        for name in names:
            found = echo_ef.set_right(raw[name], scales[str(size)][name])
            stills[str(size)][name] = {"mean": round(float(found.mean()), 4), "max": round(float(found.max()), 4)}
    report = {
        "command": "python scripts/train_echo_instruments.py all",
        "asked": {"ef_from": ASKED_EF[0], "ef_to": ASKED_EF[1], "law": "evenly spread", "films": SIZES},
        "kinds": {"blurred": f"Gaussian of {BLUR} pixels", "noisy": f"blurred, then noise of {NOISE}"},
        "scales": scales,
        "errors": stated,
        "frozen": stills,
    }
    temporary = folder / "echo_instruments.tmp"
    temporary.write_text(json.dumps(report, indent=2) + "\n")
    os.replace(temporary, folder / "echo_instruments.json")
    echo_ef.instrument_errors.cache_clear()
    return report

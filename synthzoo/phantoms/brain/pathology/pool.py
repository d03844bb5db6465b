"""Sick brains on disk to train on: made once, resumed where a run stopped, filled by several processes at once.

Each subject is a volume of maps and parts in bytes, memory-mapped, so that a slice in a new look costs milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from synthzoo.errors import UserError
from synthzoo.io.files import atomic_path, write_array
from synthzoo.phantoms.brain import phantom as brain
from synthzoo.phantoms.brain.pathology.lesion import PARTS, draw_lesions
from synthzoo.phantoms.brain.pathology.looks import ROWS
from synthzoo.phantoms.brain.pathology.subject import VERSION, SickBrain, sicken
from synthzoo.phantoms.brain.pool import GRID, anatomy_maps
from synthzoo.phantoms.cache import cache_folder, settings_key

FIRST_ANATOMY = 1_000_000  # those below are the healthy pools'
LESIONS_PER_ANATOMY = 2  # subjects that share a healthy anatomy
VOXELS = 2500


@dataclass(frozen=True)
class PoolSubject:
    """A subject of the pool.

    Attributes:
        volume: uint8 (len(ROWS), *GRID), memory-mapped, 255 = fully occupied.
        voxels: float32 (len(ROWS), VOXELS) in [0, 1], random voxels of the brain.
        brain, sick: for each axis the voxels of brain and of lesions in each slice across it.
        ml: part -> mL.
    """

    volume: np.ndarray
    voxels: np.ndarray
    brain: tuple[np.ndarray, ...]
    sick: tuple[np.ndarray, ...]
    ml: dict[str, float]


def sick_subject(seed: int) -> SickBrain:
    """Subject `seed` of the distribution, at 2 mm on `GRID`."""
    return sicken(_anatomy(FIRST_ANATOMY + seed // LESIONS_PER_ANATOMY), draw_lesions(seed), seed)


@lru_cache(maxsize=1)
def _anatomy(seed: int) -> np.ndarray:
    return anatomy_maps(seed)


def pool_folder(folder: str | Path | None = None) -> Path:
    """Where the subjects lie: a name that changes with what is in it, in `folder`, or in the cache when None."""
    key = settings_key([VERSION, brain.VERSION, GRID, ROWS, FIRST_ANATOMY, LESIONS_PER_ANATOMY, VOXELS])
    return Path(folder or cache_folder()) / f"brain_sick_pool_{key}"


def fill_pool(
    first_seed: int,
    size: int,
    folder: str | Path | None = None,
    seconds: float | None = None,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> int:
    """Make those subjects that are absent.

    Args:
        first_seed: subjects are first_seed, first_seed + 1, ...
        size: how many there shall be.
        folder: see `pool_folder`.
        seconds: begin no subject after these; None goes on to the end.
        progress: wraps the iteration over subjects, for instance `tqdm`.

    Returns:
        How many of them are there.
    """
    place = pool_folder(folder)
    place.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    for seed in (progress or iter)(range(first_seed, first_seed + size)):
        if seconds is not None and time.monotonic() - start > seconds:
            break
        if not _facts(place, seed).is_file():
            _write(place, seed)
    return sum(_facts(place, seed).is_file() for seed in range(first_seed, first_seed + size))


def _volume(place: Path, seed: int) -> Path:
    return place / f"{seed:07d}.npy"


def _facts(place: Path, seed: int) -> Path:
    return place / f"{seed:07d}.npz"


def _write(place: Path, seed: int) -> None:
    """The volume first: a subject whose facts are there is complete."""
    subject = sick_subject(seed)
    volume = (np.clip(subject.volume(), 0, 1) * 255 + 0.5).astype(np.uint8)
    inside, sick = subject.maps[:5].sum(0) > 0.4, subject.parts.sum(0) > 0.5
    chosen = np.random.default_rng([seed, 71]).choice(np.flatnonzero(inside.ravel()), VOXELS)
    profiles = {}
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        profiles |= {f"brain_{axis}": inside.sum(others), f"sick_{axis}": sick.sum(others)}
    write_array(_volume(place, seed), volume)
    with atomic_path(_facts(place, seed), durable=False) as temporary, open(temporary, "wb") as file:
        ml = [subject.ml.get(part, 0.0) for part in PARTS]
        np.savez(file, voxels=volume.reshape(len(volume), -1)[:, chosen], ml=np.array(ml), **profiles)


def open_pool(first_seed: int, size: int, folder: str | Path | None = None) -> list[PoolSubject]:
    """Those of the subjects that are there.

    Raises:
        UserError: none is.
    """
    place = pool_folder(folder)
    found = [_read(place, seed) for seed in range(first_seed, first_seed + size) if _facts(place, seed).is_file()]
    if not found:
        raise UserError(f"{place}: has no subject {first_seed} to {first_seed + size - 1}; `fill_pool` makes them.")
    return found


def _read(place: Path, seed: int) -> PoolSubject:
    volume = np.load(_volume(place, seed), mmap_mode="r")
    with np.load(_facts(place, seed)) as facts:
        inside, sick = (tuple(facts[f"{name}_{axis}"] for axis in range(3)) for name in ("brain", "sick"))
        ml = {part: float(ml) for part, ml in zip(PARTS, facts["ml"]) if ml > 0}
        return PoolSubject(volume, facts["voxels"].astype(np.float32) / 255, inside, sick, ml)


def cut(subject: PoolSubject, axis: int, index: int, slices: int = 1) -> np.ndarray:
    """Slice `index` across `axis`, uint8 (len(ROWS), h, w), or the mean of so many slices around it."""
    first = max(index - (slices - 1) // 2, 0)
    among = subject.volume[(*[slice(None)] * (axis + 1), slice(first, first + slices))]
    if slices == 1:
        return np.ascontiguousarray(among.squeeze(axis + 1))
    return (among.mean(axis + 1, dtype=np.float32) + 0.5).astype(np.uint8)


def slice_numbers(subject: PoolSubject, axis: int, least: int = 60) -> Sequence[np.ndarray]:
    """The slices across `axis` with at least so many voxels of brain, and those of them with lesions."""
    brains = np.flatnonzero(subject.brain[axis] > least)
    return brains, np.intersect1d(brains, np.flatnonzero(subject.sick[axis] > least // 3))

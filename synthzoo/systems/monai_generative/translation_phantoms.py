"""Pairs of contrasts of one brain phantom: a scan to translate and, of the same anatomy, the scan it becomes.

    source = scan of the source contrast, with a scanner's noise, field and blur
    target = scan of the target contrast by a quiet scanner without a field

Both come from one set of relaxation times. A part of the lesions is occult: their T1 is that of white matter, so that
FLAIR shows them and T1w does not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from synthzoo.phantoms.brain.contrast import TISSUES
from synthzoo.phantoms.brain.label_maps import CLASSES
from synthzoo.phantoms.brain.label_pool import as_picture
from synthzoo.phantoms.brain.painting import Scan, class_values, draw_scan, paint_maps

SOURCES = ("T1w", "T1Gd", "T2w", "FLAIR")
TARGETS = ("T1w", "T2w", "FLAIR")  # enhancement after contrast agent is in no other contrast, so T1Gd is no target
AUTO = "auto"  # a source that nobody names
OCCULT = ("WMH", "oedema", "stroke")  # lesions that may be visible by their T2 alone
OCCULT_SHARE = 0.3
LEAST_BRAIN = 60  # voxels of a slice that is translated
TARGET_SPREAD, TARGET_NOISE, TARGET_TEXTURE = 0.03, 0.006, 0.01

Relaxation = dict[str, tuple[float, float, float]]


def draw_occult(rng: np.random.Generator, share: float = OCCULT_SHARE) -> tuple[str, ...]:
    """Which of `OCCULT` are occult in a subject, each by its own chance."""
    return tuple(name for name in OCCULT if rng.random() < share)


def relaxation_of(occult: tuple[str, ...], age: float) -> Relaxation:
    """Proton density, T1 and T2 in ms of lesions that are occult: white matter's, but for their own T2."""
    density, t1, _ = TISSUES["WM"]
    return {name: (density, t1 * (1 + 0.0022 * (age - 40)), TISSUES[name][2]) for name in occult}


def source_scan(contrast: str, rng: np.random.Generator, age: float, relaxation: Mapping | None = None) -> Scan:
    """A scan to translate, with intensities and faults of its own."""
    return draw_scan(contrast, rng, age, relaxation)


def target_scan(contrast: str, rng: np.random.Generator, age: float, relaxation: Mapping | None = None) -> Scan:
    """The scan that a source becomes: little noise, no field, no blur."""
    values = class_values(contrast, rng, age, TARGET_SPREAD, relaxation)
    return Scan(values, TARGET_NOISE, 0.0, 0.0, TARGET_TEXTURE)


def painted(maps: np.ndarray, scan: Scan, rng: np.random.Generator) -> np.ndarray:
    """Image float32 (...) in [0, 1] of label maps (K, ...), 0 outside the brain."""
    return paint_maps(maps, scan, rng).clip(0, 1)


def brain_levels(maps: np.ndarray) -> np.ndarray:
    """Axial slices of label maps uint8 (K, X, Y, Z) that hold a brain, int64."""
    return np.flatnonzero((255.0 - maps[0].astype(np.float32)).sum((0, 1)) / 255 > LEAST_BRAIN)


def chosen_levels(maps: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` axial slices with brain, ascending; a slice through a lesion is about as likely as all the others are."""
    levels = brain_levels(maps)
    first = CLASSES.index("WMH")
    sick = (maps[first:].astype(np.float32).sum((0, 1, 2)) / 255)[levels] > 5
    chance = np.ones(len(levels)) + len(levels) * sick / max(int(sick.sum()), 1)
    return np.sort(rng.choice(levels, count, len(levels) < count, chance / chance.sum()))


def planes(maps: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Label maps uint8 (N, K, Y, X) of axial slices, the front of the head above."""
    return np.stack([as_picture(np.asarray(maps[..., level])) for level in levels])


def slices_of(volume: torch.Tensor) -> torch.Tensor:
    """Volume (X, Y, Z) in RAS -> axial slices (Z, 1, Y, X), the front of the head above."""
    return volume.permute(2, 1, 0).flip(1)[:, None]


def volume_of(slices: torch.Tensor) -> torch.Tensor:
    """Axial slices (Z, 1, Y, X) -> volume (X, Y, Z) in RAS."""
    return slices[:, 0].flip(1).permute(2, 1, 0)

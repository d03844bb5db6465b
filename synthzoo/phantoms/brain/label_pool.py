"""Pools of axial label slices of sick brain phantoms at 2 mm, made once and memory-mapped.

A slice is seen from above: rows run from the front of the head to the back, columns from left to right. Its height is
where it lies between the lowest (0) and the highest (1) slice with brain; volumes are of the slice alone, which is as
thick as a voxel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from synthzoo.errors import UserError
from synthzoo.io.files import atomic_folder, write_array
from synthzoo.phantoms.brain.label_maps import CLASSES, LESIONS, sick_label_maps, volumes_ml
from synthzoo.phantoms.brain.pathology.lesion import Lesion, draw_lesions
from synthzoo.phantoms.brain.pathology.subject import VERSION as SICK_VERSION
from synthzoo.phantoms.brain.pathology.subject import sicken
from synthzoo.phantoms.brain.phantom import VERSION, draw_params
from synthzoo.phantoms.brain.pool import GRID, SPACING_MM, anatomy_maps
from synthzoo.phantoms.cache import cache_folder, settings_key, split_seeds

SLICE_SHAPE = (GRID[1], GRID[0])  # rows, columns
VOXEL_ML = SPACING_MM**3 / 1000
SPLITS = {"train": (0, 100_000), "validation": (100_000, 200_000), "test": (200_000, 300_000)}
HEIGHTS = (0.3, 0.9)
FIRST_ANATOMY = 3_000_000  # those below are of other pools
# What a subject has for certain -> share of the subjects; other diseases may keep it company.
DISEASES = {"": 0.1, "tumour": 0.45, "WMH": 0.2, "stroke": 0.2, "resection": 0.03, "haemorrhage": 0.02}
MEASURED = ("ventricle_ml", "WMH_ml", "core_ml", "enhancing_ml", "oedema_ml", "stroke_ml")


@dataclass(frozen=True)
class PoolSettings:
    """Which slices a pool holds.

    Attributes:
        split: "train", "validation" or "test": which range of seeds the subjects come from.
        subjects: number of them, the first of the split.
        slices: of each subject, in the order of their height; about half of them through a lesion where there is one.
    """

    split: str = "train"
    subjects: int = 300
    slices: int = 16

    def __post_init__(self) -> None:
        split_seeds("a pool of label slices has", SPLITS, self.split, self.subjects)
        if self.slices < 3:
            raise UserError(f"slices = {self.slices}: a subject needs at least 3, two of them for styles.")


class LabelPool:
    """Slices of a pool: `maps` uint8 (N, len(CLASSES), *SLICE_SHAPE), 255 is all of a voxel; row i is of subject
    i // slices.

    Attributes:
        heights: float32 (N,) in [0, 1].
        ages: float32 (N,), years of the subject.
    """

    def __init__(self, settings: PoolSettings, folder: Path) -> None:
        self.settings = settings
        self.maps = np.load(folder / "maps.npy", mmap_mode="r")
        self.heights, self.ages = np.load(folder / "facts.npy").T

    def __len__(self) -> int:
        return len(self.maps)

    def slice(self, row: int) -> np.ndarray:
        """Label maps float32 (len(CLASSES), *SLICE_SHAPE) of one slice; their sum is 1."""
        maps = self.maps[row].astype(np.float32)
        return maps / maps.sum(0)

    def siblings(self, row: int) -> list[int]:
        """The other slices of the row's subject."""
        first = row - row % self.settings.slices
        return [other for other in range(first, first + self.settings.slices) if other != row]


def slice_volumes(maps: np.ndarray) -> list[float]:
    """`MEASURED` of one slice, mL, from its label maps (len(CLASSES), h, w)."""
    found = volumes_ml(maps, VOXEL_ML)
    return [found[name.removesuffix("_ml")] for name in MEASURED]


def load_label_pool(
    split: str = "train",
    subjects: int = 300,
    slices: int = 16,
    folder: str | Path | None = None,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> LabelPool:
    """The pool of these settings, made the first time.

    Args:
        split, subjects, slices: see `PoolSettings`.
        folder: where pools lie; None is `SYNTHZOO_CACHE` or `~/.cache/synthzoo`.
        progress: wraps the iteration over subjects, for instance `tqdm`.

    Raises:
        UserError: settings out of range, or a folder that cannot be written.
    """
    settings = PoolSettings(split, int(subjects), int(slices))
    key = settings_key([VERSION, SICK_VERSION, CLASSES, HEIGHTS, GRID, DISEASES, asdict(settings)])
    path = (Path(folder) if folder else cache_folder()) / f"brain-labels-{key}"
    if not (path / "facts.npy").is_file():
        with atomic_folder(path) as temporary:
            shape = (settings.subjects * settings.slices, len(CLASSES), *SLICE_SHAPE)
            maps = np.lib.format.open_memmap(temporary / "maps.npy", "w+", np.uint8, shape)
            facts, first = [], SPLITS[split][0]
            for number in (progress or iter)(range(settings.subjects)):
                for row, (one, *known) in enumerate(subject_slices(first + number, settings.slices)):
                    maps[number * settings.slices + row] = np.round(255 * one).astype(np.uint8)
                    facts.append(known)
            maps.flush()
            write_array(temporary / "facts.npy", np.array(facts, np.float32))
    return LabelPool(settings, path)


def subject_slices(seed: int, count: int) -> Iterator[tuple[np.ndarray, float, float]]:
    """Label maps float32 (len(CLASSES), *SLICE_SHAPE), height and age of `count` slices of subject `seed`, upwards."""
    volume, age = subject_volume(seed)
    levels, bottom, top = inside_levels(volume)
    sick = volume[[CLASSES.index(name) for name in LESIONS]].sum((0, 1, 2))[levels]
    rng = np.random.default_rng([seed, 61])
    chance = np.ones(len(levels)) + len(levels) * (sick > 5) / max(int((sick > 5).sum()), 1)
    replace = len(levels) < count
    for level in sorted(rng.choice(levels, count, replace, chance / chance.sum())):
        yield as_picture(volume[..., level]), (level - bottom) / max(top - bottom, 1), age


def subject_volume(seed: int, draw: Callable[[int, int], list[Lesion]] | None = None) -> tuple[np.ndarray, float]:
    """Label maps float32 (len(CLASSES), *GRID) of subject `seed`, and the age in years.

    Args:
        seed: of the subject.
        draw: (seed, attempt) -> its lesions; None is `draw_disease`.
    """
    draw = draw or draw_disease
    healthy, number = anatomy_maps(FIRST_ANATOMY + seed), 0
    while True:
        try:
            sick = sicken(healthy, draw(seed, number), seed)
            return sick_label_maps(sick), draw_params(FIRST_ANATOMY + seed).age
        except UserError:  # too little tissue in this head for what was drawn
            number += 1


def draw_disease(seed: int, attempt: int = 0) -> list[Lesion]:
    """Lesions of subject `seed`, those of `draw_lesions` among which each of `DISEASES` has its share."""
    rng = np.random.default_rng([seed, 51, attempt])
    wanted = str(rng.choice(list(DISEASES), p=list(DISEASES.values())))
    while wanted:
        found = draw_lesions(int(rng.integers(2**31)), healthy=0.0)
        if any(lesion.kind == wanted for lesion in found):
            return found
    return []


def inside_levels(volume: np.ndarray, heights: Sequence[float] = HEIGHTS) -> tuple[np.ndarray, int, int]:
    """Numbers of the axial slices of maps (K, D, H, W) at these heights, and those of the lowest and the highest with
    brain."""
    filled = np.flatnonzero((1 - volume[0]).sum((0, 1)) > 60)
    bottom, top = int(filled[0]), int(filled[-1])
    low, high = (bottom + height * (top - bottom) for height in heights)
    return np.arange(int(np.ceil(low)), int(high) + 1), bottom, top


def as_picture(planes: np.ndarray) -> np.ndarray:
    """Axial planes (..., D, H) in RAS as pictures (..., H, D): the front of the head above, the right on the right."""
    return np.ascontiguousarray(np.swapaxes(planes, -2, -1)[..., ::-1, :])

"""Pools of label volumes of sick brain phantoms at 2 mm: several diseases in one brain, each subject made once.

A run that stopped goes on where it was, and several processes fill one pool at once. Of a subject lie there its label
maps in bytes, memory-mapped, and the places of each lesion, so that a patch through a rare one is found at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthzoo.io.files import atomic_path, write_array
from synthzoo.phantoms.brain.label_maps import CLASSES, LESIONS, volumes_ml
from synthzoo.phantoms.brain.label_pool import FIRST_ANATOMY, HEIGHTS, SPLITS, VOXEL_ML, inside_levels, subject_volume
from synthzoo.phantoms.brain.pathology.lesion import Lesion, draw_lesions
from synthzoo.phantoms.brain.pathology.subject import VERSION as SICK_VERSION
from synthzoo.phantoms.brain.phantom import VERSION
from synthzoo.phantoms.brain.pool import GRID
from synthzoo.phantoms.cache import cache_folder, settings_key, split_seeds

# Kind of lesion -> share of the subjects that have it, each beside any of the others.
TOGETHER = {"tumour": 0.5, "stroke": 0.35, "WMH": 0.5, "resection": 0.03, "haemorrhage": 0.03}
PLACES = 64  # voxels of each class of lesion that are remembered
RESERVED = 900_000  # seeds above the anatomies of the pools of slices


@dataclass(frozen=True)
class LabelVolume:
    """A subject of a pool.

    Attributes:
        maps: uint8 (len(CLASSES), *GRID), memory-mapped, 255 is all of a voxel.
        places: int16 (len(LESIONS), PLACES, 3), voxels that a lesion holds most of; below 0 where there is none.
        ml: float64 (len(CLASSES) - 1,), of every class but the background.
        age: years.
        levels: lowest and highest axial slice at the heights of a pool of slices.
    """

    maps: np.ndarray
    places: np.ndarray
    ml: np.ndarray
    age: float
    levels: tuple[int, int]

    def volumes(self) -> dict[str, float]:
        """Class -> mL, the background left out."""
        return dict(zip(CLASSES[1:], self.ml.tolist()))


def draw_together(seed: int, attempt: int = 0, together: Mapping[str, float] | None = None) -> list[Lesion]:
    """Lesions of subject `seed`: each kind of `together`, by its own chance and as `draw_lesions` sizes it."""
    rng = np.random.default_rng([seed, 53, attempt])
    found: list[Lesion] = []
    for kind, share in (TOGETHER if together is None else together).items():
        wanted = rng.random() < share
        while wanted:
            own = [lesion for lesion in draw_lesions(int(rng.integers(2**31)), healthy=0.0) if lesion.kind == kind]
            found, wanted = found + own, not own
    return found


class LabelVolumePool:
    """Subjects of one split; item -> `LabelVolume`.

    Args:
        split: "train", "validation" or "test": which range of seeds the subjects come from.
        subjects: number of them, the first of the split.
        folder: where pools lie; None is `SYNTHZOO_CACHE` or `~/.cache/synthzoo`.
        progress: wraps the iteration over subjects that are made now, for instance `tqdm`.

    Raises:
        UserError: settings out of range, or a folder that cannot be written.
    """

    def __init__(
        self,
        split: str = "train",
        subjects: int = 320,
        folder: str | Path | None = None,
        progress: Callable[[Iterable], Iterable] | None = None,
    ) -> None:
        found = split_seeds("a pool of label volumes has", SPLITS, split, subjects)
        key = settings_key([VERSION, SICK_VERSION, CLASSES, GRID, TOGETHER, PLACES, HEIGHTS, FIRST_ANATOMY + RESERVED])
        self.folder = (Path(folder) if folder else cache_folder()) / f"brain-label-volumes-{key}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.seeds = range(found.start + RESERVED, found.stop + RESERVED)
        self.opened: dict[int, LabelVolume] = {}
        absent = [seed for seed in self.seeds if not self._facts(seed).is_file()]
        for seed in (progress or iter)(absent) if absent else ():
            if not self._facts(seed).is_file():  # another process may have made it meanwhile
                self._write(seed)

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, row: int) -> LabelVolume:
        if row not in self.opened:
            seed = self.seeds[row]
            with np.load(self._facts(seed)) as facts:
                known = (facts["places"], facts["ml"], float(facts["age"]), tuple(facts["levels"].tolist()))
            self.opened[row] = LabelVolume(np.load(self._maps(seed), mmap_mode="r"), *known)
        return self.opened[row]

    def _maps(self, seed: int) -> Path:
        return self.folder / f"{seed:07d}.npy"

    def _facts(self, seed: int) -> Path:
        return self.folder / f"{seed:07d}.npz"

    def _write(self, seed: int) -> None:
        """The maps first: a subject whose facts are there is complete."""
        volume, age = subject_volume(seed, draw_together)
        maps = np.round(255 * volume).astype(np.uint8)
        write_array(self._maps(seed), maps)
        with atomic_path(self._facts(seed), durable=False) as temporary, open(temporary, "wb") as file:
            ml = np.array(list(volumes_ml(as_shares(maps), VOXEL_ML).values()))
            levels = inside_levels(volume)[0][[0, -1]]
            np.savez(file, places=lesion_places(maps, seed), ml=ml, age=age, levels=levels)


def as_shares(maps: np.ndarray) -> np.ndarray:
    """Label maps float32 (len(CLASSES), ...) of sum 1 of the bytes of a pool."""
    shares = maps.astype(np.float32)
    return shares / shares.sum(0)


def lesion_places(maps: np.ndarray, seed: int) -> np.ndarray:
    """Voxels int16 (len(LESIONS), PLACES, 3), drawn at random among those that each lesion holds most of."""
    rng = np.random.default_rng([seed, 73])
    found = np.full((len(LESIONS), PLACES, 3), -1, np.int16)
    for number, name in enumerate(LESIONS):
        where = np.argwhere(maps[CLASSES.index(name)] > 127)
        if len(where):
            found[number] = where[rng.integers(len(where), size=PLACES)]
    return found

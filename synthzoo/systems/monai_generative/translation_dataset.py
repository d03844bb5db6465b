"""Rows of slices in two contrasts: of phantoms, or of a table of registered scans.

    <dir>/<split>.tsv   columns T1w, T1Gd, T2w, FLAIR: skull-stripped NIfTI on one grid a row, or "none"

Paths of a table are absolute, or relative to its folder or to that of the split.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.datasets.brain.spade_layouts import MISSING, check_format, path_of, scaled, split_table
from synthzoo.errors import UserError
from synthzoo.io.files import atomic_path
from synthzoo.io.tables import table_cells
from synthzoo.io.volumes import read_volume
from synthzoo.phantoms.brain.label_maps import CLASSES, LESIONS
from synthzoo.phantoms.brain.label_pool import as_picture
from synthzoo.phantoms.brain.label_volumes import LabelVolumePool, as_shares
from synthzoo.systems.monai_generative.translation_phantoms import (
    SOURCES,
    TARGETS,
    chosen_levels,
    draw_occult,
    painted,
    planes,
    relaxation_of,
    source_scan,
    target_scan,
)

UNNAMED = 0.15  # share of the sources whose contrast the network is not told
# Of a source, whose unit and window nobody knows; a large lesion is at times the brightest there is, all else darker.
GAIN, GAMMA = (0.6, 1.2), (0.85, 1.15)
LESION_MAPS = [CLASSES.index(name) for name in LESIONS]
HELD_VOLUMES = 8  # that are not read again for the next slice


def training_contrasts(
    data_format: str,
    dataset_dir: str | Path = "",
    split: str = "train",
    subjects: int = 240,
    slices: int = 12,
    targets: Sequence[str] = TARGETS,
    cache_dir: str | Path | None = None,
    image_size: Sequence[int] = (96, 80),
    paired: bool = True,
) -> Dataset:
    """Rows {"image", "source", "source_contrast", "target_contrast", "row"} to train a translation.

    Args:
        data_format: "phantom" paints `ContrastPairs`, "published" reads the table in `dataset_dir`, see the module.
        dataset_dir: empty for phantoms.
        split: "train", "validation" or "test".
        subjects, cache_dir: of the pool of phantoms.
        slices: of each subject.
        targets: contrasts that are translated to, some of `TARGETS`.
        image_size: rows and columns of a slice of the published layout.
        paired: False leaves the sources out, for stages that read none.

    Raises:
        UserError: an unknown format, a format without its folder, an unknown target, and what the data sets say.
    """
    check_format(data_format, dataset_dir)
    if data_format == "phantom":
        return ContrastPairs(subjects, slices, split, targets, cache_dir, paired=paired)
    return PublishedContrasts(dataset_dir, split, slices, targets, image_size, paired)


def check_targets(targets: Sequence[str]) -> list[str]:
    """The targets, all of which are in `TARGETS`.

    Raises:
        UserError: one is not, or there is none.
    """
    if not targets or any(name not in TARGETS for name in targets):
        raise UserError(f"targets = {list(targets)}: the known ones are {', '.join(TARGETS)}.")
    return list(targets)


class ContrastPairs(Dataset):
    """Axial slices of brain phantoms as "image" (1, H, W), the target, and "source" (1, H, W), float32 in [0, 1].

    A slice has a row for each target. The target of a row is painted the same each time, so that its latent may be
    kept; the source is another scan each time, from numpy's generator, which `SeededLoader` seeds, or from the row
    alone where `fixed`. "lesions" (1, H, W) is the share of each pixel that is a lesion's. "source_contrast" is its
    number in `SOURCES`, or their number where the network is not told; "target_contrast" that in `TARGETS`.

    Args:
        subjects, split, cache_dir: see `synthzoo.phantoms.brain.label_volumes.LabelVolumePool`.
        slices: of each subject, at all heights, half of them through a lesion where there is one.
        targets: some of `TARGETS`.
        fixed: paint the source of a row the same each time, named and without a gain.
        sources: contrasts of sources, some of `SOURCES`; a target of the same contrast is not drawn for it.
        paired: False leaves the sources out of the rows.

    Attributes:
        occult: (N,) which lesions of a slice's subject are occult.
        owners: whose each row is.

    Raises:
        UserError: an unknown target, and what the pool says.
    """

    def __init__(
        self,
        subjects: int = 240,
        slices: int = 12,
        split: str = "train",
        targets: Sequence[str] = TARGETS,
        cache_dir: str | Path | None = None,
        fixed: bool = False,
        sources: Sequence[str] = SOURCES,
        paired: bool = True,
    ) -> None:
        self.targets, self.fixed, self.sources = check_targets(targets), bool(fixed), tuple(sources)
        self.paired = bool(paired)
        self.slices = int(slices)
        self.pool = LabelVolumePool(split, subjects, cache_dir, lambda it: tqdm(it, desc="label volumes"))
        self.seeds = list(self.pool.seeds)
        self.cache_dir = self.pool.folder / f"contrasts-{split}-{len(self.pool)}-{slices}-{'-'.join(self.targets)}"
        path = self.pool.folder / f"slices-{split}-{len(self.pool)}-{slices}.npy"
        if not path.is_file():
            self._cut(path)
        self.maps = np.load(path, mmap_mode="r")
        self.occult = [draw_occult(self.rng(number, 1)) for number in range(len(self.maps))]
        self.owners = [row // (self.slices * len(self.targets)) for row in range(len(self))]

    def _cut(self, path: Path) -> None:
        """Write the slices of all subjects, uint8 (N, K, Y, X), into one file: a volume is slow to cut."""
        found = []
        for row in range(len(self.pool)):
            maps = np.asarray(self.pool[row].maps)
            found.append(planes(maps, chosen_levels(maps, self.slices, np.random.default_rng([self.seeds[row], 93]))))
        with atomic_path(path, durable=False) as temporary, open(temporary, "wb") as file:
            np.save(file, np.concatenate(found))

    def __len__(self) -> int:
        return len(self.maps) * len(self.targets)

    def rng(self, number: int, salt: int, *more: int) -> np.random.Generator:
        """Chance that belongs to the slice of this number alone; salt 1 is its subject's."""
        own = [] if salt == 1 else [number % self.slices]
        return np.random.default_rng([self.seeds[number // self.slices], 91, salt, *own, *more])

    def shares(self, number: int) -> np.ndarray:
        """Label maps float32 (K, Y, X) of a slice, half of them mirrored."""
        maps = as_shares(self.maps[number])
        return np.ascontiguousarray(maps[..., ::-1]) if self.rng(number, 2).random() < 0.5 else maps

    def lesions(self, number: int) -> np.ndarray:
        """Share of each pixel of a slice that is a lesion's, float32 (Y, X)."""
        return self.shares(number)[LESION_MAPS].sum(0)

    def scan_facts(self, number: int) -> tuple[float, dict]:
        """Age in years of a slice's subject, and the relaxation times of its occult lesions."""
        age = self.pool[number // self.slices].age
        return age, relaxation_of(self.occult[number], age)

    def target(self, number: int, target: str) -> np.ndarray:
        """Slice of this number in a target contrast, float32 (Y, X)."""
        rng = self.rng(number, 3, TARGETS.index(target))
        return painted(self.shares(number), target_scan(target, rng, *self.scan_facts(number)), rng)

    def source(self, number: int, contrast: str, rng: np.random.Generator | None = None) -> np.ndarray:
        """Slice of this number as a scan to translate, float32 (Y, X); without `rng` the same each time."""
        rng = self.rng(number, 4, SOURCES.index(contrast)) if rng is None else rng
        return painted(self.shares(number), source_scan(contrast, rng, *self.scan_facts(number)), rng)

    def truth(self, row: int) -> dict[str, Any]:
        """All of a row but its target."""
        number, place = divmod(row, len(self.targets))
        target = self.targets[place]
        facts = {"target_contrast": TARGETS.index(target), "row": row}
        if not self.paired:
            return facts
        rng = self.rng(number, 5, place) if self.fixed else np.random.default_rng(int(np.random.randint(2**31)))
        others = [name for name in self.sources if name != target]
        contrast = others[int(rng.integers(len(others)))]
        source = self.source(number, contrast, rng)
        named = SOURCES.index(contrast)
        if not self.fixed:
            source = rescaled(source, rng)
            named = len(SOURCES) if rng.random() < UNNAMED else named
        found = {"source": torch.from_numpy(source)[None], "lesions": torch.from_numpy(self.lesions(number))[None]}
        return {**found, "source_contrast": named, **facts}

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        number, place = divmod(row, len(self.targets))
        return {"image": torch.from_numpy(self.target(number, self.targets[place]))[None], **self.truth(row)}


def rescaled(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Image in [0, 1] with another gain and gamma, so that no network trusts in the unit of a scan."""
    gain, gamma = rng.uniform(*GAIN), rng.uniform(*GAMMA)
    return (gain * image**gamma).clip(0, 1).astype(np.float32)


class PublishedContrasts(Dataset):
    """Axial slices of a table of registered scans; rows as of `ContrastPairs`.

    A subject has `slices` heights, evenly from an eighth to seven eighths of its volume, and at each a row for every
    target that it has beside another contrast. Levels are brought to [0, 1], the brightest near that of phantoms.

    Args:
        folder, split: of the table, see the module.
        slices: of each subject.
        targets: some of `TARGETS`.
        image_size: rows and columns; a slice is cut or filled up about its middle.
        paired: False leaves the sources out of the rows.

    Raises:
        UserError: no table, an unknown target, a row with fewer than two contrasts or without a target.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str,
        slices: int = 12,
        targets: Sequence[str] = TARGETS,
        image_size: Sequence[int] = (96, 80),
        paired: bool = True,
    ) -> None:
        self.targets, self.image_size, self.paired = check_targets(targets), tuple(image_size), bool(paired)
        table = split_table(Path(folder), split)
        self.rows: list[tuple[dict[str, Path], float, str]] = []
        hint = f"its columns are {', '.join(SOURCES)}"
        for line, cells in table_cells(table, list(SOURCES), "make the table", hint, "subject", None):
            where = f"{table} line {line}: "
            given = {name: cells[name.lower()].strip() for name in SOURCES}
            paths = {
                name: path_of(one, table, split, where) for name, one in given.items() if one.lower() not in MISSING
            }
            wanted = [name for name in self.targets if name in paths]
            if len(paths) < 2 or not wanted:
                raise UserError(
                    f"{where}has {', '.join(paths) or 'no contrast'}: give two, among them {' or '.join(self.targets)}."
                )
            heights = np.linspace(0.125, 0.875, int(slices)).tolist()
            self.rows += [(paths, height, target) for height in heights for target in wanted]

    def __len__(self) -> int:
        return len(self.rows)

    def plane(self, path: Path, height: float) -> np.ndarray:
        """Axial slice of a scan, float32 (H, W) in [0, 1], at a height in [0, 1]."""
        volume = _levels_of(path)
        return fitted(as_picture(volume[..., int(round(height * (volume.shape[-1] - 1)))]), self.image_size)

    def truth(self, row: int) -> dict[str, Any]:
        """All of a row but its target."""
        paths, height, target = self.rows[row]
        facts = {"target_contrast": TARGETS.index(target), "row": row}
        if not self.paired:
            return facts
        others = [name for name in paths if name != target]
        contrast = others[int(np.random.randint(len(others)))]
        source = torch.from_numpy(self.plane(paths[contrast], height))[None]
        return {"source": source, "source_contrast": SOURCES.index(contrast), **facts}

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        paths, height, target = self.rows[row]
        return {"image": torch.from_numpy(self.plane(paths[target], height))[None], **self.truth(row)}


@lru_cache(maxsize=HELD_VOLUMES)
def _levels_of(path: Path) -> np.ndarray:
    return scaled(read_volume(path)[0][0])


def fitted(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Image (h, w) cut or filled up with 0 to `size` about its middle."""
    out = np.zeros(tuple(size), np.float32)
    start = [(given - wanted) // 2 for given, wanted in zip(image.shape, size)]
    source = tuple(slice(max(s, 0), min(s + w, g)) for s, w, g in zip(start, size, image.shape))
    place = tuple(slice(part.start - s, part.stop - s) for part, s in zip(source, start))
    out[place] = image[source]
    return out

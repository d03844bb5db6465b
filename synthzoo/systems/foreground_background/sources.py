"""Sources of captioned images: painted scenes, a folder of photographs in the published layout, chest phantoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.datasets.chest.phantoms import ChestPhantomDataset
from synthzoo.datasets.scenes.folders import Photographs, read_photographs
from synthzoo.datasets.scenes.phantoms import ScenePhantomDataset
from synthzoo.errors import UserError

FORMATS = ("scenes", "photographs", "chest")
CHEST_SPLITS = {"train": "TRAIN", "validation": "VAL", "test": "TEST"}
NO_FINDING = "no acute finding"  # caption of a chest phantom without one, and the prompt of its background


class ChestConcepts(Dataset):
    """Chest phantoms as {"image": float32 (1, S, S), "caption": str, "row": int}; captions name side and finding.

    Args:
        phantoms: with fixed exposures.
        concepts: kinds of findings, in the order of the channels of `mask`.
        count: so many of them, the first ones; None takes all.
    """

    def __init__(self, phantoms: ChestPhantomDataset, concepts: Sequence[str], count: int | None = None) -> None:
        self.phantoms, self.concepts = phantoms, list(concepts)
        self.count = len(phantoms) if count is None else min(int(count), len(phantoms))

    def __len__(self) -> int:
        return self.count

    @property
    def cache_dir(self) -> Path | None:
        """Folder for what is computed from the images, below that of the pool."""
        folder = self.phantoms.cache_dir
        return None if folder is None else folder / f"first-{self.count}"

    def truth(self, row: int) -> dict[str, Any]:
        """What a row says besides its image and mask."""
        found = [f"{one['side'] or ''} {one['kind']}".strip() for one in self.phantoms.record(row)["findings"]]
        return {"caption": " and ".join(found) or NO_FINDING, "row": row}

    def mask(self, row: int) -> torch.Tensor:
        """The pixels of each concept, float32 (K, S, S)."""
        found = self.phantoms.pool.masks(int(self.phantoms.rows[row]))
        empty = np.zeros(self.phantoms[row]["image"].shape[1:], bool)
        return torch.from_numpy(np.stack([found.get(kind, empty) for kind in self.concepts]).astype(np.float32))

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        return {"image": self.phantoms[row]["image"], **self.truth(row)}


def concept_rows(
    data_format: str = "scenes",
    dataset_dir: str | Path = "",
    split: str = "train",
    size: int = 96,
    count: int | None = 4000,
    concepts: Sequence[str] = (),
    caption: str = "",
    fit: str = "crop",
    cache_dir: str | Path | None = None,
    phantom: Mapping[str, Any] | None = None,
) -> Dataset:
    """Rows with "image" (bands, size, size) in [0, 1] and "caption"; `truth(row)` and `mask(row)` without the image.

    Args:
        data_format: one of `FORMATS`.
        dataset_dir: folder of photographs, see `synthzoo.datasets.scenes.folders`; empty for phantoms.
        split: "train", "validation" or "test".
        size: of the grid.
        count: scenes, or radiographs of chest phantoms at most; None takes the source's own number.
        concepts: of chest phantoms, see `ChestConcepts`.
        caption: of photographs that have none of their own.
        fit: of photographs, "crop" or "pad".
        cache_dir: folder for phantoms, and for what is computed from photographs.
        phantom: settings of chest phantoms, such as patients.

    Raises:
        UserError: an unknown format, a folder without its format or a format without its folder; what the readers say.
    """
    if data_format not in FORMATS:
        raise UserError(f"data_format = {data_format!r}: the known ones are {', '.join(FORMATS)}.")
    if split not in CHEST_SPLITS:
        raise UserError(f"split = {split!r}: must be {', '.join(CHEST_SPLITS)}.")
    if (data_format == "photographs") != bool(str(dataset_dir)):
        remedy = (
            "add --data_format photographs to read it" if str(dataset_dir) else "give the folder of the photographs"
        )
        raise UserError(f"dataset_dir is '{dataset_dir}', but data_format is {data_format}: {remedy}.")
    if data_format == "photographs":
        return Photographs(read_photographs(dataset_dir, split, caption), size, fit, cache_dir=cache_dir)
    if data_format == "scenes":
        return ScenePhantomDataset(split, count or 4000, size, cache_dir=cache_dir)
    settings = {"patients": 2000, "studies": 2, "findings": "draw", "cache_dir": cache_dir, **dict(phantom or {})}
    phantoms = ChestPhantomDataset(CHEST_SPLITS[split], exposures="fixed", size=size, **settings)
    return ChestConcepts(phantoms, concepts, count)

"""Garment phantoms as images with classes: drawn once, stored as bytes, and read from then on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.datasets.drawn import drawn_once
from synthzoo.errors import UserError
from synthzoo.phantoms.cache import cache_folder, settings_key
from synthzoo.phantoms.garments.params import CLASSES, FABRICS, SPLITS, draw_params
from synthzoo.phantoms.garments.phantom import VERSION, make_garment

NAMES = {"train": "TRAIN", "validation": "VAL", "test": "TEST"}


class GarmentPhantoms(Dataset):
    """Pictures of garments as {"image": float32 (3, S, S) in [0, 1], "label": int64 (), "row": int}.

    Attributes:
        pixels: uint8 (N, 3, S, S), memory-mapped.
        labels: int64 (N,), places in `classes`.
        classes: `phantoms.garments.params.CLASSES`.
        fabrics: of each picture, a place in `FABRICS`.

    Args:
        count: pictures.
        split: "train", "validation" or "test"; no garment is in two.
        size: side of a picture in pixels.
        first: number of the first garment within the split.
        cache_dir: keeps the pictures; None is `SYNTHZOO_CACHE` or `~/.cache/synthzoo`.

    Raises:
        UserError: an unknown split, a number of pictures or a size out of range.
    """

    classes = CLASSES

    def __init__(
        self,
        count: int = 4000,
        split: str = "train",
        size: int = 64,
        first: int = 0,
        cache_dir: str | Path | None = None,
    ) -> None:
        if split not in NAMES:
            raise UserError(f"split = {split!r}: garment phantoms have the splits {', '.join(NAMES)}.")
        begin, end = SPLITS[NAMES[split]]
        most = end - begin
        if count < 1 or first < 0 or first + count > most:
            raise UserError(f"count = {count}, first = {first}: a split of garment phantoms has 1 to {most} pictures.")
        self.name, self.split = "garment phantoms", split
        self.seeds = range(begin + first, begin + first + count)
        drawn = [draw_params(seed) for seed in self.seeds]
        self.labels = np.array([one.label for one in drawn], dtype=np.int64)
        self.fabrics = np.array([FABRICS.index(one.fabric) for one in drawn], dtype=np.int64)
        key = settings_key(["garments", VERSION, int(size), self.seeds.start, count])
        folder = (Path(cache_dir) if cache_dir else cache_folder()) / f"garments-{size}-{key}"
        self.pixels = drawn_once(folder, self.seeds, lambda seed: make_garment(seed, int(size)).image, "garments")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict:
        if not 0 <= row < len(self.labels):
            raise IndexError(row)
        image = torch.from_numpy(self.pixels[row].astype(np.float32) / 255)
        return {"image": image, "label": torch.tensor(self.labels[row]), "row": row}

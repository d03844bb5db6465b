"""Garment phantoms as images with classes: drawn once, stored as bytes, and read from then on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.errors import UserError
from synthzoo.io.files import write_array
from synthzoo.phantoms.cache import cache_folder, settings_key
from synthzoo.phantoms.garments.params import CLASSES, FABRICS, SPLITS, draw_params
from synthzoo.phantoms.garments.phantom import VERSION, make_garment

PART = 250  # pictures of a file while a set is being drawn; a kill loses at most as many
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
        path = folder / "pixels.npy"
        if not path.is_file():
            self._draw(folder, int(size))
        self.pixels = np.load(path, mmap_mode="r")

    def _draw(self, folder: Path, size: int) -> None:
        """Draw all pictures, part after part; what is there is not drawn again."""
        folder.mkdir(parents=True, exist_ok=True)
        parts = [self.seeds[first : first + PART] for first in range(0, len(self.seeds), PART)]
        files = [folder / f"part{number}.npy" for number in range(len(parts))]
        for file, seeds in tqdm(list(zip(files, parts)), desc="garments", mininterval=5.0):
            if not file.is_file():
                images = np.stack([make_garment(seed, size).image for seed in seeds])
                write_array(file, np.rint(255 * images).astype(np.uint8))
        write_array(folder / "pixels.npy", np.concatenate([np.load(file) for file in files]))
        for file in files:
            file.unlink()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict:
        if not 0 <= row < len(self.labels):
            raise IndexError(row)
        image = torch.from_numpy(self.pixels[row].astype(np.float32) / 255)
        return {"image": image, "label": torch.tensor(self.labels[row]), "row": row}

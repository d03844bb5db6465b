"""Volumes that are prepared once and then read: from a folder, or from memory where there is none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.errors import UserError
from synthzoo.io.files import write_array


def first_seed(splits: Mapping[str, tuple[int, int]], split: str, first: int, size: int) -> int:
    """Seed of the first phantom of a data set: `size` of those of a split, from `first` on.

    Raises:
        UserError: an unknown split, or more phantoms than it has.
    """
    if split not in splits:
        raise UserError(f"split = {split!r}: a phantom data set has the splits {', '.join(splits)}.")
    start, end = splits[split]
    if first + size > end - start:
        raise UserError(f"size = {size}: the split {split} holds {end - start - first} phantoms from {first} on.")
    return start + first


class CachedVolumes(Dataset, ABC):
    """Rows {"image": float32 (1, D, H, W) in [0, 1], and what `facts` says of it}."""

    def __init__(self) -> None:
        self.memory: dict[int, np.ndarray] = {}

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def prepare(self, row: int) -> np.ndarray:
        """The image of one row (D, H, W) in [0, 1], as it is kept in half precision."""

    @abstractmethod
    def cache_path(self, row: int) -> Path | None:
        """The cache file of one row; None where images are kept in memory."""

    @abstractmethod
    def facts(self, row: int) -> dict:
        """A row without its image."""

    def image(self, row: int) -> np.ndarray:
        """The image of one row, float16 (D, H, W), from the cache or prepared now."""
        if row in self.memory:
            return self.memory[row]
        path = self.cache_path(row)
        if path is not None and path.is_file():
            return np.load(path)
        image = self.prepare(row).astype(np.float16)
        if path is None:
            self.memory[row] = image
        else:
            write_array(path, image)
        return image

    def __getitem__(self, row: int) -> dict:
        if not 0 <= row < len(self):
            raise IndexError(row)
        image = torch.from_numpy(self.image(row).astype(np.float32))[None]
        return {"image": image, **self.facts(row)}

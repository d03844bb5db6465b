"""Painted scenes as rows for training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.phantoms.scenes.pool import ScenePool, load_scene_pool
from synthzoo.phantoms.scenes.scene import CLASSES


class ScenePhantomDataset(Dataset):
    """Scenes as {"image": float32 (3, S, S) in [0, 1], "caption": str, "row": int}.

    Args:
        split: "train", "validation" or "test"; no scene is in two.
        scenes: number of them.
        size: S.
        masks: rows have "mask" float32 (4, S, S), the pixels of each of `scene.CLASSES`.
        pool: scenes that are there already.
        cache_dir, progress: see `load_scene_pool`.
    """

    def __init__(
        self,
        split: str = "train",
        scenes: int = 4000,
        size: int = 96,
        masks: bool = False,
        pool: ScenePool | None = None,
        cache_dir: str | Path | None = None,
        progress: Callable[[Iterable], Iterable] | None = None,
    ) -> None:
        self.pool = pool or load_scene_pool(split, scenes, size, cache_dir, progress)
        self.masks = masks

    def __len__(self) -> int:
        return len(self.pool)

    @property
    def cache_dir(self) -> Path:
        """Folder for what is computed from the images, that of the pool."""
        return self.pool.folder

    def truth(self, row: int) -> dict[str, Any]:
        """What a row says besides its image and mask."""
        return {"caption": self.pool.captions[row], "row": row}

    def mask(self, row: int) -> torch.Tensor:
        """The pixels of each class, float32 (4, S, S)."""
        classes = np.arange(1, len(CLASSES) + 1)[:, None, None]
        return torch.from_numpy((self.pool.masks[row][None] == classes).astype(np.float32))

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        item = {"image": torch.from_numpy(self.pool.images[row].astype(np.float32) / 255), **self.truth(row)}
        return {**item, "mask": self.mask(row)} if self.masks else item

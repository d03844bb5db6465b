"""Random heads with brain masks for the brain extractor, drawn again for every row."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.phantoms.brain.head import normalise_head, random_head
from synthzoo.phantoms.brain.pool import load_pool


class RandomHeads(Dataset):
    """Rows {"image": float32 (1, 56, 64, 56) at 4 mm, "brain": occupancy of the same shape}.

    Subject and appearance come from numpy's global generator, which `SeededLoader` seeds for every draw.

    Args:
        length: rows per pass.
        subjects, first_seed, cache_dir: of the pool of anatomies, see `load_pool`.
    """

    def __init__(
        self, length: int = 8000, subjects: int = 125, first_seed: int = 0, cache_dir: str | None = None
    ) -> None:
        self.pool, self.length = load_pool(first_seed, subjects, cache_dir), length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> dict:
        rng = np.random.RandomState(np.random.randint(2**31 - 1))
        maps = np.asarray(self.pool[rng.randint(len(self.pool))])
        maps = maps[:, ::-1] if rng.rand() < 0.5 else maps
        coarse = maps[:, ::3, ::3, ::3].reshape(len(maps), -1)
        voxels = coarse[:, coarse[:5].sum(0) > 100].astype(np.float32) / 255
        image, brain = random_head(maps, voxels, rng)
        return {"image": torch.from_numpy(normalise_head(image))[None], "brain": torch.from_numpy(brain)[None]}

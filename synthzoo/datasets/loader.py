"""Batches for training whose order and augmentation are a pure function of (seed, iteration).

Pass p over a dataset of N rows visits the permutation drawn from (seed, p). Draw number d = iteration * batch_size +
position (over all ranks) seeds every random transform of that row. So a run that is killed at iteration i and started
again sees what it would have seen, with any number of workers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from monai.data.utils import list_data_collate
from monai.transforms import Randomizable
from torch import distributed
from torch.utils.data import DataLoader, Dataset, Sampler

from synthzoo.errors import UserError


def mix_seed(*parts: int) -> int:
    """One 63-bit seed from several integers; nearby integers give unrelated seeds."""
    high, low = np.random.SeedSequence([int(part) & 0xFFFFFFFF for part in parts]).generate_state(2)
    return (int(high) << 31) ^ int(low)


def seed_everything(seed: int) -> None:
    """Seed torch, numpy's and Python's global generators."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


class SeededRows(Dataset):
    """A dataset indexed by (row, draw), where `draw` seeds every random choice in that row.

    Args:
        dataset: any map-style dataset; if its `transform` is a MONAI Randomizable, that is seeded too.
        seed: of the whole run.
    """

    def __init__(self, dataset: Dataset, seed: int = 0) -> None:
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        row, draw = key
        seed = mix_seed(self.seed, draw)
        seed_everything(seed)
        transform = getattr(self.dataset, "transform", None)
        if isinstance(transform, Randomizable):
            transform.set_random_state(seed=seed % 2**32)
        return self.dataset[row]


class SeededBatches(Sampler):
    """Endless lists of (row, draw), from `start` on.

    Args:
        length: rows in the dataset.
        batch_size: rows per batch and per rank.
        seed: of the order.
        rank, world_size: this process's share of each global batch.
        shuffle: False visits the rows in order.
    """

    def __init__(
        self, length: int, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1, shuffle: bool = True
    ) -> None:
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.rank, self.world_size, self.shuffle = rank, world_size, shuffle
        self.start = 0

    def order(self, pass_number: int) -> np.ndarray:
        """The row numbers of one pass over the dataset."""
        if not self.shuffle:
            return np.arange(self.length)
        return np.random.default_rng([self.seed, pass_number]).permutation(self.length)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        iteration, known_pass, order = self.start, -1, None
        while True:
            first = (iteration * self.world_size + self.rank) * self.batch_size
            batch = []
            for draw in range(first, first + self.batch_size):
                pass_number, position = divmod(draw, self.length)
                if pass_number != known_pass:
                    known_pass, order = pass_number, self.order(pass_number)
                batch.append((int(order[position]), draw))
            yield batch
            iteration += 1


class SeededLoader(DataLoader):
    """DataLoader without an end, for `ObjectiveTrainer`, which sets `start` when it resumes.

    Args:
        dataset: map-style; its rows are mappings of tensors.
        batch_size: rows per iteration and per process.
        seed: of order and augmentation.
        shuffle: False visits the rows in order.
        num_workers, kwargs: as in torch's DataLoader.

    Raises:
        UserError: the dataset has no rows.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        seed: int = 0,
        shuffle: bool = True,
        num_workers: int = 0,
        **kwargs: Any,
    ) -> None:
        if len(dataset) == 0:
            raise UserError(
                f"train#dataset ({type(dataset).__name__}): has 0 rows, at least 1 is needed; check --dataset_dir."
            )
        rank, world_size = 0, 1
        if distributed.is_available() and distributed.is_initialized():
            rank, world_size = distributed.get_rank(), distributed.get_world_size()
        batches = SeededBatches(len(dataset), batch_size, seed, rank, world_size, shuffle)
        kwargs.setdefault("collate_fn", list_data_collate)
        super().__init__(SeededRows(dataset, seed), batch_sampler=batches, num_workers=num_workers, **kwargs)

    def __len__(self) -> int:
        """Iterations of one pass over the dataset: the default `epoch_length`."""
        batches = self.batch_sampler
        return max(1, batches.length // (batches.batch_size * batches.world_size))

    def start_at(self, iteration: int) -> None:
        """Begin the next pass at this iteration of the run (0 is the first)."""
        self.batch_sampler.start = iteration

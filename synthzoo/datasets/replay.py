"""Rows that are costly to make, shown more than once: windows of rows, each window passed over several times."""

from __future__ import annotations

from typing import Any

from monai.transforms import Randomizable
from torch.utils.data import Dataset

from synthzoo.datasets.loader import mix_seed, seed_everything


class Replayed(Dataset):
    """A dataset whose rows come in windows, each window `times` times in a row.

    Row i is row c * window + (i mod window) of the inner dataset, c = i // (window * times). Its chance comes from the
    seed and that number alone, so a run that is resumed within a window makes the same rows again. Use with an
    unshuffled `SeededLoader` and without workers.

    Args:
        dataset: map-style, with a `transform`; its rows are mappings and are not changed by who reads them.
        window: rows kept in memory, a multiple of the batch size (for slices along three axes of three times that).
        times: how often each row is shown.
        seed: of the rows.
    """

    def __init__(self, dataset: Dataset, window: int, times: int = 2, seed: int = 0) -> None:
        self.dataset, self.window, self.times, self.seed = dataset, int(window), int(times), int(seed)
        self.cycle, self.cached = -1, {}

    def __len__(self) -> int:
        return len(self.dataset) * self.times

    def __getitem__(self, row: int) -> Any:
        cycle = row // (self.window * self.times)
        inner = cycle * self.window + row % self.window
        if cycle != self.cycle:
            self.cycle, self.cached = cycle, {}
        if inner not in self.cached:
            seed = mix_seed(self.seed, inner)
            seed_everything(seed)
            transform = getattr(self.dataset, "transform", None)
            if isinstance(transform, Randomizable):
                transform.set_random_state(seed=seed % 2**32)
            self.cached[inner] = self.dataset[inner % len(self.dataset)]
        return dict(self.cached[inner])

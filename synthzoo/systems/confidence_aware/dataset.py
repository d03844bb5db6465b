"""Healthy radiographs for planting anomalies: phantoms, or those of a data set of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.datasets.chest.phantoms import ChestPhantomDataset
from synthzoo.datasets.chest.sources import READERS, ChestRadiographs, read_chest
from synthzoo.datasets.loader import mix_seed, seed_everything
from synthzoo.errors import UserError

NO_FINDING = "No Finding"
PHANTOM = "phantom"


def healthy_radiographs(
    data_format: str, dataset_dir: str, split: str, size: int, phantom: Mapping[str, Any] | None = None
) -> Dataset:
    """Radiographs without findings as {"image": float32 (1, size, size) in [0, 1], ...}.

    Args:
        data_format: "phantom", or a layout of `synthzoo.datasets.chest.sources`.
        dataset_dir: empty for phantoms.
        split: "train", "validation" or "test".
        size: of the grid.
        phantom: arguments of `ChestPhantomDataset` besides split, size and findings.

    Raises:
        UserError: an unknown format, a format without its folder or a folder without its format, a data set without
            radiographs that are marked as healthy.
    """
    if data_format == PHANTOM:
        if dataset_dir:
            raise UserError(
                f"dataset_dir is {dataset_dir}, but data_format is phantom: say --data_format {', '.join(READERS)}."
            )
        name = {"train": "TRAIN", "validation": "VAL", "test": "TEST"}[split]
        return ChestPhantomDataset(name, size=size, findings="none", **(phantom or {}))
    if data_format not in READERS:
        known = ", ".join((PHANTOM, *READERS))
        raise UserError(f"data_format = {data_format!r}: the known ones are {known}.")
    rows = [row for row in read_chest(dataset_dir, data_format, split) if is_healthy(row["labels"])]
    if len(rows) < 2:
        raise UserError(
            f"dataset_dir {dataset_dir} has {len(rows)} {split} radiographs without a finding, and 2 are the least: "
            "anomalies are planted into healthy ones."
        )
    return ChestRadiographs(rows, size)


def is_healthy(labels: Mapping[str, float]) -> bool:
    """Whether labels say that nothing was found, and leave nothing uncertain."""
    found = [value for name, value in labels.items() if name != NO_FINDING]
    return labels.get(NO_FINDING, 1.0) == 1.0 and all(value == 0.0 for value in found)


class HealthyPairs(Dataset):
    """Healthy images, each with a function that gives another one: {"image", "seen", "source"}.

    "image" is float32 (1, S, S) in [0, 1] after the preprocessing, "seen" bool (1, S, S), where the image is not black,
    "source" a function of a numpy random state that gives one of `sources` fixed images of the same kind. A transform
    takes "source" out, see `tasks.RandPatchAnomalyd`.

    Args:
        images: rows with an "image".
        preprocessing: of a row, as the bundle has it at inference after the file is read.
        sources: images from which patches come; they are made once.
        seed: of the sources.
        transform: of the rows.
        length: rows a pass; None is one for each image.
    """

    def __init__(
        self,
        images: Dataset,
        preprocessing: Callable[[dict], dict],
        sources: int = 256,
        seed: int = 0,
        transform: Callable[[dict], dict] | None = None,
        length: int | None = None,
    ) -> None:
        self.images, self.preprocessing, self.transform = images, preprocessing, transform
        self.sources, self.seed, self.length = int(sources), int(seed), length
        self._bank: Sequence[np.ndarray] = ()

    def __len__(self) -> int:
        return len(self.images) if self.length is None else self.length

    def prepared(self, row: int) -> torch.Tensor:
        """Image (1, S, S) of a row, preprocessed."""
        image = self.images[row % len(self.images)]["image"]
        return torch.as_tensor(self.preprocessing({"image": image})["image"]).as_subclass(torch.Tensor).float()

    def source(self, chance: np.random.RandomState) -> np.ndarray:
        """One of the fixed images, (1, S, S)."""
        if not len(self._bank):
            # A row's own seed is spent on them otherwise, and a resumed run would draw other anomalies.
            state, known = torch.get_rng_state(), np.random.get_state()
            images = []
            for number in range(min(self.sources, len(self.images))):
                seed_everything(mix_seed(self.seed, 0x50, number))
                images.append(self.prepared(np.random.randint(len(self.images))).numpy())
            torch.set_rng_state(state)
            np.random.set_state(known)
            self._bank = images
        return self._bank[chance.randint(len(self._bank))]

    def __getitem__(self, row: int) -> dict:
        if not 0 <= row < len(self):
            raise IndexError(row)
        image = self.prepared(row)
        item: dict[str, Any] = {"image": image, "seen": image > 0, "source": self.source}
        return item if self.transform is None else self.transform(item)

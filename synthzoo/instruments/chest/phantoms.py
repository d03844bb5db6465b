"""Chest phantoms for making and testing the instruments.

Studies of TRAIN patients train, those of VAL patients set scores right, those of TEST patients say how large the errors
are. The patients begin at number 90000 of each split, far beyond those of any bundle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Dataset

from synthzoo.datasets.chest.phantoms import ChestPhantomDataset
from synthzoo.phantoms.chest.pool import PoolSettings, load_pool

SIZE, STUDIES = 128, 3
FIRST, PATIENTS = 90_000, 100  # number of the first patient within each split, and patients of a pool
POOLS = 2


def instrument_sets(
    split: str, cache: str | Path | None = None, exposures: str = "fixed", pools: int = POOLS
) -> list[ChestPhantomDataset]:
    """The instruments' studies of one split, a set a pool, with masks.

    Args:
        split: "TRAIN", "VAL" or "TEST".
        cache: folder of the pools; None is that of all phantoms.
        exposures: "fresh" or "fixed".
        pools: how many, 100 patients each over all splits.
    """
    settings = PoolSettings(studies=STUDIES, size=SIZE)
    found = []
    for number in range(pools):
        pool = load_pool(settings, cache, patients=PATIENTS, first=FIRST + PATIENTS * number)
        found.append(ChestPhantomDataset(split, pool, exposures, masks=True))
    return found


def instrument_cases(split: str, cache: str | Path | None = None) -> dict[str, np.ndarray]:
    """All studies of a split, an exposure each: "image" (N, S, S), "mask" of lungs and heart, bool (N, 2, S, S), "ctr"
    and "patient" (N,)."""
    rows = [row for part in instrument_sets(split, cache) for row in (part[n] for n in range(len(part)))]
    found = {"ctr": np.array([float(row["ctr"]) for row in rows])}
    found["image"] = np.stack([row["image"][0].numpy() for row in rows])
    found["mask"] = np.stack([row["mask"][:2].numpy() > 0 for row in rows])
    found["patient"] = np.array([row["patient"] for row in rows])
    return found


class InstrumentRadiographs(Dataset):
    """Rows {"image": float32 (1, 128, 128), "mask": float32 (2, 128, 128)} of TRAIN patients, exposed afresh.

    Args:
        cache: folder of the pools.
    """

    def __init__(self, cache: str | Path | None = None) -> None:
        self.rows = ConcatDataset(instrument_sets("TRAIN", cache, "fresh"))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        item = self.rows[row]
        return {"image": item["image"], "mask": item["mask"][:2]}


class PatientPairs(Dataset):
    """Rows {"image": float32 (2, 128, 128)}: two different studies of one TRAIN patient, exposed afresh.

    Args:
        cache: folder of the pools.
    """

    def __init__(self, cache: str | Path | None = None) -> None:
        self.sets = instrument_sets("TRAIN", cache, "fresh")
        self.patients: list[tuple[int, list[int]]] = []
        for number, part in enumerate(self.sets):
            of: dict[int, list[int]] = {}
            for row in range(len(part)):
                of.setdefault(part.record(row)["patient"], []).append(row)
            self.patients += [(number, rows) for rows in of.values()]

    def __len__(self) -> int:
        return len(self.patients)

    def __getitem__(self, row: int) -> dict[str, Any]:
        number, rows = self.patients[row]
        chosen = np.random.choice(rows, 2, replace=False)  # the loader has seeded numpy for this draw
        return {"image": torch.cat([self.sets[number][int(study)]["image"] for study in chosen])}

"""Chest phantoms for making and testing the instruments: one pool of their own patients.

Studies of TRAIN patients train, those of VAL patients set scores right, those of TEST patients say how large the errors
are. The patients begin at number 90000 of each split, far beyond those of any bundle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.datasets.chest.phantoms import ChestPhantomDataset
from synthzoo.phantoms.chest.pool import load_pool

SIZE, STUDIES = 128, 2
FIRST, PATIENTS = 90_000, 544  # number of the first patient within each split, and patients over all splits


def instrument_set(
    split: str, cache: str | Path | None = None, exposures: str = "fixed", masks: bool = True
) -> ChestPhantomDataset:
    """The instruments' studies of one split.

    Args:
        split: "TRAIN", "VAL" or "TEST".
        cache: folder of the pool; None is that of all phantoms.
        exposures: "fresh" or "fixed".
        masks: rows have masks.
    """
    pool = load_pool(None, cache, patients=PATIENTS, studies=STUDIES, size=SIZE, first=FIRST)
    return ChestPhantomDataset(split, pool, exposures, masks=masks)


def instrument_cases(split: str, cache: str | Path | None = None) -> dict[str, np.ndarray]:
    """All studies of a split, an exposure each: "image" float32 (N, S, S), "mask" bool (N, 2 + K, S, S) of lungs, heart
    and the K kinds of findings, "labels" (N, K), "severity" (N, K), "ctr" and "patient" (N,)."""
    rows = instrument_set(split, cache)
    kept: dict[str, list] = {name: [] for name in ("image", "mask", "labels", "severity", "ctr", "patient")}
    for row in (rows[number] for number in range(len(rows))):
        kept["image"].append(row["image"][0].numpy())
        kept["mask"].append(row["mask"].numpy() > 0)
        kept["patient"].append(row["patient"])
        for name in ("labels", "severity", "ctr"):
            kept[name].append(row[name].double().numpy())
    return {name: np.stack(values) for name, values in kept.items()}


class InstrumentRadiographs(Dataset):
    """Rows {"image": float32 (1, 128, 128), "mask": float32 (2 + K, 128, 128)} of TRAIN patients, exposed afresh.

    Args:
        cache: folder of the pool.
    """

    def __init__(self, cache: str | Path | None = None) -> None:
        self.rows = instrument_set("TRAIN", cache, "fresh")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        item = self.rows[row]
        return {"image": item["image"], "mask": item["mask"]}


class PatientPairs(Dataset):
    """Rows {"image": float32 (2, 128, 128)}: two different studies of one TRAIN patient, exposed afresh.

    Args:
        cache: folder of the pool.
    """

    def __init__(self, cache: str | Path | None = None) -> None:
        self.rows = instrument_set("TRAIN", cache, "fresh", masks=False)
        of: dict[int, list[int]] = {}
        for row in range(len(self.rows)):
            of.setdefault(self.rows.record(row)["patient"], []).append(row)
        self.patients = list(of.values())

    def __len__(self) -> int:
        return len(self.patients)

    def __getitem__(self, row: int) -> dict[str, Any]:
        chosen = np.random.choice(self.patients[row], 2, replace=False)  # the loader has seeded numpy for this draw
        return {"image": torch.cat([self.rows[int(study)]["image"] for study in chosen])}

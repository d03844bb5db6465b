"""Chest phantoms as rows for training and evaluation: a pool of line integrals, exposed again when a row is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.errors import UserError
from synthzoo.phantoms.chest.added import AddedSettings
from synthzoo.phantoms.chest.findings import KINDS
from synthzoo.phantoms.chest.pool import ChestPool, PoolSettings, load_pool
from synthzoo.phantoms.chest.truth import GRADES

EXPOSURES = ("fresh", "fixed")


class ChestPhantomDataset(Dataset):
    """Radiographs as {"image": float32 (1, S, S) in [0, 1], "labels": float32 (K,), "report": str, ...}.

    A row also has, for the K kinds of `findings.KINDS` in their order, "severity" float32 (K,) (0 absent, 1 small,
    2 moderate, 3 large, a device 1), "boxes" float32 (K, 4) of x, y, w, h in pixels and "phrases" (K strings), both
    empty where a kind is absent; "ctr", "heart_ml" and "volume_ml" (K,) float32; "patient", "study", "row" (int).
    With `masks` it has "mask" float32 (2 + K, S, S): lungs, heart, then each kind.

    Args:
        split: "TRAIN", "VAL" or "TEST"; patients of one are in no other.
        pool: a pool that is there already; else the keywords make or open one.
        exposures: "fresh" draws an exposure whenever a row is read, from numpy's global generator, which `SeededLoader`
            seeds for every draw; "fixed" gives each row one exposure, its own.
        style: of the exposure: "plain", "clinic" or "random".
        copies: rows for each study, with "fixed" an exposure each.
        masks: rows have masks.
        transform: applied to each row.
        added: settings of nodules and consolidations that are added to the TRAIN studies, such as {"copies": 4}, see
            `added.AddedSettings`; None adds none.
        cache_dir, processes, progress: see `pool.load_pool`.
        settings: fields of `PoolSettings`: patients, studies, size, findings, first, view, spread, pose_spread.

    Raises:
        UserError: an unknown name, or a split without patients.
    """

    def __init__(
        self,
        split: str = "TRAIN",
        pool: ChestPool | None = None,
        exposures: str = "fresh",
        style: str = "clinic",
        copies: int = 1,
        masks: bool = False,
        transform: Callable | None = None,
        added: Mapping[str, Any] | None = None,
        cache_dir: str | Path | None = None,
        processes: int = 1,
        progress: Callable | None = None,
        **settings: Any,
    ) -> None:
        if exposures not in EXPOSURES:
            raise UserError(f"exposures = {exposures!r}: a set of chest phantoms takes {' or '.join(EXPOSURES)}.")
        kind = PoolSettings() if added is None else AddedSettings()
        self.pool = pool or load_pool(kind, cache_dir, processes, progress, **settings, **dict(added or {}))
        self.rows, self.split, self.copies = np.repeat(self.pool.indices(split), copies), split, int(copies)
        if not len(self.rows):
            raise UserError(
                f"split = {split}: a pool of {self.pool.settings.patients} patients has none of them there."
            )
        self.exposures, self.style, self.masks, self.transform = exposures, style, masks, transform

    def __len__(self) -> int:
        return len(self.rows)

    def record(self, row: int) -> dict:
        """The truth of a row, see `ChestPool.records`."""
        return self.pool.records[self.rows[row]]

    def truth(self, row: int) -> dict:
        """What a row says besides its image and masks; nothing is exposed for it."""
        record = self.record(row)
        who = {"patient": record["patient"], "study": record["study"], "row": int(self.rows[row])}
        return _truth(record) | who

    @property
    def cache_dir(self) -> Path | None:
        """Folder for what is computed from the images, beside the pool; None where exposures are fresh."""
        if self.exposures == "fresh":
            return None
        return self.pool.folder / f"{self.split.lower()}-{self.style}-{self.copies}"

    def __getitem__(self, row: int) -> dict:
        if not 0 <= row < len(self):
            raise IndexError(row)
        number = int(self.rows[row])
        seed = row if self.exposures == "fixed" else int(np.random.randint(2**31 - 1))
        image = self.pool.expose(number, seed, self.style)
        item = {"image": torch.from_numpy(image[None])} | self.truth(row)
        if self.masks:
            found = self.pool.masks(number)
            empty = np.zeros(image.shape, bool)
            stacked = [found.get(name, empty) for name in ("lungs", "heart", *KINDS)]
            item["mask"] = torch.from_numpy(np.stack(stacked).astype(np.float32))
        return item if self.transform is None else self.transform(item)


def _truth(record: dict) -> dict:
    severity, boxes, volumes = torch.zeros(len(KINDS)), torch.zeros(len(KINDS), 4), torch.zeros(len(KINDS))
    phrases = [""] * len(KINDS)
    for found in record["findings"]:
        kind = KINDS.index(found["kind"])
        severity[kind] = 1 + GRADES.index(found["severity"]) if found["severity"] else 1
        boxes[kind] = torch.tensor(found["box"], dtype=torch.float32)
        volumes[kind] = found["volume_ml"] or 0
        phrases[kind] = found["phrase"]
    return {
        "labels": (severity > 0).float(),
        "severity": severity,
        "boxes": boxes,
        "volume_ml": volumes,
        "phrases": phrases,
        "report": record["report"],
        "ctr": torch.tensor(record["ctr"], dtype=torch.float32),
        "heart_ml": torch.tensor(record["heart_ml"], dtype=torch.float32),
    }

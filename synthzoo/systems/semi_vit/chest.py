"""Chest phantoms with one finding or none, as images of classes: radiographs, and CT of the same findings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synthzoo.datasets.chest.ct import ChestCTDataset
from synthzoo.datasets.drawn import drawn_once
from synthzoo.errors import UserError
from synthzoo.phantoms.cache import cache_folder, settings_key
from synthzoo.phantoms.chest.measured import FINDING_ML, MEASURES, VERSION
from synthzoo.phantoms.chest.phantom import chest_study

HEALTHY = "no finding"
# Nodules are left out: one is smaller than a patch.
CHEST_CLASSES = (HEALTHY, "consolidation", "effusion", "pneumothorax", "cardiomegaly")
CT_CLASSES = (HEALTHY, "consolidation", "effusion", "pneumothorax")
PATIENTS = {"train": 0, "validation": 300_000, "test": 600_000}  # first of each split; no patient is in two
CT_MM = 384.0  # longest side of a CT's field
PICTURES = 1  # version of the pictures
MOST = 90_000


def chest_radiographs(
    count: int, split: str, size: int = 128, cache_dir: str | Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Radiographs uint8 (N, 1, S, S), a patient each, and their classes int64 (N,), equally many of each.

    Args:
        count: N.
        split: "train", "validation" or "test".
        size: S.
        cache_dir: keeps them; None is `SYNTHZOO_CACHE` or `~/.cache/synthzoo`.

    Raises:
        UserError: another split, or a number out of range.
    """
    first, labels = _first(count, split), np.arange(count) % len(CHEST_CLASSES)

    def draw(seed: int) -> np.ndarray:
        kind = CHEST_CLASSES[labels[seed - first]]
        return chest_study(seed, findings=[] if kind == HEALTHY else [kind], size=size).image[None]

    key = settings_key(["chest classes", PICTURES, int(size), first, count])
    folder = (Path(cache_dir) if cache_dir else cache_folder()) / f"chest-classes-{size}-{key}"
    return drawn_once(folder, range(first, first + count), draw, "radiographs"), labels


def chest_cts(
    count: int, split: str, size: int = 48, cache_dir: str | Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """CT uint8 (N, 1, X, Y, Z) of -1000 to 1000 HU, a patient each, and their classes int64 (N,).

    A finding is on one side and has the volumes that `ChestCTDataset` draws.

    Args:
        count: N.
        split: "train", "validation" or "test".
        size: voxels along x and y, the longest axes; 48 are 8 mm and 48 x 48 x 40.
        cache_dir: see `chest_radiographs`.

    Raises:
        UserError: another split, or a number or size out of range.
    """
    first, labels = _first(count, split), np.arange(count) % len(CT_CLASSES)
    requests = np.zeros((count, len(MEASURES)))
    requests[:, 0] = np.nan  # the lungs are as large as they are
    for row, label in enumerate(labels):
        rng = np.random.default_rng([613, first + row])
        if label:
            kind = CT_CLASSES[label]
            side = str(rng.choice(("left", "right")))
            requests[row, MEASURES.index(f"{kind}_{side}_ml")] = rng.uniform(*FINDING_ML[kind])
    rows = ChestCTDataset(count, CT_MM / size, split, independent=0.0, requests=requests)
    key = settings_key(["chest ct classes", VERSION, PICTURES, int(size), first, count])
    folder = (Path(cache_dir) if cache_dir else cache_folder()) / f"chest-ct-classes-{size}-{key}"
    return drawn_once(folder, range(count), lambda row: rows.prepare(row)[None], "CT"), labels


def _first(count: int, split: str) -> int:
    """Number of a split's first patient."""
    if split not in PATIENTS:
        raise UserError(f"split = {split!r}: chest phantoms with classes have {', '.join(PATIENTS)}.")
    if not 1 <= count <= MOST:
        raise UserError(f"count = {count}: a split of chest phantoms with classes has 1 to {MOST}.")
    return PATIENTS[split]

"""Label volumes of lesioned brain phantoms as rows: with their volumes in mL, or in patches painted as a scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.datasets.brain.label_slices import TRAINED_ON, check_contrasts
from synthzoo.errors import UserError
from synthzoo.phantoms.brain.label_maps import CLASSES
from synthzoo.phantoms.brain.label_pool import MEASURED, as_picture
from synthzoo.phantoms.brain.label_volumes import LabelVolume, LabelVolumePool, as_shares
from synthzoo.phantoms.brain.painting import CONTRASTS, Scan, draw_scan, paint_maps
from synthzoo.phantoms.brain.pool import GRID

ROWS_OF = [CLASSES.index(name.removesuffix("_ml")) - 1 for name in MEASURED]  # in `LabelVolume.ml`


class LabelVolumes(Dataset):
    """Rows {"labels": float32 (K, *size) of sum 1, "conditions": float32 (6,), "row"} of a pool of volumes.

    Conditions are those of `MEASURED`, mL of the whole brain. The first axis runs from left to right; rows of the
    second half of a mirrored set are those of the first half with their sides exchanged.

    Args:
        subjects, split, cache_dir: of the pool, see `synthzoo.phantoms.brain.label_volumes`.
        patch: voxels (X, Y, Z) of a patch, drawn for every row from numpy's generator, which `SeededLoader`
            seeds; None takes the whole volume.
        lesioned: share of the patches that a lesion lies in the middle of, each kind of the subject as often.
        mirror: True makes each subject two rows.

    Raises:
        UserError: a patch larger than the grid.
    """

    def __init__(
        self,
        subjects: int = 320,
        split: str = "train",
        cache_dir: str | Path | None = None,
        patch: Sequence[int] | None = None,
        lesioned: float = 0.6,
        mirror: bool = True,
    ) -> None:
        self.patch = None if patch is None else tuple(int(n) for n in patch)
        if self.patch and (len(self.patch) != len(GRID) or any(not 1 <= n <= m for n, m in zip(self.patch, GRID))):
            raise UserError(f"patch = {list(self.patch)}: give three numbers of voxels of at most {list(GRID)}.")
        self.pool = LabelVolumePool(split, subjects, cache_dir, lambda it: tqdm(it, desc="label volumes"))
        self.cache_dir = None if self.patch else self.pool.folder / f"rows-{split}-{subjects}{'-mirrored' * mirror}"
        self.lesioned, self.mirror = float(lesioned), bool(mirror)

    def __len__(self) -> int:
        return len(self.pool) * (1 + self.mirror)

    def subject(self, row: int) -> LabelVolume:
        """The subject of a row."""
        return self.pool[row % len(self.pool)]

    def turned(self, row: int, volume: np.ndarray) -> np.ndarray:
        """Part of a volume (..., X, Y, Z), its sides exchanged where the row says so."""
        return volume[..., ::-1, :, :] if row >= len(self.pool) else volume

    def truth(self, row: int) -> dict[str, Any]:
        """The conditions of a row, and its number."""
        return {"conditions": torch.tensor(self.subject(row).ml[ROWS_OF], dtype=torch.float32), "row": row}

    def window(self, subject: LabelVolume, rng: np.random.Generator) -> tuple[slice, ...]:
        """Where a patch of the subject lies."""
        if self.patch is None:
            return tuple(slice(0, n) for n in GRID)
        there = np.flatnonzero(subject.places[:, 0, 0] >= 0)
        if len(there) and rng.random() < self.lesioned:
            places = subject.places[rng.choice(there)]
            middle = places[rng.integers(len(places))] + rng.integers(-6, 7, 3)
        else:
            middle = np.array([rng.uniform(0.15, 0.85) * n for n in GRID])
        start = [int(np.clip(m - n // 2, 0, whole - n)) for m, n, whole in zip(middle, self.patch, GRID)]
        return tuple(slice(a, a + n) for a, n in zip(start, self.patch))

    def labels(self, row: int, rng: np.random.Generator) -> np.ndarray:
        """Label maps float32 (K, *size) of a row, the whole or a patch."""
        subject = self.subject(row)
        return as_shares(self.turned(row, subject.maps[(slice(None), *self.window(subject, rng))]))

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        rng = np.random.default_rng(int(np.random.randint(2**31)) if self.patch else row)
        return {"labels": torch.from_numpy(np.ascontiguousarray(self.labels(row, rng))), **self.truth(row)}


class PaintedVolumes(LabelVolumes):
    """Rows {"labels", "image", "style", "other_style", "contrast", "row"}: a patch, and two axial slices for style.

    All have the intensities of one scan, and noise and field of their own: "image" float32 (1, *size), the styles
    (1, H, W) with the front of the head above, in [0, 1]; "contrast" is its number in `CONTRASTS`.

    Args:
        contrasts: that are drawn, see `synthzoo.phantoms.brain.painting.CONTRASTS`.
        fixed: paint a row the same each time.
        pool: see `LabelVolumes`.

    Raises:
        UserError: an unknown contrast.
    """

    def __init__(self, contrasts: Sequence[str] = TRAINED_ON, fixed: bool = False, **pool: Any) -> None:
        super().__init__(**pool)
        self.contrasts, self.fixed = check_contrasts(contrasts), fixed

    def style(self, row: int, scan: Scan, rng: np.random.Generator) -> torch.Tensor:
        """An axial slice of a row's subject as a scan shows it, float32 (1, H, W) in [0, 1]."""
        return torch.from_numpy(paint_maps(axial_slice(self.subject(row), rng), scan, rng).clip(0, 1))[None]

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        rng = np.random.default_rng([78, row] if self.fixed else int(np.random.randint(2**31)))
        contrast = self.contrasts[int(rng.integers(len(self.contrasts)))]
        scan = draw_scan(contrast, rng, self.subject(row).age)
        labels = np.ascontiguousarray(self.labels(row, rng))
        image = paint_maps(labels, scan, rng, cells=2 if self.patch else 4).clip(0, 1)
        return {
            "labels": torch.from_numpy(labels),
            "image": torch.from_numpy(image)[None],
            "style": self.style(row, scan, rng),
            "other_style": self.style(row, scan, rng),
            "contrast": CONTRASTS.index(contrast),
            "row": row,
        }


def axial_slice(subject: LabelVolume, rng: np.random.Generator) -> np.ndarray:
    """Label maps float32 (len(CLASSES), H, W) of an axial slice at a height drawn within those of a pool of slices."""
    level = int(rng.integers(subject.levels[0], subject.levels[1] + 1))
    return as_picture(as_shares(subject.maps[..., level]))

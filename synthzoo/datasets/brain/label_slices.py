"""Label slices of lesioned brain phantoms as rows: with their conditions, and painted with slices for the style."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.errors import UserError
from synthzoo.phantoms.brain.label_pool import MEASURED, load_label_pool, slice_volumes
from synthzoo.phantoms.brain.painting import CONTRASTS, Scan, draw_scan, paint_maps

CONDITIONS = (*MEASURED, "slice_height")  # mL of the slice, and where it lies, 0 to 1
TRAINED_ON = ("T1w", "T1Gd", "T2w", "FLAIR", "random")


class LabelSlices(Dataset):
    """Rows {"labels": float32 (K, h, w) of sum 1, "conditions": float32 (7,), "row"} of a pool.

    Conditions are those of `CONDITIONS` in user units. A slice is mirrored at random if `mirror` says so; so are its
    lesions, whose volumes stay.

    Args:
        subjects, slices, split, cache_dir: of the pool, see `synthzoo.phantoms.brain.label_pool`.
        mirror: draw the side at random from torch's generator, which `SeededLoader` seeds.
    """

    def __init__(
        self,
        subjects: int = 300,
        slices: int = 16,
        split: str = "train",
        cache_dir: str | Path | None = None,
        mirror: bool = True,
    ) -> None:
        self.pool = load_label_pool(split, subjects, slices, cache_dir, lambda it: tqdm(it, desc="label slices"))
        self.mirror = mirror

    def __len__(self) -> int:
        return len(self.pool)

    def truth(self, row: int) -> dict[str, Any]:
        """The conditions of a row, and its number."""
        known = [*slice_volumes(self.pool.slice(row)), float(self.pool.heights[row])]
        return {"conditions": torch.tensor(known, dtype=torch.float32), "row": row}

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        labels = self.pool.slice(row)
        if self.mirror and float(torch.rand(())) < 0.5:
            labels = np.ascontiguousarray(labels[..., ::-1])
        return {"labels": torch.from_numpy(labels), **self.truth(row)}


class PaintedSlices(LabelSlices):
    """Rows {"labels", "image", "style", "other_style", "contrast", "row"}: a slice and two others of the same scan.

    Images are float32 (1, h, w) in [0, 1]; "contrast" is its number in `CONTRASTS`. All three have the intensities of
    one scan, and noise and field of their own. Chance comes from numpy's generator, which `SeededLoader` seeds, or
    from the row alone where `fixed`.

    Args:
        contrasts: that are drawn, see `synthzoo.phantoms.brain.painting.CONTRASTS`.
        fixed: paint a row the same each time.
        pool: see `LabelSlices`.

    Raises:
        UserError: an unknown contrast.
    """

    def __init__(self, contrasts: Sequence[str] = TRAINED_ON, fixed: bool = False, **pool: Any) -> None:
        self.contrasts, self.fixed = check_contrasts(contrasts), fixed
        super().__init__(**{"mirror": not fixed, **pool})

    def paint(self, row: int, scan: Scan, rng: np.random.Generator) -> torch.Tensor:
        """One slice of the pool as a scan shows it, float32 (1, h, w) in [0, 1]."""
        return torch.from_numpy(paint_maps(self.pool.slice(row), scan, rng).clip(0, 1))[None]

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        rng = np.random.default_rng([77, row] if self.fixed else int(np.random.randint(2**31)))
        contrast = self.contrasts[int(rng.integers(len(self.contrasts)))]
        scan = draw_scan(contrast, rng, float(self.pool.ages[row]))
        style, other = rng.choice(self.pool.siblings(row), 2, replace=False)
        labels, image = torch.from_numpy(self.pool.slice(row)), self.paint(row, scan, rng)
        if self.mirror and rng.random() < 0.5:
            labels, image = labels.flip(-1), image.flip(-1)
        return {
            "labels": labels,
            "image": image,
            "style": self.paint(int(style), scan, rng),
            "other_style": self.paint(int(other), scan, rng),
            "contrast": CONTRASTS.index(contrast),
            "row": row,
        }


def check_contrasts(contrasts: Sequence[str]) -> list[str]:
    """The contrasts, all of which are in `CONTRASTS`.

    Raises:
        UserError: one is not, or there is none.
    """
    if not contrasts or any(name not in CONTRASTS for name in contrasts):
        raise UserError(f"contrasts = {list(contrasts)}: the known ones are {', '.join(CONTRASTS)}.")
    return list(contrasts)

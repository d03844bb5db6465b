"""Slices of sick brain phantoms with their labels, painted again for every row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.phantoms.brain.pathology.pool import cut, fill_pool, open_pool, slice_numbers
from synthzoo.phantoms.brain.pathology.scans import sick_slice

AXES = (2, 0, 2, 1)  # axial slices twice as often: most scans are sharpest in them
SICK_SHARE = 0.75  # of the rows of a sick subject that show a lesion
LARGE_ML = 40.0
THICK_SHARE, MOST_SLICES = 0.2, 3  # of rows that are a mean of up to so many slices, as thick ones are


class SickSlices(Dataset):
    """Slices of sick phantoms at 2 mm along the three axes, in a look of their own.

    Row i is cut across the axis (i // rows_per_axis) of `axes`, in turn, so that a batch of `rows_per_axis` rows
    has one shape; subject, slice and look come from numpy's global generator, which `SeededLoader` seeds for every
    draw.

    A row is {"image": float32 (2, h, w), "label": uint8 (1, h, w) by `scans.LABELS`, "axis"}; the image's channels are
    z-scores and 0.5 + the share of the brain that is darker, both exactly 0 outside what the scan shows.

    Args:
        length: rows per pass.
        rows_per_axis: the batch size.
        subjects, first_seed, cache_dir: of the pool, see `fill_pool`; those that are absent are made first.
        fill: False takes those that are there.
        kind: contrast; None draws it for every row.
        small_share: how often a subject with less than `LARGE_ML` is taken when it was drawn.
        axes: across which slices are cut, 0 sagittal, 1 coronal, 2 axial.
    """

    def __init__(
        self,
        length: int = 64000,
        rows_per_axis: int = 16,
        subjects: int = 300,
        first_seed: int = 0,
        cache_dir: str | None = None,
        fill: bool = True,
        kind: str | None = None,
        small_share: float = 0.7,
        axes: Sequence[int] = AXES,
    ) -> None:
        if fill:
            fill_pool(first_seed, subjects, cache_dir, progress=lambda seeds: tqdm(seeds, desc="sick brains at 2 mm"))
        self.subjects = open_pool(first_seed, subjects, cache_dir)
        self.length, self.rows_per_axis, self.kind, self.small_share = length, rows_per_axis, kind, small_share
        self.axes = tuple(axes)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> dict:
        rng = np.random.RandomState(np.random.randint(2**31 - 1))
        axis = self.axes[row // self.rows_per_axis % len(self.axes)]
        while True:
            subject = self.subjects[rng.randint(len(self.subjects))]
            if sum(subject.ml.values()) > LARGE_ML or rng.rand() < self.small_share:
                break
        brains, sick = slice_numbers(subject, axis)
        among = sick if len(sick) and rng.rand() < SICK_SHARE else brains
        area = np.sqrt(subject.brain[axis][among])  # a large slice has more to learn from
        index = int(rng.choice(among, p=area / area.sum()))
        maps = cut(subject, axis, index, rng.randint(2, MOST_SLICES + 1) if rng.rand() < THICK_SHARE else 1)
        if axis > 0 and rng.rand() < 0.5:
            maps = maps[:, ::-1]
        scan = sick_slice(maps, subject.voxels, rng, self.kind, upright=axis > 0)
        return {
            "image": torch.from_numpy(as_channels(scan.image, scan.rank, scan.mask)),
            "label": torch.from_numpy(scan.labels[None]),
            "axis": axis,
        }


def as_channels(image: np.ndarray, rank: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Image and rank (...) as channels of a network, float32 (2, ...), exactly 0 outside the mask."""
    return np.stack([image * mask, (rank + 0.5) * mask]).astype(np.float32)

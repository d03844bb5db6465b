"""Healthy brain slices for the anomaly tasks, drawn again for every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch.utils.data import Dataset

from synthzoo.phantoms.brain.pool import load_pool
from synthzoo.phantoms.brain.slices import draw_contrast, healthy_slice
from synthzoo.phantoms.textures import foreign_image

SAMPLED_VOXELS = 1500


class HealthySlices(Dataset):
    """Slices of healthy phantoms at 2 mm along the three axes, in a contrast of their own.

    Row i is cut across the axis (i // rows_per_axis) of `axes`, in turn, so that a batch of `rows_per_axis` rows
    has one shape; subject, slice, contrast and appearance come from numpy's global generator, which
    `SeededLoader` seeds for every draw.

    Args:
        length: rows per pass.
        rows_per_axis: the batch size.
        subjects, first_seed, cache_dir: of the pool of anatomies, see `load_pool`.
        same_contrast: how often the second slice, which task 0 blends in, has the contrast of the first.
        upright: scans are aligned to their middle plane, see `ToHeadGridd`; coronal and axial slices are hardly turned.
        transform: applied to each row.
        progress: show a bar while the pool is made.
        axes: across which slices are cut, 0 sagittal, 1 coronal, 2 axial.

    A row is {"image": float32 (1, h, w) z-scores, "brain": bool (1, h, w), "source" and "foreign": functions
    that give (1, h, w) of another subject and of something else, "axis", "index", "block"}; block = 5 * subject //
    subjects is the fold block.
    """

    def __init__(
        self,
        length: int = 48000,
        rows_per_axis: int = 16,
        subjects: int = 125,
        first_seed: int = 0,
        cache_dir: str | None = None,
        same_contrast: float = 0.6,
        upright: bool = False,
        transform: Callable | None = None,
        progress: bool = True,
        axes: Sequence[int] = (0, 1, 2),
    ) -> None:
        bar = None
        if progress:
            from tqdm import tqdm

            bar = lambda items: tqdm(items, desc="anatomies at 2 mm")  # noqa: E731
        self.pool = load_pool(first_seed, subjects, cache_dir, progress=bar)
        self.length, self.rows_per_axis, self.same_contrast = length, rows_per_axis, same_contrast
        self.upright, self.axes = upright, tuple(axes)
        self.transform = transform
        self.voxels = [self._brain_voxels(subject) for subject in range(subjects)]

    def _brain_voxels(self, subject: int) -> np.ndarray:
        """(len(MAPS), SAMPLED_VOXELS) in [0, 1]: enough to know the scan's percentiles."""
        maps = self.pool[subject]
        flat = np.flatnonzero(maps[:5, ::2, ::2, ::2].sum(0).ravel() > 100)
        chosen = np.random.RandomState(subject).choice(flat, SAMPLED_VOXELS)
        return maps[:, ::2, ::2, ::2].reshape(len(maps), -1)[:, chosen].astype(np.float32) / 255

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> dict:
        rng = np.random.RandomState(np.random.randint(2**31 - 1))
        axis = self.axes[row // self.rows_per_axis % len(self.axes)]
        upright = self.upright and axis > 0
        subject, other = rng.randint(len(self.pool), size=2)
        contrast = draw_contrast(rng, self.voxels[subject])
        size = self.pool.shape[2 + axis]
        for _ in range(5):
            index = int(rng.randint(round(0.06 * size), round(0.94 * size)))
            image, brain = healthy_slice(self._cut(subject, axis, index, rng), contrast, rng, upright)
            if brain.sum() > 150:
                break
        later = rng.randint(2**31 - 1)  # the blends' sources are made only for the rows that need them

        def source() -> np.ndarray:
            own = np.random.RandomState(later)
            second = contrast if own.rand() < self.same_contrast else draw_contrast(own, self.voxels[other])
            near = int(np.clip(index + own.randint(-12, 13), round(0.15 * size), round(0.85 * size)))
            return healthy_slice(self._cut(other, axis, near, own), second, own, upright)[0][None]

        def foreign() -> np.ndarray:
            return foreign_image(image.shape, np.random.RandomState(later))[None]

        item = {
            "image": image[None],
            "brain": brain[None],
            "source": source,
            "foreign": foreign,
            "axis": axis,
            "index": int(np.clip(index + rng.randint(-3, 4), 0, size - 1)),
            "block": int(subject * 5 // len(self.pool)),
        }
        return item if self.transform is None else self.transform(item)

    def _cut(self, subject: int, axis: int, index: int, rng: np.random.RandomState) -> np.ndarray:
        cut = np.take(self.pool[subject], index, axis=axis + 1)
        return cut[:, ::-1] if axis > 0 and rng.rand() < 0.5 else cut

"""Healthy slices for the anomaly tasks from scans of one's own, in the form in which `brain_slices` draws phantoms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from synthzoo.cases.images import find_images
from synthzoo.datasets.brain.healthy_slices import HealthySlices
from synthzoo.datasets.participants import SPLITS, TABLE, find_image, read_participants
from synthzoo.errors import UserError
from synthzoo.io.files import write_array
from synthzoo.phantoms.brain.slices import Z_RANGE, warp_slice
from synthzoo.phantoms.textures import foreign_image

FORMATS = ("phantom", "nifti", "tsv", "bids")
SMALLEST_SLICE = 150  # voxels of brain


def training_slices(
    data_format: str,
    dataset_dir: str | Path,
    prepare: Callable,
    phantom: Mapping[str, Any],
    length: int | None = None,
    rows_per_axis: int = 16,
    rows_per_scan: int = 48,
    split: str = "train",
    upright: bool = False,
    cache_dir: str | Path | None = None,
    transform: Callable | None = None,
    axes: Sequence[int] = (0, 1, 2),
) -> Dataset:
    """Healthy slices of phantoms, or of one's own scans.

    Args:
        data_format: "phantom"; "nifti" takes every volume of `dataset_dir` (a folder, a pattern or a list); "tsv" and
            "bids" take those of its participants.tsv, see `synthzoo.datasets.participants`.
        dataset_dir: empty for phantoms.
        prepare: path of a scan -> its brain, see `HealthyScanSlices`.
        phantom: arguments of `HealthySlices` besides those here.
        length: rows per pass; None is `rows_per_scan` for each scan.
        split: rows of the table; a folder without a table is all "train".
        rows_per_axis, upright, cache_dir, transform, axes: see `HealthySlices`.

    Raises:
        UserError: unknown format, a format without its folder or a folder without its format, a scan that cannot be
            used.
    """
    if data_format not in FORMATS:
        raise UserError(f"data_format = {data_format!r}: the known ones are {', '.join(FORMATS)}.")
    common: dict[str, Any] = {
        "rows_per_axis": rows_per_axis,
        "upright": upright,
        "cache_dir": cache_dir,
        "transform": transform,
        "axes": axes,
    }
    if data_format == "phantom":
        if dataset_dir:
            raise UserError(
                f"dataset_dir is {dataset_dir}, but data_format is phantom: say --data_format nifti or tsv."
            )
        return HealthySlices(**{"length": length, **common, **phantom})
    if not dataset_dir:
        raise UserError(f"data_format is {data_format}, but dataset_dir is empty: give the folder of the scans.")
    if data_format == "nifti":
        paths = find_images(dataset_dir)
    else:
        table = read_participants(Path(dataset_dir) / TABLE, {})
        paths = [find_image(dataset_dir, row["case"]) for row in table if row["split"] == SPLITS[split]]
        if not paths:
            raise UserError(
                f"{Path(dataset_dir) / TABLE} has no row of the split {split}: mark one in the column split."
            )
    return HealthyScanSlices(paths, prepare, length or rows_per_scan * len(paths), **common)


class HealthyScanSlices(Dataset):
    """Slices of healthy scans under random deformation, contrast and noise.

    Rows are those of `HealthySlices`, so that the transform and the loss are the same. What is planted into them is
    learnt as wrong, and what they hold as right: a scan with a lesion among them trains that lesions are healthy.

    Args:
        paths: scans, at least one.
        prepare: path -> float32 (D, H, W), z-scores on the network's grid, exactly 0 outside the brain.
        length, rows_per_axis, upright, transform, axes: see `HealthySlices`.
        cache_dir: folder that keeps the prepared brains as float16; None prepares them again in each run.

    Raises:
        UserError: a scan that cannot be used, by its name.
    """

    def __init__(
        self,
        paths: list[Path],
        prepare: Callable[[Path], np.ndarray],
        length: int,
        rows_per_axis: int = 16,
        upright: bool = False,
        cache_dir: str | Path | None = None,
        transform: Callable | None = None,
        axes: Sequence[int] = (0, 1, 2),
    ) -> None:
        from tqdm import tqdm

        self.length, self.rows_per_axis, self.upright, self.transform = length, rows_per_axis, upright, transform
        self.axes = tuple(axes)
        self.cache_dir = Path(cache_dir) / "brains" if cache_dir else None
        self.brains = [
            self._brain(Path(path), prepare) for path in tqdm(paths, desc="brains of the scans", leave=False)
        ]

    def _brain(self, path: Path, prepare: Callable) -> np.ndarray:
        state = path.stat()
        key = json.dumps([str(path.resolve()), state.st_size, state.st_mtime_ns, str(prepare), self.upright])
        kept = self.cache_dir and self.cache_dir / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npy"
        if kept and kept.is_file():
            return np.load(kept)
        try:
            brain = prepare(path).astype(np.float16)
        except UserError as error:
            said = str(error)
            raise UserError(said if path.name in said else f"{path.name}: {said}") from None
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_array(kept, brain)
        return brain

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> dict:
        rng = np.random.RandomState(np.random.randint(2**31 - 1))
        axis = self.axes[row // self.rows_per_axis % len(self.axes)]
        subject, other = rng.randint(len(self.brains), size=2)
        if other == subject and len(self.brains) > 1:
            other = (other + 1) % len(self.brains)
        size = self.brains[subject].shape[axis]
        for _ in range(10):
            index = int(rng.randint(round(0.06 * size), round(0.94 * size)))
            image = self._slice(subject, axis, index, rng)
            if (image != 0).sum() > SMALLEST_SLICE:
                break
        later = rng.randint(2**31 - 1)  # the blends' sources are made only for the rows that need them

        def source() -> np.ndarray:
            own = np.random.RandomState(later)
            near = int(np.clip(index + own.randint(-12, 13), round(0.15 * size), round(0.85 * size)))
            return self._slice(other, axis, near, own)[None]

        def foreign() -> np.ndarray:
            return foreign_image(image.shape, np.random.RandomState(later))[None]

        item = {
            "image": image[None],
            "brain": (image != 0)[None],
            "source": source,
            "foreign": foreign,
            "axis": axis,
            "index": int(np.clip(index + rng.randint(-3, 4), 0, size - 1)),
            "block": int(subject * 5 // len(self.brains)),
        }
        return item if self.transform is None else self.transform(item)

    def _slice(self, subject: int, axis: int, index: int, rng: np.random.RandomState) -> np.ndarray:
        """A slice (h, w) of a scan, varied as `healthy_slice` varies phantoms; 0 outside the brain."""
        cut = np.take(self.brains[subject], index, axis=axis).astype(np.float32)
        cut = cut[::-1] if axis > 0 and rng.rand() < 0.5 else cut
        pose: dict[str, Any] = {"rotation": 4.0, "shift": (1.5, 4.0)} if self.upright and axis > 0 else {}
        cut, weight = warp_slice(np.stack([cut, cut != 0]).astype(np.float32), rng, **pose)
        brain = weight > 0.5
        z = cut / np.maximum(weight, 0.5)
        if rng.rand() < 0.4:  # gamma, about the scan's own range
            z = 7 * np.clip((z + 3) / 7, 0, 1.3) ** np.exp(rng.uniform(-0.3, 0.3)) - 3
        z = z * np.exp(rng.normal(0, 0.12)) + rng.normal(0, 0.15) + 0.2 * rng.rand() ** 2 * rng.standard_normal(z.shape)
        z = np.clip(z, *Z_RANGE).astype(np.float32)
        z[z == 0] = 1e-6  # 0 means outside
        return z * brain

"""One pass over a set of images: each is read once and kept as a small grid and as a row of every space, on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from synthzoo.errors import UserError
from synthzoo.evaluation.privacy.rows import Rows
from synthzoo.evaluation.privacy.sets import ImageSet
from synthzoo.evaluation.privacy.spaces import GRIDS, MIRRORED, Space, on_grid

AT_ONCE = 64  # images in memory
SMOOTH = 1.0  # standard deviation in pixels of the grid
LOOKED_AT = 16  # images of each set whose size decides on the common grid


@dataclass
class Embedded:
    """A set as rows: `images` says which set, `kept` which of its images could be read.

    Attributes:
        grids: the images on the common grid, smoothed by a pixel, float16 rows.
        rows: space -> rows of each variant, the first without mirroring.
        kept: numbers within the set, int64 (N,).
        patients: of the kept ones, (N,).
        sizes: size of the images as text -> how many.
        failures: sentences on images that could not be read.
    """

    images: ImageSet
    grids: Rows
    rows: dict[str, list[Rows]]
    kept: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    sizes: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def patients(self) -> np.ndarray:
        """Whom each kept image shows."""
        return self.images.patients[self.kept]

    def name(self, row: int) -> str:
        """Name of a kept image."""
        return self.images.names[int(self.kept[row])]

    def image(self, row: int) -> np.ndarray:
        """A kept image, read again."""
        return self.images.image(int(self.kept[row]))


def common_grid(sets: Sequence[ImageSet]) -> tuple[int, ...]:
    """The grid on which all images are compared: the median size per axis, at most that of `GRIDS`."""
    sizes = []
    for one in sets:
        for row in range(min(LOOKED_AT, len(one))):
            try:
                sizes.append(one.image(row).shape)
            except UserError:  # counted when all are read
                continue
    largest = GRIDS[sets[0].kind]
    sizes = [size for size in sizes if len(size) == len(largest)] or [largest]
    return tuple(int(min(a, max(b, 4))) for a, b in zip(largest, np.median(sizes, axis=0), strict=True))


def embed_set(images: ImageSet, grid: Sequence[int], spaces: Sequence[Space], folder: Path, mirror: bool) -> Embedded:
    """Read every image of a set once.

    Args:
        images: the set.
        grid: see `common_grid`.
        spaces: rows of each are kept.
        folder: for the rows' files.
        mirror: whether mirror images are kept, too.

    Raises:
        UserError: not one image can be read.
    """
    variants = MIRRORED[images.kind] if mirror else ((),)
    found = Embedded(images, Rows(folder / "grids", int(np.prod(grid)), np.float16), {})
    kept: list[int] = []
    waiting: list[np.ndarray] = []
    for row in range(len(images)):
        try:
            image = images.image(row)
            if image.ndim != len(grid):
                raise UserError(f"image {images.names[row]} has {image.ndim} axes, but the others have {len(grid)}.")
            if float(image.max() - image.min()) <= 0:
                raise UserError(f"image {images.names[row]} shows one shade throughout: check how it was exported.")
            waiting.append(image)
            kept.append(row)
            found.sizes[" x ".join(map(str, image.shape))] += 1
        except UserError as error:
            found.failures.append(str(error))
        if waiting and (len(waiting) == AT_ONCE or row == len(images) - 1):
            _keep(found, waiting, grid, spaces, variants, folder)
            waiting = []
    if not kept:
        raise UserError(f"none of the {len(images)} images of {images.name} can be used; first: {found.failures[0]}")
    found.kept = np.array(kept, np.int64)
    return found


def _keep(
    found: Embedded,
    images: list[np.ndarray],
    grid: Sequence[int],
    spaces: Sequence[Space],
    variants: Sequence[tuple[int, ...]],
    folder: Path,
) -> None:
    grids = np.stack([on_grid(image, grid) for image in images])
    smooth = gaussian_filter(grids, (0, *[SMOOTH] * len(grid)), mode="nearest")
    found.grids.append(smooth.reshape(len(grids), -1))
    for space in spaces:
        made = [space.embed(grids, images, axes) for axes in variants]
        if space.name not in found.rows:
            names = [folder / f"{space.name}{number}" for number in range(len(variants))]
            found.rows[space.name] = [Rows(name, made[0].shape[1]) for name in names]
        for rows, block in zip(found.rows[space.name], made, strict=True):
            rows.append(block)

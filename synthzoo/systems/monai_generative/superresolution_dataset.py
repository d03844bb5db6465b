"""Pairs of a fine image and of the scan that a scanner with larger voxels would take of it, of brain phantoms.

Anatomies are made once, at 1.5 mm, with lesions; contrast, surroundings, profile of the slices and noise are drawn for
every row. The fine image is without noise, so that what is learned takes noise away, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.errors import UserError
from synthzoo.io.files import write_array
from synthzoo.phantoms.brain.contrast import SEQUENCES
from synthzoo.phantoms.brain.label_maps import CLASSES, LESIONS, label_maps
from synthzoo.phantoms.brain.label_pool import SPLITS
from synthzoo.phantoms.brain.painting import Scan, class_values, paint_maps
from synthzoo.phantoms.brain.phantom import VERSION, BrainParams, draw_params, make_anatomy
from synthzoo.phantoms.cache import cache_folder, settings_key, split_seeds
from synthzoo.phantoms.fields import smooth_noise
from synthzoo.systems.monai_generative.superresolution_grid import acquired, interpolated

SPACING_MM = 1.5
FIRST_SEED = 4_000_000  # of the anatomies; those below are of other pools
BORDER = 6  # voxels around the brain that a pool keeps
# Fine voxels along each axis of a voxel of the scan -> how often; axes are exchanged at random.
PROTOCOLS: dict[tuple[int, int, int], float] = {
    (1, 1, 2): 0.08,
    (1, 1, 3): 0.14,
    (1, 1, 4): 0.24,
    (1, 1, 5): 0.06,
    (1, 2, 2): 0.08,
    (2, 2, 2): 0.16,
    (2, 2, 4): 0.04,
    (3, 3, 3): 0.08,
    (4, 4, 4): 0.12,
}
MARGIN = 10  # voxels around a patch, so that its interpolation is that of the whole scan
MOST_NOISE = 0.1
RANDOM_SHARE = 0.6  # of rows in a made-up contrast
LESIONED_SHARE = 0.4  # of patches that a lesion lies in


def draw_subject(seed: int) -> BrainParams:
    """Parameters of subject `seed`: white matter lesions of its age, and often a tumour or a stroke."""
    rng = np.random.default_rng([seed, 91])
    params, kind = draw_params(FIRST_SEED + seed, healthy=False), rng.random()
    if kind < 0.4:
        core, enhancing, oedema = (float(rng.uniform(low, high)) for low, high in ((1, 12), (2, 15), (5, 50)))
        return replace(params, tumour={"core_ml": core, "enhancing_ml": enhancing, "oedema_ml": oedema})
    return replace(params, stroke={"volume_ml": float(rng.uniform(3, 40))}) if kind < 0.7 else params


def subject_maps(seed: int, spacing_mm: float = SPACING_MM) -> np.ndarray:
    """Label maps uint8 (len(CLASSES), D, H, W) of subject `seed` around the brain, 255 is all of a voxel."""
    params = draw_subject(seed)
    try:
        anatomy = make_anatomy(params, spacing_mm)
    except UserError:  # too little tissue in this head for what was drawn
        anatomy = make_anatomy(replace(params, tumour=None, stroke=None, wmh_ml=0.0), spacing_mm)
    found = np.argwhere(anatomy.mask)
    low = np.maximum(found.min(0) - BORDER, 0)
    box = tuple(slice(a, b) for a, b in zip(low, found.max(0) + 1 + BORDER))
    return np.round(255 * label_maps(anatomy)[(slice(None), *box)]).astype(np.uint8)


class FinePhantoms:
    """Label maps of the subjects of one split; item -> memory-mapped uint8 (len(CLASSES), D, H, W).

    Args:
        split: "train", "validation" or "test": which range of seeds the subjects come from.
        subjects: number of them, the first of the split.
        cache_dir: where pools lie; None is `SYNTHZOO_CACHE` or `~/.cache/synthzoo`.
        spacing_mm: of the grid.
        progress: wraps the iteration over subjects that are made now.

    Raises:
        UserError: settings out of range, or a folder that cannot be written.
    """

    def __init__(
        self,
        split: str = "train",
        subjects: int = 20,
        cache_dir: str | Path | None = None,
        spacing_mm: float = SPACING_MM,
        progress: Callable[[Iterable], Iterable] | None = None,
    ) -> None:
        seeds = split_seeds("fine phantoms have", SPLITS, split, subjects)
        key = settings_key([VERSION, CLASSES, FIRST_SEED, BORDER, float(spacing_mm)])
        folder = (Path(cache_dir) if cache_dir else cache_folder()) / f"brain-fine-labels-{key}"
        folder.mkdir(parents=True, exist_ok=True)
        self.paths = [folder / f"{seed:07d}.npy" for seed in seeds]
        absent = [path for path in self.paths if not path.is_file()]
        for path in (progress or iter)(absent) if absent else ():
            if not path.is_file():  # another process may have made it meanwhile
                write_array(path, subject_maps(int(path.stem), float(spacing_mm)))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> np.ndarray:
        return np.load(self.paths[row], mmap_mode="r")


def crisp(maps: np.ndarray, power: float) -> np.ndarray:
    """Shares float32 (K, ...) drawn towards the largest: t^p / sum t^p; an average over people is softer than one."""
    raised = maps**power
    return raised / np.maximum(raised.sum(0), 1e-6)


def surroundings(rng: np.random.Generator, outside: np.ndarray) -> np.ndarray:
    """Made-up tissue around a brain, float32 (D, H, W): a dark rim, then compartments of one intensity each.

    Args:
        rng: draws widths, compartments and intensities.
        outside: share of each voxel that is not brain.
    """
    away = ndi.distance_transform_edt(outside > 0.5)
    field = smooth_noise(rng, outside.shape, rng.uniform(1.5, 5))
    levels = rng.uniform(0, 1, 5).astype(np.float32)
    image = levels[np.digitize(field, [-0.8, -0.2, 0.3, 0.9])]
    return np.where(away <= rng.uniform(1, 5), rng.uniform(0, 0.15), image).astype(np.float32)


def fine_image(maps: np.ndarray, rng: np.random.Generator, contrast: str | None = None) -> np.ndarray:
    """Fine image without noise, float32 (D, H, W) in [0, 1.2], of shares (len(CLASSES), D, H, W).

    Args:
        maps: a whole brain, or a part of one.
        rng: draws the contrast and the looks.
        contrast: of `synthzoo.phantoms.brain.painting.CONTRASTS`; None draws a made-up one or one of `SEQUENCES`, which
            lack PD, and at times made-up surroundings or a bright background.
    """
    drawn = contrast is None
    if contrast is None:
        contrast = "random" if rng.random() < RANDOM_SHARE else str(rng.choice(list(SEQUENCES)))
    maps = crisp(maps, rng.uniform(1.0, 3.0))
    values = class_values(contrast, rng)
    values = values * np.float32(rng.uniform(0.6, 1.2) if drawn else 1.0)
    image = paint_maps(maps, Scan(values, 0.0, rng.uniform(0.0, 0.2), 0.0, rng.uniform(0.0, 0.03)), rng, cells=2)
    kind = rng.random() if drawn else 1.0
    if kind < 0.35:
        image = image * (1 - maps[0]) + surroundings(rng, maps[0]) * maps[0]
    elif kind < 0.45:  # as of z-scores, whose background is no darker than the brain
        image = image + np.float32(rng.uniform(0, 0.8)) * maps[0]
    return image.clip(0, 1.2).astype(np.float32)


def noisy(scan: torch.Tensor, noise: float, rng: np.random.Generator) -> torch.Tensor:
    """A magnitude image with Rician noise of this standard deviation."""
    if noise <= 0:
        return scan
    real, imaginary = (torch.from_numpy(noise * rng.standard_normal(scan.shape, dtype=np.float32)) for _ in range(2))
    return torch.hypot(scan + real, imaginary)


def take_scan(
    image: torch.Tensor, factors: Sequence[int], noise: float, rng: np.random.Generator, perfect: bool = False
) -> torch.Tensor:
    """A scan (1, 1, d, h, w) of a fine image (1, 1, D, H, W), see `superresolution_grid.acquired`.

    Args:
        image: each axis divides by its factor.
        factors: fine voxels along each axis of a voxel.
        noise: its standard deviation.
        rng: draws the noise and, unless `perfect`, the width and the softness of slices.
        perfect: slices are boxes that touch.
    """
    boxes = perfect or rng.random() < 0.5
    width, softness = (1.0, 0.0) if boxes else (rng.uniform(0.7, 1.2), rng.uniform(0.05, 0.3))
    return noisy(acquired(image, factors, width, softness), noise, rng)


class ScanPatches(Dataset):
    """Rows {"image", "low": float32 (1, P, P, P), "noise": float32 (), "factors": float32 (3,)}.

    "low" is the scan of "image", interpolated to its grid; "noise" is the standard deviation of the scan's noise and
    "factors" are the fine voxels along each axis of its voxels. Rows are drawn from numpy's generator, which
    `SeededLoader` seeds for every draw.

    Args:
        length: rows per pass.
        patch: P, voxels of an edge.
        subjects, split, cache_dir, spacing_mm: see `FinePhantoms`.

    Raises:
        UserError: a patch that is not even, and what `FinePhantoms` says.
    """

    def __init__(
        self,
        length: int = 20_000,
        patch: int = 40,
        subjects: int = 20,
        split: str = "train",
        cache_dir: str | Path | None = None,
        spacing_mm: float = SPACING_MM,
    ) -> None:
        if int(patch) < 8 or int(patch) % 2:
            raise UserError(f"patch = {patch}: give an even number of voxels of at least 8.")
        self.length, self.patch = int(length), int(patch)
        self.pool = FinePhantoms(
            split, subjects, cache_dir, spacing_mm, lambda rows: tqdm(rows, desc=f"phantoms of {spacing_mm:g} mm")
        )

    def __len__(self) -> int:
        return self.length

    def cut(self, maps: np.ndarray, edge: int, rng: np.random.Generator) -> np.ndarray:
        """Shares float32 (len(CLASSES), edge, edge, edge) of a subject, turned and mirrored at random."""
        size = np.array(maps.shape[1:])
        middle = rng.uniform(0.2, 0.8, 3) * size
        if rng.random() < LESIONED_SHARE:
            first = CLASSES.index(LESIONS[0])
            sick = np.argwhere(maps[first:, ::4, ::4, ::4].max(0) > 127)
            middle = 4 * sick[rng.integers(len(sick))] + rng.integers(-8, 9, 3) if len(sick) else middle
        start = np.round(middle - edge / 2).astype(int)
        region = np.zeros((len(maps), edge, edge, edge), np.float32)
        region[0] = 255
        source = tuple(slice(max(a, 0), max(min(a + edge, n), 0)) for a, n in zip(start, size))
        target = tuple(slice(s.start - a, s.stop - a) for a, s in zip(start, source))
        region[(slice(None), *target)] = maps[(slice(None), *source)]
        turned = np.transpose(region, (0, *(1 + rng.permutation(3))))
        for axis in range(3):
            turned = np.flip(turned, 1 + axis) if rng.random() < 0.5 else turned
        return turned / np.maximum(turned.sum(0), 1)

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        rng = np.random.default_rng(int(np.random.randint(2**31)))
        names = list(PROTOCOLS)
        factors = tuple(int(k) for k in rng.permutation(names[int(rng.choice(len(names), p=list(PROTOCOLS.values())))]))
        edge = -(-(self.patch + 2 * MARGIN) // 60) * 60  # divides by every factor
        maps = self.cut(self.pool[int(rng.integers(len(self.pool)))], edge, rng)
        fine = torch.from_numpy(fine_image(maps, rng))[None, None]
        noise = float(MOST_NOISE * rng.random() ** 2) if rng.random() < 0.8 else 0.0
        low = interpolated(take_scan(fine, factors, noise, rng), factors)
        room = edge - self.patch
        at = [int(rng.integers(min(room, MARGIN) // 2, room - min(room, MARGIN) // 2 + 1)) for _ in range(3)]
        window = (0, slice(None), *(slice(a, a + self.patch) for a in at))
        return {
            "image": fine[window].contiguous(),
            "low": low[window].contiguous(),
            "noise": torch.tensor(noise, dtype=torch.float32),
            "factors": torch.tensor(factors, dtype=torch.float32),
        }

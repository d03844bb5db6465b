"""Resampling of a scan of any orientation, spacing and matrix to one head grid in RAS, and of a map back to it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy import ndimage as ndi
from torch.nn import functional as F

from synthzoo.errors import UserError
from synthzoo.transforms.middle_plane import middle_pose

SAME_MM = 1e-2  # grids that lie nearer than this are one
HEAD_MM = (224.0, 256.0, 224.0)
MARGIN_MM = 14.0  # between the top of the head and the top of the grid
POSE_MM = 4.0  # voxels in which the middle plane is sought
SAMPLED, PLANES = 200_000, 8  # voxels from which the levels of a scan are read, and of how many planes at least
LOWEST, HIGHEST = 1.0, 98.0  # percentiles that stand for the darkest and the brightest tissue
LEAST_LOW, MOST_LOW = -0.02, 0.3  # the darkest tissue over the brightest, where nothing was added or z-scored
REACH_MM = 170.0  # below the top of the head the rest is neck


class ToHeadGridd(MapTransform):
    """Resample a scan to a grid that holds the head: RAS axes, isotropic, the top of the head near the top.

    The scan's affine is trusted for orientation and size. Background becomes exactly 0.

    Args:
        keys: the scan, a MetaTensor (1, D, H, W) with its affine.
        spacing_mm: of the grid, whose size is 224 x 256 x 224 mm.
        upright: turn the grid by up to 20 degrees, so that the head's plane of symmetry is its middle.
        affine_key, shape_key: where the scan's own affine (4, 4) and shape go, for the way back.

    Raises:
        UserError: the scan's extent cannot be that of a head.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        spacing_mm: float = 2.0,
        upright: bool = False,
        affine_key: Hashable = "scan_affine",
        shape_key: Hashable = "scan_shape",
    ) -> None:
        super().__init__(keys)
        self.spacing_mm, self.upright = float(spacing_mm), upright
        self.affine_key, self.shape_key = affine_key, shape_key

    def __call__(self, data: dict) -> dict:
        data = dict(data)
        for key in self.keys:
            scan = data[key]
            affine = np.asarray(getattr(scan, "affine", np.eye(4)), dtype=np.float64).reshape(4, 4)
            array = np.asarray(scan, dtype=np.float32)[0]
            extent = np.linalg.norm(affine[:3, :3], axis=0) * array.shape
            if max(extent) < 60 or max(extent) > 700:
                said = " x ".join(f"{mm:.0f}" for mm in extent)
                raise UserError(
                    f"image {data.get('case', key)} spans {said} mm, which no head does: check its voxel size."
                )
            # One order of the axes, so that how a file stores its voxels changes nothing.
            straight, straight_affine = to_canonical(array, affine)
            straight = common_unit(remove_background(straight))
            grid_affine = head_affine(straight, straight_affine, self.spacing_mm)
            if self.upright:
                grid_affine = upright_affine(straight, straight_affine, grid_affine, self.spacing_mm)
            shape = grid_shape(self.spacing_mm)
            out = resample(straight, straight_affine, shape, grid_affine, smooth=True)
            data[key] = MetaTensor(torch.from_numpy(out)[None], affine=torch.from_numpy(grid_affine))
            data[self.affine_key] = torch.from_numpy(affine)
            data[self.shape_key] = torch.tensor(array.shape)
        return data


class FromHeadGridd(MapTransform):
    """Resample maps on the head grid to the scan's own grid; exact zeros stay zeros, values stay in [0, 1].

    Args:
        keys: maps (1, D, H, W) on the head grid.
        reference_key: what lies on the head grid with its affine (the preprocessed image).
        affine_key, shape_key: as in `ToHeadGridd`.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        reference_key: Hashable = "image",
        affine_key: Hashable = "scan_affine",
        shape_key: Hashable = "scan_shape",
    ) -> None:
        super().__init__(keys)
        self.reference_key, self.affine_key, self.shape_key = reference_key, affine_key, shape_key

    def __call__(self, data: dict) -> dict:
        data = dict(data)
        grid_affine = np.asarray(data[self.reference_key].affine, dtype=np.float64).reshape(4, 4)
        affine = np.asarray(data[self.affine_key], dtype=np.float64).reshape(4, 4)
        shape = tuple(int(n) for n in np.asarray(data[self.shape_key]).ravel())
        for key in self.keys:
            out = resample(np.asarray(torch.as_tensor(data[key]).cpu(), np.float32)[0], grid_affine, shape, affine)
            out[out < 1e-4] = 0
            data[key] = MetaTensor(torch.from_numpy(np.clip(out, 0, 1))[None], affine=torch.from_numpy(affine))
        return data


def to_canonical(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A volume (D, H, W) with its axes in the order and direction closest to RAS, and the affine of that."""
    turn = nib.io_orientation(affine)
    turned = nib.apply_orientation(array, turn)
    return np.ascontiguousarray(turned), affine @ nib.orientations.inv_ornt_aff(turn, array.shape)


def sampled(array: np.ndarray) -> np.ndarray:
    """About `SAMPLED` voxels of a scan, evenly over its planes, or all of a small one, flat.

    A step that has a factor in common with the number of planes misses planes: one of 24 sees one plane of a scan of
    448 x 448 x 24. It is made longer until it sees `PLANES` of them.
    """
    step, planes = max(1, array.size // SAMPLED), array.shape[-1]
    while planes // math.gcd(step, planes) < min(planes, PLANES):
        step += 1
    return array.ravel()[::step]


def remove_background(array: np.ndarray) -> np.ndarray:
    """Subtract the commonest value if it fills an eighth of the scan or more (the outside), else the minimum.

    A foreground that lies on both sides of the background, as after z-scoring, or far from it, as after adding a
    constant, is brought to where that of a stripped scan lies: 0.1 to 1.
    """
    sample = sampled(array)
    values, counts = np.unique(sample, return_counts=True)
    common = values[counts.argmax()]
    if counts.max() <= sample.size / 8:
        return array - sample.min()
    array, inside = array - common, array != common
    found = sample[sample != common] - common
    if not found.size:
        return array
    low, high = np.percentile(found, (LOWEST, HIGHEST))
    if high > 0 and LEAST_LOW * high <= low <= MOST_LOW * high:
        return array
    if low == high:
        return array
    return np.where(inside, np.clip(0.1 + 0.9 * (array - low) / (high - low), 0.02, None), 0).astype(np.float32)


def common_unit(array: np.ndarray) -> np.ndarray:
    """A volume whose largest value lies between 512 and 1024, by a power of two, which rounds nothing."""
    top = float(np.abs(array).max())
    return array if top == 0 else array * np.float32(2.0) ** np.float32(np.floor(10 - np.log2(top)))


def head_affine(array: np.ndarray, affine: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Affine of the head grid for a scan (D, H, W) without background."""
    step = [max(1, int(round(4 / mm))) for mm in np.linalg.norm(affine[:3, :3], axis=0)]
    small = ndi.uniform_filter(np.abs(array), [min(s, 3) for s in step])[tuple(slice(None, None, s) for s in step)]
    top = np.percentile(small, 99)
    seen = small > 0.1 * top
    names, count = ndi.label(seen)
    if count > 1:
        seen = names == 1 + int(np.argmax(np.bincount(names.ravel())[1:]))
    points = np.argwhere(seen) * step
    mm = points @ affine[:3, :3].T + affine[:3, 3]
    crown = np.percentile(mm[:, 2], 99.9)
    upper = mm[mm[:, 2] > crown - REACH_MM]
    centre = (np.percentile(upper, 0.5, axis=0) + np.percentile(upper, 99.5, axis=0)) / 2
    tall = crown - np.percentile(mm[:, 2], 0.1)
    # A scan of the brain alone lies in the middle, a head with its neck hangs from the top.
    centre[2] = centre[2] if tall < HEAD_MM[2] - 2 * MARGIN_MM else crown + MARGIN_MM - HEAD_MM[2] / 2
    shape = np.array(grid_shape(spacing_mm))
    grid = np.diag([spacing_mm] * 3 + [1.0])
    grid[:3, 3] = centre - (shape - 1) / 2 * spacing_mm
    return grid


def grid_shape(spacing_mm: float) -> tuple[int, ...]:
    """Voxels per axis of the head grid."""
    return tuple(int(round(mm / spacing_mm)) for mm in HEAD_MM)


def upright_affine(array: np.ndarray, affine: np.ndarray, grid_affine: np.ndarray, spacing_mm: float) -> np.ndarray:
    """The head grid's affine, turned about its centre so that the head's middle plane is the grid's."""
    middle = grid_affine[:3, 3] + (np.array(grid_shape(spacing_mm)) - 1) / 2 * spacing_mm
    shape = grid_shape(POSE_MM)
    coarse = np.diag([POSE_MM] * 3 + [1.0])
    coarse[:3, 3] = middle - (np.array(shape) - 1) / 2 * POSE_MM
    there, back = np.eye(4), np.eye(4)
    there[:3, 3], back[:3, 3] = middle, -middle
    motion = middle_pose(resample(array, affine, shape, coarse, smooth=True), POSE_MM)
    return there @ motion @ back @ grid_affine


def same_grid(shape: Sequence[int], affine: np.ndarray, other_shape: Sequence[int], other_affine: np.ndarray) -> bool:
    """Whether two grids are one: of equal shape, and nowhere apart by more than a rounding error."""
    return tuple(shape) == tuple(other_shape) and bool(np.abs(affine - other_affine).max() < SAME_MM)


def resample(
    array: np.ndarray, affine: np.ndarray, shape: Sequence[int], target_affine: np.ndarray, smooth: bool = False
) -> np.ndarray:
    """Trilinear resampling between two grids, zero outside; `smooth` low-passes finer grids and keeps zeros zero."""
    ratio = np.linalg.norm(target_affine[:3, :3], axis=0).mean() / np.linalg.norm(affine[:3, :3], axis=0)
    inside = np.abs(array) > 0 if smooth else None
    if smooth and (ratio > 1.2).any():
        array = ndi.gaussian_filter(array, 0.35 * np.sqrt(np.maximum(ratio**2 - 1, 0)), truncate=2.5)
    matrix = np.linalg.inv(affine) @ target_affine
    rows = np.eye(4)[:3]
    # To grid_sample's convention: axes reversed, the range -1 to 1 between the outer voxel centres.
    size_in, size_out = np.array(array.shape), np.array(shape)
    from_unit = np.diag([*np.maximum(size_out - 1, 1) / 2, 1.0])
    from_unit[:3, 3] = (size_out - 1) / 2
    to_unit = np.diag([*(2 / np.maximum(size_in - 1, 1)), 1.0])
    to_unit[:3, 3] = -1
    theta = (rows @ to_unit @ matrix @ from_unit)[::-1][:, [2, 1, 0, 3]]
    grid = F.affine_grid(torch.from_numpy(theta.copy()).float()[None], [1, 1, *shape], align_corners=True)
    source = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None, None]
    out = F.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=True)[0, 0].numpy()
    if inside is not None:  # neither the low-pass nor the interpolation may wash a stripped brain over its edge
        mask = torch.from_numpy(inside.astype(np.float32))[None, None]
        out[F.grid_sample(mask, grid, align_corners=True)[0, 0].numpy() < 0.5] = 0
    return out

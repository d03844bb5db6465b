"""Grids of super-resolution: how the voxels of a scan are split, what a scanner averages over, and the way back.

    y = A x + noise,    A the mean over a profile around each voxel of the scan, k fine voxels wide
    low = interpolation of y to the fine grid

An axis whose voxels are split has k > 1, another one keeps its voxels; the field of view stays the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional as F

from synthzoo.errors import UserError

MOST_SPLIT = 8  # fine voxels along a voxel of the scan
MERGED_FROM = 1.65  # times as fine as the network's grid is an axis of which two voxels are merged
SPACING_MM = (0.5, 3.0)  # bounds of what may be requested


def split_factors(voxel_mm: Sequence[float], spacing_mm: float) -> tuple[int, int, int]:
    """Fine voxels along each axis of a voxel of the scan, as near to `spacing_mm` as integers come.

    >>> split_factors([1.0, 1.0, 6.0], 1.5)
    (1, 1, 4)

    Raises:
        UserError: a spacing out of range, no voxel to split, or one that is too large.
    """
    if not SPACING_MM[0] <= float(spacing_mm) <= SPACING_MM[1]:
        raise UserError(f"spacing_mm = {spacing_mm}: a finer grid has {SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm.")
    factors = [max(1, round(float(mm) / float(spacing_mm))) for mm in voxel_mm]
    said = " x ".join(f"{float(mm):.3g}" for mm in voxel_mm)
    if max(factors) == 1:
        raise UserError(
            f"the scan's voxels of {said} mm are as fine as spacing_mm = {spacing_mm:g} already: give a smaller "
            "spacing_mm, or a scan of thicker slices."
        )
    if max(factors) > MOST_SPLIT:
        raise UserError(
            f"the scan's voxels of {said} mm would be split into more than {MOST_SPLIT}: give a larger spacing_mm."
        )
    return factors[0], factors[1], factors[2]


def merge_factors(voxel_mm: Sequence[float], factors: Sequence[int], spacing_mm: float) -> tuple[int, int, int]:
    """Fine voxels along each axis that the network sees as one, where the scan is finer than what it learned from.

    >>> merge_factors([0.5, 0.5, 6.0], [1, 1, 4], 1.5)
    (3, 3, 1)
    """
    merged = [
        1 if k > 1 else max(1, int(spacing_mm / max(float(mm), 1e-6) + 2 - MERGED_FROM))
        for mm, k in zip(voxel_mm, factors)
    ]
    return merged[0], merged[1], merged[2]


def split_affine(affine: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Affine (4, 4) of the fine grid of a scan's affine; the corners of the field of view stay where they are."""
    finer = np.diag([*(1 / np.asarray(factors, float)), 1.0])
    finer[:3, 3] = 0.5 / np.asarray(factors, float) - 0.5
    return np.asarray(affine, float) @ finer


def profile(factor: int, width: float = 1.0, softness: float = 0.0) -> torch.Tensor:
    """Weights of the 3 x factor fine voxels around a voxel of the scan, float32 of sum 1.

    Args:
        factor: fine voxels along a voxel of the scan.
        width: of the slice over the distance of slices; below 1 there are gaps.
        softness: of its edges, as a share of the distance; 0 is a box.
    """
    at = torch.arange(3 * factor, dtype=torch.float64) + 0.5 - 1.5 * factor
    edge = width * factor / 2
    if softness:
        scale = softness * factor
        weights = torch.erf((at + edge) / scale) - torch.erf((at - edge) / scale)
    else:
        weights = (edge + 0.5 - at.abs()).clamp(0, 1)
    return (weights / weights.sum()).float()


def acquired(image: torch.Tensor, factors: Sequence[int], width: float = 1.0, softness: float = 0.0) -> torch.Tensor:
    """The scan without noise of fine images (B, 1, D, H, W), whose axes divide by their factors; see `profile`."""
    for axis, factor in enumerate(factors):
        if factor == 1:
            continue
        pad = [0] * 6
        pad[4 - 2 * axis] = pad[5 - 2 * axis] = factor
        shape, stride = [1] * 5, [1] * 3
        shape[2 + axis], stride[axis] = 3 * factor, factor
        weights = profile(factor, width, softness).to(image).reshape(shape)
        image = F.conv3d(F.pad(image, pad, mode="replicate"), weights, stride=stride)
    return image


def interpolated(scan: torch.Tensor, factors: Sequence[int]) -> torch.Tensor:
    """Trilinear interpolation of scans (B, 1, D, H, W) to the fine grid."""
    size = [n * k for n, k in zip(scan.shape[2:], factors)]
    return F.interpolate(scan, size=size, mode="trilinear", align_corners=False)


def by_spline(scan: torch.Tensor, factors: Sequence[int]) -> torch.Tensor:
    """Cubic B-spline interpolation of scans (B, 1, D, H, W) to the fine grid, by SciPy."""
    rows = [ndi.zoom(row[0].double().cpu().numpy(), factors, order=3, mode="nearest", grid_mode=True) for row in scan]
    return torch.from_numpy(np.stack(rows)[:, None]).to(scan)


def consistent(
    image: torch.Tensor, scan: torch.Tensor, factors: Sequence[int], share: float = 1.0, rounds: int = 3
) -> torch.Tensor:
    """Fine images whose means over the voxels of the scan come nearer to it (back-projection, Irani, Peleg 1991).

    Args:
        image: (B, 1, D, H, W) on the fine grid.
        scan: on its own.
        factors: of the axes.
        share: of the difference that is made up for; 1 trusts the scan, less allows for its noise.
        rounds: of correction, of which each interpolates what is still missing.
    """
    for _ in range(rounds):
        missing = scan - F.avg_pool3d(image, tuple(factors))
        image = image + share * interpolated(missing, factors)
        if share < 1:  # more rounds would make up for all of it
            break
    return image

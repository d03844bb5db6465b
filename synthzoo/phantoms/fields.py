"""Smooth random fields and diffeomorphisms on coarse grids, and trilinear sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional as F


def smooth_noise(rng: np.random.Generator, shape: Sequence[int], sigma_voxels: float | Sequence[float]) -> np.ndarray:
    """Gaussian random field of unit variance, float32 `shape`, low-passed with `sigma_voxels`."""
    noise = ndi.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma_voxels, mode="wrap")
    return noise / max(float(noise.std()), 1e-12)


def resize(field: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Trilinear resize of (X, Y, Z) or (C, X, Y, Z) to the spatial `shape`; the two grids share their outer faces."""
    tensor = torch.from_numpy(np.ascontiguousarray(field, dtype=np.float32))
    stacked = tensor[None, None] if tensor.ndim == 3 else tensor[None]
    out = F.interpolate(stacked, size=tuple(shape), mode="trilinear", align_corners=False)
    return (out[0, 0] if tensor.ndim == 3 else out[0]).numpy()


def sample(table: np.ndarray, shape: Sequence[int], points_voxel: np.ndarray) -> np.ndarray:
    """Trilinear values at scattered points, (N, C) float32; points outside take the nearest voxel of the border.

    Args:
        table: maps in channel-last order, float32 (X * Y * Z, C), so that a corner is one contiguous row.
        shape: (X, Y, Z).
        points_voxel: float32 (3, N) in voxels.
    """
    limit = np.array(shape, np.float32).reshape(3, 1) - 1
    points = np.clip(points_voxel, 0, limit).astype(np.float32, copy=False)
    low = np.minimum(points.astype(np.int32), np.maximum(limit.astype(np.int32) - 1, 0))
    high_weight = points - low.astype(np.float32)
    base = (low[0] * shape[1] + low[1]) * shape[2] + low[2]
    strides = (shape[1] * shape[2], shape[2], 1)
    index = np.empty((points.shape[1], 8), np.int32)
    weight = np.empty((points.shape[1], 8), np.float32)
    sides = [(1 - high_weight[axis], high_weight[axis]) for axis in range(3)]
    for corner in range(8):
        i, j, k = corner & 1, corner >> 1 & 1, corner >> 2
        index[:, corner] = base + (i * strides[0] + j * strides[1] + k * strides[2])
        weight[:, corner] = sides[0][i] * sides[1][j] * sides[2][k]
    rows, shares = torch.from_numpy(index), torch.from_numpy(weight)
    return F.embedding_bag(rows, torch.from_numpy(table), per_sample_weights=shares, mode="sum").numpy()


def to_table(maps: np.ndarray) -> np.ndarray:
    """(C, X, Y, Z) -> float32 (X * Y * Z, C) for `sample`."""
    return np.ascontiguousarray(maps.reshape(maps.shape[0], -1).T, dtype=np.float32)


def random_diffeomorphism(
    rng: np.random.Generator, shape: Sequence[int], spacing_mm: float, scales: Sequence[tuple[float, float]]
) -> np.ndarray:
    """Displacement in mm, a `sample` table float32 (X * Y * Z, 3), of a random diffeomorphism.

    A stationary velocity is the sum over `scales` of smooth noise; scaling and squaring integrates it (Arsigny et al.,
    "A log-Euclidean framework for statistics on diffeomorphisms", MICCAI 2006), so the map folds nowhere.

    Args:
        scales: pairs (smoothness sigma in mm, root-mean-square size in mm).
    """
    velocity = np.zeros((3, *shape), np.float32)
    for sigma_mm, size_mm in scales:
        for axis in range(3):
            velocity[axis] += size_mm * smooth_noise(rng, shape, sigma_mm / spacing_mm)
    return integrate(velocity, spacing_mm)


def integrate(velocity: np.ndarray, spacing_mm: float, squarings: int = 5) -> np.ndarray:
    """Displacement in mm, a `sample` table float32 (X * Y * Z, 3), along a stationary velocity for the time 1.

    Args:
        velocity: float32 (3, X, Y, Z) in mm.
        spacing_mm: of its grid.
        squarings: of scaling and squaring; 2^squarings steps.
    """
    shape = velocity.shape[1:]
    flow = to_table(velocity / 2**squarings)
    index = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij")).reshape(3, -1)
    for _ in range(squarings):
        flow = flow + sample(flow, shape, index + flow.T / spacing_mm)
    return flow


def solve_increasing(
    function: Callable[[float], float], target: float, low: float, high: float, steps: int = 50
) -> float:
    """The x in [low, high] with function(x) = target for an increasing function, by bisection.

    >>> round(solve_increasing(lambda x: x * x, target=2.0, low=0.0, high=2.0), 6)
    1.414214
    """
    for _ in range(steps):
        middle = 0.5 * (low + high)
        if function(middle) < target:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)

"""Smooth random fields and diffeomorphisms on coarse grids, and trilinear sampling."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional as F


def smooth_noise(rng: np.random.Generator, shape, sigma_voxels) -> np.ndarray:
    """Gaussian random field of unit variance, float32 `shape`, low-passed with `sigma_voxels`."""
    noise = ndi.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma_voxels, mode="wrap")
    return noise / max(float(noise.std()), 1e-12)


def resize(field: np.ndarray, shape) -> np.ndarray:
    """Trilinear resize of (X, Y, Z) or (C, X, Y, Z) to the spatial `shape`; the two grids share their outer faces."""
    tensor = torch.from_numpy(np.ascontiguousarray(field, dtype=np.float32))
    stacked = tensor[None, None] if tensor.ndim == 3 else tensor[None]
    out = F.interpolate(stacked, size=tuple(shape), mode="trilinear", align_corners=False)
    return (out[0, 0] if tensor.ndim == 3 else out[0]).numpy()


def sample(maps: np.ndarray, points_voxel: np.ndarray) -> np.ndarray:
    """Trilinear values of `maps` (C, X, Y, Z) at `points_voxel` (3, D, H, W), zero outside; (C, D, H, W) float32."""
    size = np.array(maps.shape[1:], dtype=np.float32).reshape(3, 1, 1, 1)
    grid = 2 * points_voxel / (size - 1) - 1
    grid = torch.from_numpy(np.ascontiguousarray(np.moveaxis(grid[::-1], 0, -1), dtype=np.float32))
    out = F.grid_sample(torch.from_numpy(maps)[None], grid[None], mode="bilinear", align_corners=True)
    return out[0].numpy()


def random_diffeomorphism(rng: np.random.Generator, shape, spacing_mm: float, scales) -> np.ndarray:
    """Displacement in mm, float32 (3, *shape), of a random diffeomorphism.

    A stationary velocity is the sum over `scales` of smooth noise; scaling and squaring integrates it (Arsigny et al.,
    "A log-Euclidean framework for statistics on diffeomorphisms", MICCAI 2006), so the map folds nowhere.

    Args:
        scales: pairs (smoothness sigma in mm, root-mean-square size in mm).
    """
    velocity = np.zeros((3, *shape), np.float32)
    for sigma_mm, size_mm in scales:
        for axis in range(3):
            velocity[axis] += size_mm * smooth_noise(rng, shape, sigma_mm / spacing_mm)
    squarings = 5
    flow = velocity / 2**squarings
    index = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij"))
    limit = np.array(shape, dtype=np.float32).reshape(3, 1, 1, 1) - 1
    for _ in range(squarings):
        flow = flow + sample(flow, np.clip(index + flow / spacing_mm, 0, limit))
    return flow


def solve_increasing(function, target: float, low: float, high: float, steps: int = 50) -> float:
    """The x in [low, high] with function(x) = target for an increasing function, by bisection."""
    for _ in range(steps):
        middle = 0.5 * (low + high)
        if function(middle) < target:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)

"""Foreign patches for Poisson blending: cut from another image, rotated and scaled (tasks 0 and 1)."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy import ndimage

from synthzoo.transforms.random_shapes import plane_rotation


def source_patch(
    source: np.ndarray, box: tuple[int, ...], rng: np.random.RandomState, foreground: np.ndarray | None = None
) -> np.ndarray:
    """Cut a randomly rotated, scaled and placed patch from a source image.

    The backward map is a rotation by U(-45, 45) degrees per axis pair times s, s = 1 + Exp(0.1) or its inverse with
    equal odds, capped so that the patch spans at most 0.8 of the source.

    Args:
        source: (C, *spatial).
        box: voxels per axis of the patch.
        rng: random state.
        foreground: boolean (*spatial); the patch centre is redrawn until it lies there.

    Returns:
        (C, *box), cubic interpolation, clipped to the range of the source.
    """
    spatial = np.asarray(source.shape[1:])
    n = len(spatial)
    scale = 1 + rng.exponential(0.1)
    scale = scale if rng.rand() < 0.5 else 1 / scale
    matrix = np.eye(n)
    for i, j in combinations(range(n), 2):
        matrix = plane_rotation(n, i, j, rng.uniform(-np.pi / 4, np.pi / 4)) @ matrix
    span = np.abs(matrix) @ np.asarray(box)
    matrix = matrix * min(scale, (0.8 * spatial / span).min())
    half = np.abs(matrix) @ np.asarray(box) / 2
    for _ in range(50):
        centre = rng.uniform(half, np.maximum(spatial - half, half + 1e-6))
        index = tuple(np.clip(np.round(centre).astype(int), 0, spatial - 1))
        if foreground is None or foreground[index]:
            break
    offset = centre - matrix @ ((np.asarray(box) - 1) / 2)
    patch = [ndimage.affine_transform(c, matrix, offset, box, order=3, mode="reflect") for c in source]
    return np.clip(np.stack(patch), source.min(), source.max())

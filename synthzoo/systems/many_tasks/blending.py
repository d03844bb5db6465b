"""Poisson blending of a foreign patch, solved exactly by the sine transform (tasks 0 and 1).

Find f with laplacian(f) = div v inside a box and f = target on the box border, where the guidance v takes, per axis
and voxel of the region, the stronger of the two gradients ("mixed gradients", Perez et al., SIGGRAPH 2003). The
Dirichlet Laplacian on a box is diagonal in the type-I discrete sine basis:
    f_hat(k) = rhs_hat(k) / sum_a (2 cos(pi k_a / (n_a + 1)) - 2).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy import fft, ndimage

from synthzoo.systems.many_tasks.shapes import plane_rotation


def poisson_blend(target: np.ndarray, source: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Blend `source` into `target` under `mask` with mixed gradients.

    Args:
        target: box of the image, (*box), at least 3 voxels per axis; smaller boxes come back unchanged.
        source: patch of the same shape and intensity scale.
        mask: boolean (*box); its voxels on the box border are ignored.

    Returns:
        blended box (*box), float64, equal to `target` on the box border.
    """
    target = target.astype(np.float64)
    if min(target.shape) < 3:
        return target
    inner = (slice(1, -1),) * target.ndim
    inside = np.zeros(mask.shape, bool)
    inside[inner] = mask[inner]
    divergence = np.zeros_like(target)
    for axis in range(target.ndim):
        t = np.diff(target, axis=axis, append=np.take(target, [-1], axis))
        s = np.diff(source.astype(np.float64), axis=axis, append=np.take(source, [-1], axis))
        v = np.where(inside & (np.abs(s) > np.abs(t)), s, t)
        divergence += v - np.roll(v, 1, axis)  # the wrapped row is a border row, which is never used
    border = target.copy()
    border[inner] = 0
    rhs = divergence[inner] - _laplacian(border)[inner]
    eigenvalues = 0
    for axis, n in enumerate(rhs.shape):
        k = np.arange(1, n + 1).reshape([-1 if a == axis else 1 for a in range(rhs.ndim)])
        eigenvalues = eigenvalues + 2 * np.cos(np.pi * k / (n + 1)) - 2
    blended = target.copy()
    blended[inner] = fft.idstn(fft.dstn(rhs, type=1) / eigenvalues, type=1)
    return blended


def _laplacian(f: np.ndarray) -> np.ndarray:
    return sum(np.roll(f, 1, a) + np.roll(f, -1, a) - 2 * f for a in range(f.ndim))


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

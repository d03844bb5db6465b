"""Poisson blending of a foreign patch, solved exactly by the sine transform.

Find f with laplacian(f) = div v inside a box and f = target on the box border, where the guidance v takes, per axis
and voxel of the region, the stronger of the two gradients ("mixed gradients", Perez et al., SIGGRAPH 2003). The
Dirichlet Laplacian on a box is diagonal in the type-I discrete sine basis:
    f_hat(k) = rhs_hat(k) / sum_a (2 cos(pi k_a / (n_a + 1)) - 2).
"""

from __future__ import annotations

import numpy as np
from scipy import fft


def poisson_blend(target: np.ndarray, source: np.ndarray, mask: np.ndarray, target_weight: float = 1.0) -> np.ndarray:
    """Blend `source` into `target` under `mask` with mixed gradients.

    Args:
        target: box of the image, (*box), at least 3 voxels per axis; smaller boxes come back unchanged.
        source: patch of the same shape and intensity scale.
        mask: boolean (*box); its voxels on the box border are ignored.
        target_weight: of the target's gradients inside the mask; below 1 its structure gives way to the source's.

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
        kept = np.where(inside, target_weight * t, t)
        v = np.where(inside & (np.abs(s) > np.abs(kept)), s, kept)
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

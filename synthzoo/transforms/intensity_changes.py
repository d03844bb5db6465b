"""Smooth intensity changes with a ramp at the edge; variants: a ring around a core, one tissue alone.

With D the Euclidean distance to the region's outside and w the ramp's width, the region gains
    sign (sigma / 2 + Gamma(3, sigma)) min(1, D / w),   w = min(minDim (0.02 + Gamma(3, 0.01)), max D).
"""

from __future__ import annotations

import numpy as np

from synthzoo.transforms.random_shapes import inner_distance


def draw_change(sigma: float, rng: np.random.RandomState) -> float:
    """A signed amplitude in image units: +-(sigma / 2 + Gamma(3, sigma))."""
    return (1 if rng.rand() < 0.5 else -1) * (sigma / 2 + rng.gamma(3, sigma))


def smooth_change(
    box_image: np.ndarray,
    mask: np.ndarray,
    min_dim: int,
    rng: np.random.RandomState,
    sigma: float = 0.2,
    ring: bool = False,
    bound: bool = False,
) -> np.ndarray:
    """Add a smooth plateau to a region.

    Args:
        box_image: (C, *box).
        mask: boolean (*box).
        min_dim: the image's shortest axis in voxels, which sets the ramp's width.
        rng: random state.
        sigma: scale of the change in image units.
        ring: give the inner part (a share of the depth drawn from U(0.2, 0.6)) a change of its own.
        bound: change only what is as bright as one voxel of the region, within about 3 `sigma`: as oedema keeps to
            white matter and spares the cortex.

    Returns:
        changed box (C, *box), not yet clipped.
    """
    distance = inner_distance(mask)
    deepest = distance.max()
    if deepest == 0:
        return box_image
    width = min(min_dim * (0.02 + rng.gamma(3, 0.01)), deepest)
    ramp = np.minimum(1, distance / width)
    share = rng.uniform(0.2, 0.6) if ring else 1.0
    core = np.clip((distance - share * deepest) / max(0.5 * width, 1), 0, 1) if ring else 0
    out = box_image.copy()
    if bound:
        own = out[:, mask]
        level = own[:, rng.randint(own.shape[1])].reshape(-1, *[1] * mask.ndim)
        ramp = np.minimum(1, 2 * ramp) * np.exp(-((((out - level) / (1.5 * sigma)) ** 2).mean(0)))
    for channel in range(len(out)):
        change = draw_change(sigma, rng)
        inner = draw_change(sigma, rng) if ring else change
        out[channel] = out[channel] + ramp * (change + core * (inner - change))
    return out

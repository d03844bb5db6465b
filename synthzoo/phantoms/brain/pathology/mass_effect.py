"""Mass effect: a local diffeomorphism that moves all tissues out of a lesion's way, or into the gap that it left.

The velocity of a lesion is the gradient of a Gaussian potential around it, with the push as its largest value, and
dies out at the brain's surface, for the skull does not move; scaling and squaring integrates the sum over lesions, so
nothing folds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional as F

from synthzoo.phantoms.fields import integrate, resize

REACH = 1.25  # of the potential's width, in radii of the lesion
EDGE_MM = 8.0  # below the surface the push has its whole size
COARSE = 2  # voxels to a step of the integration


def pushes(
    inside: np.ndarray, centres: Sequence[np.ndarray], radii_mm: Sequence[float], push_mm: Sequence[float], h: float
) -> np.ndarray | None:
    """Displacement, float32 (3, X, Y, Z) in mm: where in the healthy brain a voxel of the sick one lies.

    Args:
        inside: brain mask, bool (X, Y, Z).
        centres: voxel (3,) of each lesion.
        radii_mm, push_mm: of each lesion; a push below 0 pulls.
        h: spacing in mm.

    Returns:
        None where no lesion pushes.
    """
    if not any(push_mm):
        return None
    shape = tuple(-(-n // COARSE) for n in inside.shape)
    step = h * COARSE
    hold = np.clip(ndi.distance_transform_edt(inside) * h / EDGE_MM, 0, 1)[::COARSE, ::COARSE, ::COARSE]
    velocity = np.zeros((3, *shape), np.float32)
    for centre, radius, push in zip(centres, radii_mm, push_mm):
        if not push:
            continue
        offset = np.meshgrid(*[(np.arange(n) + 0.25) * step - c * h for n, c in zip(shape, centre)], indexing="ij")
        width = REACH * max(radius, 4.0)
        potential = np.exp(-sum(a**2 for a in offset) / width**2)
        # Largest where the distance is width / sqrt(2), and towards the centre: a voxel shows what lay nearer to it.
        size = push / width * np.sqrt(2 * np.e)
        velocity -= np.stack([size * potential * a for a in offset]).astype(np.float32)
    flow = integrate((velocity * hold).astype(np.float32), step)
    return resize(np.ascontiguousarray(flow.T).reshape(3, *shape), [COARSE * n for n in shape])[
        (slice(None), *(slice(n) for n in inside.shape))
    ]


def warp(maps: np.ndarray, displacement_mm: np.ndarray, h: float) -> np.ndarray:
    """Maps (C, X, Y, Z) read, trilinearly, where the displacement says; float32."""
    shape = maps.shape[1:]
    index = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij"))
    index += displacement_mm / np.float32(h)
    grid = np.stack([index[a] * np.float32(2 / (shape[a] - 1)) - 1 for a in (2, 1, 0)], -1)
    source = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32))[None]
    return F.grid_sample(source, torch.from_numpy(grid)[None], align_corners=True, padding_mode="border")[0].numpy()


def smallest_jacobian(displacement_mm: np.ndarray, h: float) -> float:
    """The smallest determinant of the derivative of x + displacement(x); above 0 nothing folds."""
    slopes = np.stack([np.stack(np.gradient(d, h)) for d in displacement_mm]) + np.eye(3).reshape(3, 3, 1, 1, 1)
    return float(np.linalg.det(np.moveaxis(slopes, (0, 1), (-2, -1))).min())

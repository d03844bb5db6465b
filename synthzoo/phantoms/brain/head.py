"""Heads around healthy brains, in random intensities, to train brain extraction in any contrast.

Shells by distance from the brain (fluid, inner table, marrow, outer table, scalp), eyes, and a face and neck of random
compartments; skull-stripped scans, cut fields of view and lesions of any brightness are among them. In the spirit of
Hoopes et al., "SynthStrip", NeuroImage 2022.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional as F

from synthzoo.phantoms.brain.slices import Contrast, draw_contrast, field, paint

HEAD_GRID = (56, 64, 56)
HEAD_SPACING_MM = 4.0


def random_head(maps: np.ndarray, voxels: np.ndarray, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """A head and its brain mask at 4 mm.

    Args:
        maps: uint8 (len(MAPS), 80, 96, 80) of one subject of `brain_pool`.
        voxels: brain voxels of the subject, see `draw_contrast`.
        rng: random state.

    Returns:
        image float32 HEAD_GRID, background near 0; brain occupancy float32 HEAD_GRID.
    """
    small = F.avg_pool3d(torch.from_numpy(maps[None].astype(np.float32) / 255), 2)[0]
    small[6] -= 128 / 255
    moved = _pose(small, rng).numpy()
    moved[6] += 128 / 255
    brain = np.clip(moved[:5].sum(0), 0, 1)
    contrast = draw_contrast(rng, voxels)
    image = paint(moved, contrast)
    _lesion(image, brain, rng, contrast)
    inside = brain > 0.5
    level = abs(contrast.tissue[:4]).max() * rng.uniform(0, 1.4, 12)
    if rng.rand() < 0.25:  # stripped, at times with a rest of the rim
        rest = ndi.distance_transform_edt(~inside) < rng.uniform(0, 1.5)
        image = image * brain + (rest & ~inside) * level[0] * (rng.rand() < 0.5)
    else:
        image = image * brain + (1 - brain) * _surroundings(inside, level, rng)
    image = ndi.gaussian_filter(image, rng.uniform(0, 0.7, 3))
    image = image * np.exp(rng.uniform(0, 0.35) * field(rng, image.shape, 3))
    scale = np.percentile(image[image > 0], 98) if (image > 0).any() else 1.0
    image = image / scale
    noisy = np.abs(image + 0.08 * rng.rand() ** 2 * rng.standard_normal(image.shape))
    image = np.where(image > 0.02, noisy, noisy * (rng.rand() < 0.5))
    if rng.rand() < 0.35:
        _cut_view(image, brain, rng)
    return image.astype(np.float32), brain.astype(np.float32)


def normalise_head(image: np.ndarray) -> np.ndarray:
    """Scale by the 98th percentile of what is not background; clip to [-1, 2]."""
    seen = np.abs(image[np.abs(image) > 1e-6])
    top = float(np.percentile(seen, 98)) if seen.size else 1.0
    return np.clip(image / max(top, 1e-6), -1, 2).astype(np.float32)


def _pose(maps: torch.Tensor, rng: np.random.RandomState) -> torch.Tensor:
    """Rotate, scale, shift and bend (C, 40, 48, 40) into HEAD_GRID."""
    angles = np.deg2rad(rng.normal(0, 8, 3))
    matrix = np.eye(3)
    for (i, j), angle in zip(((0, 1), (0, 2), (1, 2)), angles):
        turn = np.eye(3)
        turn[[i, j], [i, j]] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    matrix = matrix / (np.exp(rng.normal(0, 0.06)) * np.exp(rng.normal(0, 0.05, 3)))
    points = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in HEAD_GRID], indexing="ij")).reshape(3, -1)
    shift = rng.uniform(-1, 1, 3) * (3, 5, 6)
    where = (matrix @ (points - shift[:, None])).reshape(3, *HEAD_GRID)
    where = where + np.stack([rng.uniform(0, 0.7) * field(rng, HEAD_GRID, 7) for _ in range(3)])
    size = np.array(maps.shape[1:]).reshape(3, 1, 1, 1)
    grid = np.moveaxis((where * 2 / (size - 1))[::-1], 0, -1).astype(np.float32)
    return F.grid_sample(maps[None], torch.from_numpy(np.ascontiguousarray(grid))[None], align_corners=True)[0]


def _lesion(image: np.ndarray, brain: np.ndarray, rng: np.random.RandomState, contrast: Contrast) -> None:
    """Up to two blobs of any brightness in or at the brain, in place."""
    found = np.argwhere(brain > 0.5)
    for _ in range(rng.choice([0, 1, 2], p=[0.5, 0.35, 0.15])):
        centre = found[rng.randint(len(found))]
        axes = np.meshgrid(*[np.arange(n) - c for n, c in zip(image.shape, centre)], indexing="ij")
        radius = np.sqrt(sum(a**2 for a in axes)) + 1.5 * field(rng, image.shape, 8)
        share = np.clip(rng.uniform(2, 8) - radius, 0, 1)
        image *= 1 - share
        image += share * rng.uniform(0, 2) * contrast.tissue[:4].max()


def _surroundings(inside: np.ndarray, level: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Everything that is not brain: shells, face, neck, eyes; (HEAD_GRID) intensities, 0 in the air."""
    h = HEAD_SPACING_MM
    distance = ndi.distance_transform_edt(~inside) * h + 2.0 * field(rng, inside.shape, 6)
    thicknesses = [(0.5, 5), (1, 5), (0, 4), (0.5, 4), (2, 10)]
    edges = np.cumsum([rng.uniform(thin, thick) for thin, thick in thicknesses])
    out = np.zeros(inside.shape)
    bone = rng.uniform(0, 0.25) * level.max()
    for low, high, value in zip([-99, *edges[:-1]], edges, (level[0], bone, level[1], bone, level[2])):
        out = np.where((distance > low) & (distance <= high), value, out)
    found = np.argwhere(inside)
    low, high = found.min(0), found.max(0)
    x, y, z = np.meshgrid(*[np.arange(n) for n in inside.shape], indexing="ij")
    middle = (low + high) / 2
    # Face in front and below, neck below: compartments of noise around the column of the head.
    height = low[2] + (high[2] - low[2]) * rng.uniform(0.25, 0.45)
    wide, long = (high - low)[0] * rng.uniform(0.40, 0.55), (high - low)[1] * rng.uniform(0.42, 0.58)
    column = ((x - middle[0]) / wide) ** 2 + ((y - middle[1] - rng.uniform(0, 5)) / long) ** 2 < 1
    lower = column & (z < height - 0.3 * (y < middle[1]) * (high[2] - low[2]) * rng.uniform(0, 1))
    lower &= distance > edges[0]
    compartments = np.digitize(field(rng, inside.shape, rng.randint(7, 14)), [-0.5, -0.1, 0.25, 0.6])
    values = np.where(compartments == 2, level[3] * (rng.rand() < 0.5), level[4 + compartments])
    out = np.where(lower & (out == 0) | lower & (distance > edges[rng.randint(1, 4)]), values, out)
    for side in (-1, 1):
        forward, up = high[1] - rng.uniform(-1, 4), low[2] + (high[2] - low[2]) * rng.uniform(0.22, 0.34)
        centre = (middle[0] + side * 8, forward, up)
        eye = sum((a - c) ** 2 for a, c in zip((x, y, z), centre)) < rng.uniform(2.2, 3.4) ** 2
        out = np.where(eye & ~inside, level[9], out)
    return out * (1 + 0.15 * field(rng, inside.shape, 20))


def _cut_view(image: np.ndarray, brain: np.ndarray, rng: np.random.RandomState) -> None:
    """A field of view that ends within the head: zero slabs at some of the faces, in image and mask, in place."""
    found = np.argwhere(brain > 0.5)
    low, high = found.min(0), found.max(0)
    for axis in range(3):
        if rng.rand() < 0.5:
            end = max(low[axis] - rng.randint(-2, 4), 0)
            for part in (image, brain):
                np.moveaxis(part, axis, 0)[:end] = 0
        if rng.rand() < 0.5:
            end = high[axis] + rng.randint(-1, 4)
            for part in (image, brain):
                np.moveaxis(part, axis, 0)[end:] = 0

"""Radial deformations of tissue towards or away from a point (tasks 2 and 3).

For a voxel x of the region at distance d from the centre c, with E the distance from c through x to the region's edge,
the image is read at c + d' (x - c) / d, with
    source: d' = E (d / E)^f        sink: d' = E (1 - (1 - d / E)^f),        f >= 1.
f follows from a push distance p, so that tissue half-way to the edge moves by about p voxels:
    f = ln(1/2 - p / (sqrt(2) L)) / ln(1/2 + p / (sqrt(2) L)),  L = mean distance from c to the region's border.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from synthzoo.transforms.random_shapes import Region


def deform(
    box_image: np.ndarray,
    region: Region,
    kind: str,
    rng: np.random.RandomState,
    push: Sequence[float] = (0.5, 5.0),
) -> np.ndarray:
    """Push tissue inside a region away from ("source") or towards ("sink") a random point of it.

    Args:
        box_image: (C, *region.box).
        region: the convex region.
        kind: "source" or "sink".
        rng: random state.
        push: smallest and largest push distance in voxels.

    Returns:
        deformed box (C, *box); border voxels of the box and the centre keep their values.
    """
    mask = region.mask()
    points = np.argwhere(mask).T
    if points.shape[1] < 9:
        return box_image
    centre = points[:, rng.randint(points.shape[1])].astype(float)
    exponent = push_exponent(mask, centre, rng, push)
    offset = points - centre[:, None]
    d = np.sqrt((offset**2).sum(0))
    moves = (d > 0) & (points > 0).all(0) & (points < np.asarray(mask.shape)[:, None] - 1).all(0)
    points, offset, d = points[:, moves], offset[:, moves], d[moves]
    unit = offset / d
    edge = region.edge_distance(centre, unit)
    ratio = np.clip(d / np.maximum(edge, 1e-6), 0, 1)
    read = edge * (ratio**exponent if kind == "source" else 1 - (1 - ratio) ** exponent)
    where = centre[:, None] + read * unit
    out = box_image.copy()
    for channel in range(len(out)):
        out[(channel, *points)] = ndimage.map_coordinates(box_image[channel], where, order=3, mode="nearest")
    return out


def push_exponent(mask: np.ndarray, centre: np.ndarray, rng: np.random.RandomState, push: Sequence[float]) -> float:
    """The exponent f for a push distance drawn from U(max(0.1 Pm, pmin), min(0.9 Pm, pmax)), Pm = L / sqrt(2)."""
    border = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    length = max(np.sqrt(((border - centre) ** 2).sum(1)).mean(), 1e-3)
    most = length / np.sqrt(2)
    low, high = max(0.1 * most, push[0]), min(0.9 * most, push[1])
    if push[0] >= 0.9 * most:
        p = 0.9 * most
    elif push[1] <= 0.1 * most:
        p = 0.1 * most
    else:
        p = rng.uniform(low, high)
    share = p / (np.sqrt(2) * length)
    return float(np.log(0.5 - share) / np.log(0.5 + share))

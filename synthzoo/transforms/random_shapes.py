"""Convex random regions: boxes and ellipsoids under shear and rotation (Baugh et al., MICCAI 2023).

A voxel p, measured from the region's centre, is inside when q = A^-1 p is inside the unit body of the given size:
box |q_i| <= size_i / 2, ellipsoid sum_i (q_i / (size_i / 2))^2 <= 1. The triple (A, size, kind) also gives the exact
distance from any inner point to the edge along a ray, which the deformation tasks need.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import ndimage

MIN_FRACTION, MAX_FRACTION = 0.06, 0.8


@dataclass(frozen=True)
class Region:
    """A convex region: `matrix` (n, n), `size` (n,) in voxels, `kind` "box" or "ellipsoid"."""

    matrix: np.ndarray
    size: np.ndarray
    kind: str

    @property
    def box(self) -> tuple[int, ...]:
        """Voxels per axis of the smallest grid that holds the transformed corners."""
        return tuple(int(e) for e in np.maximum(np.ceil(_extent(self.matrix, self.size)), 1))

    @property
    def centre(self) -> np.ndarray:
        """Position of the region's centre in its box, in voxels."""
        return (np.asarray(self.box) - 1) / 2

    def mask(self) -> np.ndarray:
        """Boolean grid of shape `box`, True inside the region."""
        points = np.stack(np.meshgrid(*[np.arange(b) for b in self.box], indexing="ij")).reshape(len(self.size), -1)
        local = np.linalg.inv(self.matrix) @ (points - self.centre[:, None])
        half = self.size[:, None] / 2
        inside = (np.abs(local) <= half).all(0) if self.kind == "box" else ((local / half) ** 2).sum(0) <= 1
        return inside.reshape(self.box)

    def edge_distance(self, start: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Distance in voxels from `start` (n,) (box coordinates) to the edge along unit `directions` (n, K)."""
        inverse = np.linalg.inv(self.matrix)
        half = self.size[:, None] / 2
        p = (inverse @ (np.asarray(start) - self.centre))[:, None] / half
        u = (inverse @ directions) / half
        if self.kind == "box":
            with np.errstate(divide="ignore", invalid="ignore"):
                t = np.where(np.abs(u) > 1e-12, (np.sign(u) - p) / u, np.inf)
            return np.maximum(t.min(0), 0)
        # |p + t u|^2 = 1 is a quadratic in t; the positive root is the way out.
        a, b, c = (u * u).sum(0), (p * u).sum(0), (p * p).sum(0) - 1
        return np.maximum((-b + np.sqrt(np.maximum(b * b - a * c, 0))) / a, 0)


def _extent(matrix: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Span per axis of the corners +-size/2 after the linear map: sum_j |A_ij| size_j."""
    return np.abs(matrix) @ size


def draw_region(shape: tuple[int, ...], rng: np.random.RandomState) -> Region:
    """Draw a region for an image grid.

    Args:
        shape: voxels per axis of the image, D_i; size_i = clip((0.03 + Gamma(2, 0.1)) D_i, 0.06 D_i, 0.8 D_i).
        rng: random state; the only source of chance.
    """
    grid = np.asarray(shape)
    n = len(grid)
    low, high = np.round(MIN_FRACTION * grid), np.round(MAX_FRACTION * grid)
    size = np.floor(np.clip((0.03 + rng.gamma(2, 0.1, n)) * grid, low, high))
    size = np.maximum(size, 2)
    matrix = np.eye(n)
    for row in range(n):
        column = rng.choice([c for c in range(n) if c != row])
        matrix[row, column] = rng.normal(0, 0.2)
    for i, j in combinations(range(n), 2):
        matrix = plane_rotation(n, i, j, rng.uniform(-np.pi / 2, np.pi / 2)) @ matrix
    worst = (_extent(matrix, size) / (MAX_FRACTION * grid)).max()
    if worst > 1:
        matrix = matrix / worst
    return Region(matrix, size, "box" if rng.rand() < 0.5 else "ellipsoid")


def plane_rotation(n: int, i: int, j: int, angle: float) -> np.ndarray:
    """Rotation matrix (n, n) by `angle` radians in the plane of axes i and j."""
    rotation = np.eye(n)
    rotation[i, i] = rotation[j, j] = np.cos(angle)
    rotation[i, j], rotation[j, i] = -np.sin(angle), np.sin(angle)
    return rotation


def place_region(
    region: Region, foreground: np.ndarray | None, shape: tuple[int, ...], rng: np.random.RandomState, tries: int = 50
) -> tuple[slice, ...] | None:
    """Slices of the region's box in an image: uniform corner, redrawn until half of the region is foreground.

    Args:
        region: what to place.
        foreground: boolean image grid, or None for anywhere.
        shape: voxels per axis of the image.
        rng: random state.
        tries: draws before giving up; None is returned then (an almost empty slice).
    """
    box, mask = region.box, region.mask()
    for _ in range(tries):
        corner = [rng.randint(0, max(d - b, 0) + 1) for d, b in zip(shape, box)]
        where = tuple(slice(c, c + b) for c, b in zip(corner, box))
        if foreground is None or foreground[where][mask].mean() >= 0.5:
            return where
    return None


def inner_distance(mask: np.ndarray) -> np.ndarray:
    """Distance in voxels from each voxel of the region to the nearest outside voxel; beyond the box is outside."""
    # Without the padding a region that touches its box would count as unbounded there.
    padded = ndimage.distance_transform_edt(np.pad(mask, 1))
    return padded[(slice(1, -1),) * mask.ndim]


def roughen(mask: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """The region with dents and bays, as lesions have them: its depth plus smooth noise, cut at a level.

    Args:
        mask: boolean (*box), a convex region.
        rng: draws the noise's width (1.5 to 4 voxels) and its height (10 to 50 % of the region's depth).

    Returns:
        boolean (*box) within `mask`, not empty if `mask` is not.
    """
    depth = inner_distance(mask)
    noise = ndimage.gaussian_filter(rng.standard_normal(mask.shape), rng.uniform(1.5, 4.0))
    noise = noise / max(float(noise.std()), 1e-6) * rng.uniform(0.1, 0.5) * depth.max()
    rough = mask & (depth + noise > rng.uniform(0.1, 0.4) * depth.max())
    return rough if rough.any() else mask

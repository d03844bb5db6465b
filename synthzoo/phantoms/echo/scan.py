"""The scanner's grid: beams in polar coordinates, the conversion to square images, and the point spread.

The polar grid has its radii in units of the depth and its angles fixed, so grid and conversion depend on the image size
alone and are made once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse

from synthzoo.phantoms.echo.patient import WIDEST_DEG, EchoPatient

NEAREST_CM = 0.2  # the transducer's face
REACH = 4.0  # of the point spread, in standard deviations


@dataclass(frozen=True)
class PolarGrid:
    """Beams for square images of one size.

    Attributes:
        radius: float64 (R,), in units of the depth.
        angle: float64 (A,), rad from the depth direction, positive to the right.
        to_image: sparse float32 (size * size, R * A), mean of 2 x 2 bilinear values in each pixel.
    """

    radius: np.ndarray
    angle: np.ndarray
    to_image: sparse.csr_matrix

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.radius), len(self.angle)


@lru_cache(maxsize=4)
def polar_grid(size: int) -> PolarGrid:
    """The beams for images of size x size pixels: 1.5 size + 32 radii, 1.2 size + 32 angles."""
    radii, angles = int(1.5 * size + 32), int(1.2 * size + 32)
    widest = np.deg2rad(WIDEST_DEG)
    x, y = _quarters(size)
    row = np.clip(np.hypot(x, y) * radii - 0.5, 0, radii - 1)
    column = np.clip((np.arctan2(x, y) / widest + 1) * angles / 2 - 0.5, 0, angles - 1)
    seen = np.flatnonzero((np.hypot(x, y) <= 1).ravel() & (np.abs(np.arctan2(x, y)) <= widest).ravel())
    pixel = np.repeat(np.arange(size * size).reshape(size, size), 2, axis=0).repeat(2, axis=1).ravel()[seen]
    row, column = row.ravel()[seen], column.ravel()[seen]
    low_row = np.minimum(row.astype(int), radii - 2)
    low_column = np.minimum(column.astype(int), angles - 2)
    to_image = sparse.csr_matrix((size * size, radii * angles), dtype=np.float32)
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - (row - low_row)) * np.abs(1 - right - (column - low_column)) / 4
            cells = (low_row + down) * angles + low_column + right
            to_image += sparse.csr_matrix((weight.astype(np.float32), (pixel, cells)), shape=to_image.shape)
    angle = ((np.arange(angles) + 0.5) * 2 / angles - 1) * widest
    return PolarGrid((np.arange(radii) + 0.5) / radii, angle, to_image.tocsr())


def _quarters(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the 2 size x 2 size quarters of pixels, in units of the depth."""
    steps = (np.arange(2 * size) + 0.5) / (2 * size)
    x, y = np.meshgrid(steps - 0.5, steps)
    return x, y


def sector(patient: EchoPatient, size: int) -> np.ndarray:
    """Share of each pixel that lies in the patient's sector, float32 (size, size)."""
    x, y = _quarters(size)
    radius, angle = np.hypot(x, y), np.abs(np.arctan2(x, y))
    inside = (angle <= np.deg2rad(patient.half_angle_deg)) & (radius <= 1) & (radius * patient.depth_cm >= NEAREST_CM)
    return inside.reshape(size, 2, size, 2).mean((1, 3), dtype=np.float32)


def to_images(values: np.ndarray, grid: PolarGrid) -> np.ndarray:
    """Scan conversion of (T, R, A) float32 to (T, size * size) float32."""
    return np.stack([grid.to_image @ frame.ravel() for frame in values])


def point_spread(patient: EchoPatient, grid: PolarGrid) -> tuple[np.ndarray, np.ndarray]:
    """Blurring along the beams, float32 (R, R) from the left, and across them, float32 (A, A) from the right.

    Rows have unit energy, so that white noise keeps its power, at the borders too.
    """
    axial = patient.axial_cm / patient.depth_cm * len(grid.radius)
    lateral = np.deg2rad(patient.lateral_deg) / (grid.angle[1] - grid.angle[0])
    return _band(len(grid.radius), axial), np.ascontiguousarray(_band(len(grid.angle), lateral).T)


def _band(count: int, sigma: float) -> np.ndarray:
    apart = np.subtract.outer(np.arange(count), np.arange(count)) / sigma
    weights = np.where(np.abs(apart) <= REACH, np.exp(-0.5 * apart**2), 0)
    return (weights / np.sqrt((weights**2).sum(1, keepdims=True))).astype(np.float32)

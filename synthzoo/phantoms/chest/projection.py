"""Projection of a chest phantom: line integrals of attenuation, and path lengths of organs and findings.

A point source, a flat detector. Solid organs are evaluated directly on the samples of the rays, with no volume in
between, so edges are as sharp as the pixel; clouds are splatted with each point's own magnification.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage as ndi

from synthzoo.phantoms.chest.anatomy import Anatomy
from synthzoo.phantoms.chest.clouds import Cloud
from synthzoo.phantoms.chest.patient import ChestStudy
from synthzoo.phantoms.chest.tissue import ROWS, WATER_PER_MM, tissue

if TYPE_CHECKING:
    from synthzoo.phantoms.chest.findings import Lesion

STEP_MM = 6.0  # along the beam; half of it moves the lungs' volume by 0.1 %
FRONT_MM, BACK_MM = 170.0, -175.0  # depth range of the rays, which holds the fattest back
DETECTOR_MM = {"PA": 175.0, "AP": -185.0}
CENTRE_Z_MM = -8.0  # of the detector, before its shift
Window = tuple[slice, slice, slice]  # samples along the beam, rows, columns
ALL: Window = (slice(None), slice(None), slice(None))


@dataclass
class Projection:
    """What a study's exposures have in common.

    Attributes:
        mu: line integral of attenuation, float32 (S, S), row 0 at the top, the patient's left on the picture's right.
        paths: float32 (2 + K, S, S): mm of lung as it was in health, mm of heart, then of each finding in mm (a
            device: its line integral).
        pixel_mm: side of a pixel on the detector.
        study: pose and field of view.
    """

    mu: np.ndarray
    paths: np.ndarray
    pixel_mm: float
    study: ChestStudy


@dataclass(frozen=True)
class Beam:
    """A study's rays: `source_mm` and `detector_mm` along y, size and side of the pixels."""

    study: ChestStudy
    size: int
    pixel_mm: float
    source_mm: float
    detector_mm: float

    @classmethod
    def of(cls, study: ChestStudy, size: int) -> Beam:
        """The beam of a study on a detector of size x size pixels."""
        detector = DETECTOR_MM[study.view]
        source = detector - study.distance_mm * math.copysign(1, detector)
        return cls(study, size, study.field_mm / size, source, detector)

    def samples(
        self, step_mm: float, window: Window = ALL
    ) -> tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
        """Patient coordinates of all samples, which broadcast to (n, rows, columns), and each ray's step in mm.

        The tilt comes before the rotation, so that z is the same for all columns and what depends on z alone is cheap.

        Args:
            step_mm: along the beam.
            window: samples along the beam, rows and columns that are wanted.
        """
        study, (along, rows, columns) = self.study, window
        depth = torch.arange(FRONT_MM, BACK_MM, -step_mm)[along]
        scale = self.scales(step_mm, along)
        at = (torch.arange(self.size) + 0.5) * self.pixel_mm - study.field_mm / 2
        u = (at + study.shift_x_mm)[columns].reshape(1, 1, -1)
        v = (study.shift_z_mm + CENTRE_Z_MM - at)[rows].reshape(1, -1, 1)
        x, y, z = u * scale, depth.reshape(-1, 1, 1), v * scale
        tilt, turn = math.radians(study.tilt_deg), math.radians(study.rotation_deg)
        y, z = y * math.cos(tilt) + z * math.sin(tilt), z * math.cos(tilt) - y * math.sin(tilt)
        x, y = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
        return (x, y, z), (1 + (u**2 + v**2) / study.distance_mm**2).sqrt()[0] * step_mm

    def scales(self, step_mm: float, along: slice = slice(None)) -> torch.Tensor:
        """Size of a detector's pixel at the samples along the beam, as a share of its side, (n, 1, 1)."""
        depth = torch.arange(FRONT_MM, BACK_MM, -step_mm)[along]
        return ((depth - self.source_mm) / (self.detector_mm - self.source_mm)).reshape(-1, 1, 1)

    def window(self, an: Anatomy, low: np.ndarray, high: np.ndarray, step_mm: float) -> Window:
        """Samples along the beam, rows and columns that hold a box of the patient, with a margin of two of each."""
        corners = np.array([[(low, high)[bit][axis] for axis, bit in enumerate(bits)] for bits in np.ndindex(2, 2, 2)])
        row, column, depth, _ = self.seen(an, corners)
        count = len(torch.arange(FRONT_MM, BACK_MM, -step_mm))
        spans = (((FRONT_MM - depth) / step_mm, count), (row, self.size), (column, self.size))
        ends = [(max(0, int(at.min()) - 2), min(most, int(at.max()) + 4)) for at, most in spans]
        along, rows, columns = (slice(min(first, last - 1), last) for first, last in ends)
        return along, rows, columns

    def seen(self, an: Anatomy, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Row and column at which points (N, 3) are seen, their depth in mm and what `scales` says there."""
        study = self.study
        tilt, turn = math.radians(study.tilt_deg), math.radians(study.rotation_deg)
        x = points[:, 0] + an.shear(points[:, 2])
        x, y = x * math.cos(turn) - points[:, 1] * math.sin(turn), x * math.sin(turn) + points[:, 1] * math.cos(turn)
        y, z = y * math.cos(tilt) - points[:, 2] * math.sin(tilt), y * math.sin(tilt) + points[:, 2] * math.cos(tilt)
        scale = (y - self.source_mm) / (self.detector_mm - self.source_mm)
        row = (study.field_mm / 2 + study.shift_z_mm + CENTRE_Z_MM - z / scale) / self.pixel_mm
        column = (x / scale - study.shift_x_mm + study.field_mm / 2) / self.pixel_mm
        return row, column, y, scale

    def splat(self, an: Anatomy, cloud: Cloud) -> np.ndarray:
        """Line integral of a cloud on the detector, float32 (S, S), bilinear."""
        (points, mass), n = cloud, self.size + 2
        row, column, _, scale = self.seen(an, points)
        # One pixel of margin on all sides, for points whose other corner lies outside.
        row, column = row + 0.5, column + 0.5
        inside = (row >= 0) & (row < n - 1) & (column >= 0) & (column < n - 1)
        row, column = row[inside], column[inside]
        weight = (mass * (WATER_PER_MM / 1000) / (self.pixel_mm * scale) ** 2)[inside]
        first, second = row.astype(np.int32), column.astype(np.int32)
        corner, row, column = first * n + second, row - first, column - second
        low, high = weight * (1 - row), weight * row
        total = np.bincount(corner, low * (1 - column), n * n)
        for offset, part in ((1, low * column), (n, high * (1 - column)), (n + 1, high * column)):
            total += np.bincount(corner + offset, part, n * n)
        return total.reshape(n, n)[1:-1, 1:-1].astype(np.float32)


def integrate(
    an: Anatomy, beam: Beam, lesions: Sequence[Lesion] = (), step_mm: float = STEP_MM
) -> tuple[np.ndarray, np.ndarray]:
    """Line integral of the solid tissue, float32 (S, S), and path lengths of lungs, heart and lesions (2 + K, S, S)."""
    (x, y, z), step = beam.samples(step_mm)
    mu, paths = [], []
    with torch.inference_mode():
        for first in range(0, beam.size, ROWS):
            rows = slice(first, first + ROWS)
            block = tuple(v[:, rows] if v.shape[1] > 1 else v for v in (x, y, z))
            hu, *shares = tissue(an, block, beam.pixel_mm, lesions)
            mu.append((hu + 1000).sum(0) * (WATER_PER_MM / 1000) * step[rows])
            paths.append(torch.stack([part.sum(0) * step[rows] for part in shares]))
    return torch.cat(mu).numpy(), torch.cat(paths, 1).numpy()


def rolled(image: np.ndarray, study: ChestStudy) -> np.ndarray:
    """An image or a stack of them as the detector's roll shows it; linear, so that sums stay sums."""
    if not study.roll_deg:
        return image
    axes = (image.ndim - 1, image.ndim - 2)
    return ndi.rotate(image, study.roll_deg, axes, reshape=False, order=1, mode="nearest")

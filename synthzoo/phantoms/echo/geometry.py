"""Geometry of the heart in the scan plane: cavities, walls and valves in each frame.

The probe is at the origin, x points right and y into depth, in cm. The left ventricle has an axis from the apex to the
mitral ring; a point has the body coordinates `along` (cm from the apex) and `across` (cm to the right of the axis). The
cavity is the solid of revolution of radius R p(along / L), so its volume is pi L R^2 times the integral of p squared.
Shares are soft by one cell at the edges: a wall that moves by a tenth of a cell is seen to move.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from synthzoo.phantoms.echo.motion import APEX_SHARE, Motion
from synthzoo.phantoms.echo.patient import EchoPatient, EchoSession

TABLE = 4096
RV_WALL_CM, ATRIUM_WALL_CM = 0.4, 0.3
RIGHT_ATRIUM_CM = 1.75  # semi-axis
LEAFLET_CM = 0.09


def profile(patient: EchoPatient, place: float | np.ndarray) -> np.ndarray:
    """Radius in units of the largest, at places 0 (apex) to 1 (base): a superellipse, then a parabola.

    p(s) = (1 - (1 - s/s0)^m)^(1/m) up to the shoulder s0, and 1 - taper ((s - s0)/(1 - s0))^2 from there on.
    """
    place = np.asarray(place, np.float64)
    shoulder, power = patient.shoulder, patient.roundness
    tip = (1 - np.clip(1 - place / shoulder, 0, 1) ** power) ** (1 / power)
    return np.where(place < shoulder, tip, 1 - patient.taper * ((place - shoulder) / (1 - shoulder)) ** 2)


@lru_cache(maxsize=512)
def profile_area(patient: EchoPatient) -> float:
    """Integral of the squared profile from apex to base, by the trapezium rule on 513 points."""
    squared = profile(patient, np.linspace(0, 1, 513)) ** 2
    return float((squared.sum() - 0.5 * (squared[0] + squared[-1])) / 512)


@lru_cache(maxsize=64)
def _profile_table(patient: EchoPatient) -> np.ndarray:
    return profile(patient, (np.arange(TABLE + 1)) / TABLE).astype(np.float32)


def profile_at(patient: EchoPatient, place: np.ndarray) -> np.ndarray:
    """The profile from a fine table, float32; `place` is float32 in [0, 1]."""
    return np.take(_profile_table(patient), (place * TABLE + np.float32(0.5)).astype(np.int32))


def tilt(patient: EchoPatient, session: EchoSession) -> float:
    """Angle of the ventricle's axis with the depth direction, rad."""
    return float(np.deg2rad(patient.tilt_deg + session.turn_deg))


def to_body(x: np.ndarray, y: np.ndarray, patient: EchoPatient, session: EchoSession) -> tuple[np.ndarray, np.ndarray]:
    """Body coordinates (along, across) in cm of scan coordinates in cm; float32, any shape."""
    angle = tilt(patient, session)
    right, down = x - (patient.apex_x_cm + session.shift_cm), y - patient.apex_y_cm
    along = right * np.sin(angle) + down * np.cos(angle)
    across = right * np.cos(angle) - down * np.sin(angle)
    return along.astype(np.float32), across.astype(np.float32)


def from_body(
    along: np.ndarray, across: float | np.ndarray, patient: EchoPatient, session: EchoSession
) -> tuple[np.ndarray, np.ndarray]:
    """Scan coordinates (x, y) in cm of body coordinates in cm."""
    angle = tilt(patient, session)
    x = patient.apex_x_cm + session.shift_cm + along * np.sin(angle) + across * np.cos(angle)
    return x, patient.apex_y_cm + along * np.cos(angle) - across * np.sin(angle)


def centre_line(patient: EchoPatient, place: float | np.ndarray) -> float | np.ndarray:
    """How far across the middle of the cavity lies at a place from 0 (apex) to 1 (base), cm: a shear of the discs."""
    return patient.bend * patient.length_cm * place * (1 - place)


def cavity_masks(patient: EchoPatient, session: EchoSession, motion: Motion, size: int) -> np.ndarray:
    """Cavity of the left ventricle at the pixels' centres, bool (T, size, size)."""
    along, across = to_body(*pixel_centres(size, patient.depth_cm), patient, session)
    reach = np.abs(centre_line(patient, 0.5)) + float(motion.radius_cm.max())
    near = np.flatnonzero((along >= 0) & (along <= motion.length_cm.max()) & (np.abs(across) <= reach))
    along, across = along.ravel()[near], across.ravel()[near]
    place = along / _column(motion.length_cm)
    inside = place <= 1
    np.minimum(place, 1, out=place)
    away = np.abs(across - centre_line(patient, place))
    inside &= away <= _column(motion.radius_cm) * profile_at(patient, place)
    masks = np.zeros((len(inside), size * size), bool)
    masks[:, near] = inside
    return masks.reshape(-1, size, size)


def pixel_centres(size: int, depth_cm: float) -> tuple[np.ndarray, np.ndarray]:
    """x and y in cm of the centres of size x size pixels; the image spans x of +-depth / 2 and y from 0 to depth."""
    steps = (np.arange(size) + 0.5) * depth_cm / size
    x, y = np.meshgrid(steps - depth_cm / 2, steps)
    return x, y


@dataclass
class Part:
    """Shares of a structure at some of the points.

    Attributes:
        points: int64 (n,), which of the points.
        share: float32 (T, n) in [0, 1].
    """

    points: np.ndarray
    share: np.ndarray


@dataclass
class Ventricle:
    """The left ventricle at the points where it ever is: `cavity` and `muscle` are shares, float32 (T, n); `gap` is the
    distance in cm from the cavity's wall, positive inside; `outer_gap` from the epicardium; `place` and `fraction` are
    the material coordinates of the muscle: along from 0 to 1, across from -1 to 1."""

    points: np.ndarray
    cavity: np.ndarray
    muscle: np.ndarray
    gap: np.ndarray
    outer_gap: np.ndarray
    place: np.ndarray
    fraction: np.ndarray


def _column(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32)[:, None]


def _ramp(distance: np.ndarray, edge: float) -> np.ndarray:
    """Share of a cell of width `edge` whose centre lies `distance` inside a flat wall; `distance` is overwritten."""
    distance *= np.float32(1 / edge)
    distance += np.float32(0.5)
    return np.clip(distance, 0, 1, out=distance)


class Heart:
    """The structures of one video at fixed points.

    Args:
        along, across: body coordinates of the points in cm, float32 (N,).
        motion: of the whole video; it decides which points each structure ever reaches.
        edge: width of a cell in cm.
    """

    def __init__(
        self, patient: EchoPatient, along: np.ndarray, across: np.ndarray, motion: Motion, edge: float
    ) -> None:
        self.patient, self.along, self.across, self.edge = patient, along, across, edge
        self.outer_max = float(motion.outer_radius_cm.max())
        self.sway = abs(float(centre_line(patient, 0.5)))
        self.apex_cm = APEX_SHARE * patient.wall_cm
        reach = self.outer_max + self.sway + 2 * edge
        ring_max = float(motion.length_cm.max())
        self.left = self._where(-self.apex_cm - edge, ring_max + edge, -reach, reach)
        right_out = self.outer_max + self.sway + patient.rv_width_cm + RV_WALL_CM + edge
        self.right = self._where(0, patient.length_cm, -right_out, 0)
        width = 1.1 * patient.atrium_width_cm + ATRIUM_WALL_CM + edge
        least = float(motion.length_cm.min())
        self.left_atrium = self._where(least - edge, self._left_roof + ATRIUM_WALL_CM + edge, -width, width)
        self.right_roof = 0.92 * patient.length_cm + 2 * RIGHT_ATRIUM_CM
        self.right_atrium = self._where(
            0.8 * least, self.right_roof + ATRIUM_WALL_CM + edge, -reach - 2 * RIGHT_ATRIUM_CM - 1, 0
        )

    @property
    def _left_roof(self) -> float:
        return self.patient.length_cm + 0.15 + 2 * self.patient.atrium_length_cm

    def _where(self, first: float, last: float, low: float, high: float) -> np.ndarray:
        inside = (self.along >= first) & (self.along <= last) & (self.across >= low) & (self.across <= high)
        return np.flatnonzero(inside)

    def ventricle(self, motion: Motion) -> Ventricle:
        """Cavity and muscle of the left ventricle in the frames of `motion`."""
        patient, edge = self.patient, self.edge
        along, across = self.along[self.left], self.across[self.left]
        length = _column(motion.length_cm)
        place = np.clip(along / length, 0, 1)
        off = across - np.float32(patient.bend * patient.length_cm) * place * (1 - place)
        away = np.abs(off)
        gap = _column(motion.radius_cm) * profile_at(patient, place) - away
        outer_place = np.clip((along + np.float32(self.apex_cm)) / _column(motion.outer_length_cm), 0, 1)
        outer = _column(motion.outer_radius_cm) * profile_at(patient, outer_place)
        outer_gap = outer - away
        to_ring = length - along
        both = np.minimum(to_ring, along)
        cavity = _ramp(np.minimum(both, gap), edge)
        muscle = _ramp(np.minimum(np.minimum(to_ring, along + np.float32(self.apex_cm)), outer_gap), edge)
        muscle -= np.minimum(cavity, muscle)
        fraction = np.clip(off / np.maximum(outer, np.float32(0.05)), -1, 1)
        return Ventricle(self.left, cavity, muscle, gap, outer_gap, outer_place, fraction)

    def right_ventricle(self, motion: Motion) -> tuple[Part, Part]:
        """Cavity of the right ventricle, and cavity with free wall: a crescent outside the septum."""
        patient, edge = self.patient, self.edge
        along, across = self.along[self.right], self.across[self.right]
        place = np.clip(along / _column(motion.length_cm), 0, 1)
        outer_place = np.clip((along + np.float32(self.apex_cm)) / _column(motion.outer_length_cm), 0, 1)
        outer = _column(motion.outer_radius_cm) * profile_at(patient, outer_place)
        off = -across + np.float32(patient.bend * patient.length_cm) * place * (1 - place)
        off -= outer
        start, ring = np.float32(0.12 * patient.length_cm), self.right_ring(motion)
        share = np.clip((along - start) / (_column(ring) - start), 0, 1)
        thick = self.right_width(motion) * np.sin(np.float32(0.75 * np.pi) * share**0.8)
        ends = np.minimum(along - start, _column(ring) - along)
        cavity = _ramp(np.minimum(np.minimum(off, thick - off), ends), edge)
        ends = np.minimum(along - start + np.float32(RV_WALL_CM), _column(ring) - along)
        wall = _ramp(np.minimum(thick + np.float32(RV_WALL_CM) - off, ends), edge)
        return Part(self.right, cavity), Part(self.right, wall)

    def right_ring(self, motion: Motion) -> np.ndarray:
        """Where along the tricuspid ring lies, cm, float64 (T,); it comes down more than the mitral one."""
        return 0.92 * self.patient.length_cm * (1 - 1.3 * motion.shortening)

    def right_width(self, motion: Motion) -> np.ndarray:
        """Width of the right ventricle in cm, float32 (T, 1)."""
        emptied = motion.shortening / self.patient.long_axis_share  # EF times the contraction
        return _column(self.patient.rv_width_cm * (1 - 0.25 * emptied / 0.6))

    def left_atrium_parts(self, motion: Motion) -> tuple[Part, Part]:
        """Cavity of the left atrium, and cavity with wall: between the moving ring and a roof that stays."""
        width = self.patient.atrium_width_cm * (1 + 0.1 * motion.contraction)
        return self._atrium(self.left_atrium, motion.length_cm, self._left_roof, np.zeros_like(width), width)

    def right_atrium_parts(self, motion: Motion) -> tuple[Part, Part]:
        """Cavity of the right atrium, and cavity with wall."""
        width = np.full(len(motion.contraction), RIGHT_ATRIUM_CM)
        middle = -(1.05 * self.patient.atrium_width_cm + ATRIUM_WALL_CM + RIGHT_ATRIUM_CM) + 0 * width
        return self._atrium(self.right_atrium, self.right_ring(motion), self.right_roof, middle, width)

    def _atrium(
        self, points: np.ndarray, ring: np.ndarray, roof: float, middle: np.ndarray, width: np.ndarray
    ) -> tuple[Part, Part]:
        """An ellipse that starts 0.8 cm before the ring and is cut by it, so that the valve's opening is wide."""
        along, across = self.along[points], self.across[points] - _column(middle)
        start = ring - 0.8
        half, centre = 0.5 * (roof - start), 0.5 * (roof + start)
        squared = ((along - _column(centre)) / _column(half)) ** 2
        squared += (across / _column(width)) ** 2
        distance = (1 - np.sqrt(squared)) * _column(np.minimum(half, width))
        past_ring = along - _column(ring)
        wall = _ramp(np.minimum(distance + np.float32(ATRIUM_WALL_CM), past_ring), self.edge)
        return Part(points, _ramp(np.minimum(distance, past_ring), self.edge)), Part(points, wall)

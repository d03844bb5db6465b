"""Rendering of anatomy as ultrasound: echo levels, speckle that moves with the tissue, point spread, log compression.

A cell's echo is its level times a complex scatterer of unit power; the blurred magnitude is Rayleigh speckle. Muscle
and background keep their scatterers, looked up in body coordinates, with a little that is fresh in each frame; blood is
fresh throughout. No frame is normalised by itself, which would leak the ejection fraction into the brightness.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from synthzoo.phantoms.echo.geometry import (
    LEAFLET_CM,
    Heart,
    Part,
    Ventricle,
    centre_line,
    profile,
    tilt,
    to_body,
)
from synthzoo.phantoms.echo.motion import Motion
from synthzoo.phantoms.echo.patient import EchoPatient, EchoSession
from synthzoo.phantoms.echo.scan import PolarGrid, point_spread, polar_grid, sector, to_images

TEXTURE, NOISE = 104, 105
CELLS_AT_ONCE = 100_000  # cells of the polar grid worked on together; more leave the processor's cache
BLOOD_DB, RIDGE_DB, SAC_DB, LEAFLET_DB = -38.0, -6.0, -7.0, -8.0
WALL_STEP_DB = -2.0  # walls of right ventricle and atria, below the muscle of the left ventricle
KEPT = 0.96  # amplitude of the scatterers that stay with the tissue; the rest of the power is fresh in each frame
RIDGE_CM = 0.12
MUSCLE_TEXTURE = (128, 192)  # cells along and across the muscle
FIELD_TEXTURE, FIELD_CM = 320, 20.0  # cells and width of the background's scatterers
FIELD_FROM_CM = (-4.5, -10.0)  # where they begin, along and across
SHADE_TEXTURE = 16  # cells of the background's slow changes of level
SHADE_DB = 5.0
FAR_DB_CM = -0.9  # of the background, for each cm that it lies beyond the heart


def render(patient: EchoPatient, session: EchoSession, noise: int, motion: Motion, size: int) -> np.ndarray:
    """Video of a motion, uint8 (T, size, size); outside the sector exactly 0.

    Args:
        noise: seed of blood speckle and electronic noise.
        motion: of the whole video.
        size: of the square image in pixels.
    """
    grid = polar_grid(size)
    scene = _Scene(patient, session, motion, grid)
    rng = np.random.Generator(np.random.SFC64([NOISE, patient.seed, session.seed, noise]))
    axial, lateral = point_spread(patient, grid)
    gain = _gain(patient, session, grid)
    haze = np.float32(patient.haze) * np.exp(-grid.radius * patient.depth_cm / 2).astype(np.float32)[:, None]
    cover = 255 * sector(patient, size).ravel()
    slope = np.float32(10 / np.log(10) / patient.dynamic_range_db)
    frames = len(motion.contraction)
    video = np.empty((frames, size, size), np.uint8)
    step = max(1, CELLS_AT_ONCE // (len(grid.radius) * len(grid.angle)))
    for first in range(0, frames, step):
        fresh = rng.standard_normal((min(step, frames - first), 2, *grid.shape), dtype=np.float32)
        echo = axial @ (scene.echo(motion[first : first + step], fresh) @ lateral)
        power = echo[:, 0] ** 2
        power += echo[:, 1] ** 2
        power += np.float32(1e-8)
        level = np.log(power, out=power)
        level *= slope
        level += gain
        np.clip(level, 0, 1, out=level)
        level += haze
        np.minimum(level, 1, out=level)
        image = to_images(level, grid)
        image *= cover
        video[first : first + step] = np.rint(image, out=image).reshape(-1, size, size)
    return video


def swept_region(patient: EchoPatient, session: EchoSession, motion: Motion, size: int) -> np.ndarray:
    """Pixels that heart or blood reach in any frame, with the reach of the point spread, bool (size, size)."""
    grid = polar_grid(size)
    scene = _Scene(patient, session, motion, grid)
    reached = np.zeros(scene.along.size, bool)
    for frame in range(len(motion.contraction)):
        level, kept, _ = scene.levels(motion[frame : frame + 1])
        reached |= (level[0] != scene.background) | (kept[0] != np.float32(KEPT))
    axial, lateral = point_spread(patient, grid)
    spread = axial @ reached.reshape(grid.shape).astype(np.float32) @ lateral
    return (grid.to_image @ (spread > 0).ravel().astype(np.float32) > 0).reshape(size, size)


def _gain(patient: EchoPatient, session: EchoSession, grid: PolarGrid) -> np.ndarray:
    """What is added to the compressed level, float32 (R, A): gain, attenuation and rib shadows."""
    depth = grid.radius[:, None] * patient.depth_cm
    db = patient.gain_db + session.gain_db - 8.0 - patient.attenuation_db_cm * (depth - 8.0)
    for shadow in patient.shadows:
        db = db - shadow.depth_db * np.exp(-0.5 * ((grid.angle[None] - shadow.angle) / shadow.width) ** 2)
    # The envelope of two unit normals has power 2.
    db = db + np.zeros(grid.shape) - 10 * np.log10(2)
    return (1 + db / patient.dynamic_range_db).astype(np.float32)


def _amplitude(db: float) -> np.float32:
    return np.float32(10 ** (db / 20))


@lru_cache(maxsize=8)
def _textures(patient: int, shrink: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The patient's scatterers in muscle and background, complex64, and the slow changes of the background in dB.

    With `shrink` they are drawn towards those that all patients share, at equal power.
    """
    shapes = (2, *MUSCLE_TEXTURE), (2, FIELD_TEXTURE, FIELD_TEXTURE), (SHADE_TEXTURE, SHADE_TEXTURE)

    def draw(seeds: list[int]) -> list[np.ndarray]:
        rng = np.random.Generator(np.random.SFC64(seeds))
        return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]

    found = draw([TEXTURE, 1, patient])
    if shrink < 1:
        common = np.float32(np.sqrt(1 - shrink**2))
        found = [np.float32(shrink) * own + common * shared for own, shared in zip(found, draw([TEXTURE, 0]))]
    muscle, field, shade = found
    return muscle[0] + 1j * muscle[1], field[0] + 1j * field[1], SHADE_DB * shade


def _lookup(table: np.ndarray, row: np.ndarray, column: np.ndarray, unit: bool = True) -> np.ndarray:
    """Bilinear values of `table` at float32 rows and columns that lie inside it.

    With `unit`, the four weights have unit energy, so that white noise keeps its power between the cells too.
    """
    last = table.shape[1]
    low_row = np.minimum(row.astype(np.int32), table.shape[0] - 2)
    low_column = np.minimum(column.astype(np.int32), last - 2)
    down, right = row - low_row.astype(np.float32), column - low_column.astype(np.float32)
    up, left = 1 - down, 1 - right
    cell = low_row * last
    cell += low_column
    flat = table.ravel()
    found = (np.take(flat, cell) * left + np.take(flat, cell + 1) * right) * up
    found += (np.take(flat, cell + last) * left + np.take(flat, cell + (last + 1)) * right) * down
    if unit:
        found /= np.sqrt((up * up + down * down) * (left * left + right * right))
    return found


class _Scene:
    """Echo levels and scatterers of one video on the polar grid; what no frame changes is made once."""

    def __init__(self, patient: EchoPatient, session: EchoSession, motion: Motion, grid: PolarGrid) -> None:
        self.patient, self.shape = patient, grid.shape
        radius = grid.radius[:, None] * patient.depth_cm
        x, y = radius * np.sin(grid.angle), radius * np.cos(grid.angle)
        along, across = (values.ravel() for values in to_body(x, y, patient, session))
        self.along, self.across = along, across
        self.heart = Heart(patient, along, across, motion, patient.depth_cm / len(grid.radius))
        self.muscle_texture, field, shade = _textures(patient.seed, patient.shrink)
        cells = FIELD_TEXTURE / FIELD_CM
        row, column = (
            np.clip((values - np.float32(start)) * np.float32(cells), 0, FIELD_TEXTURE - 1)
            for values, start in zip((along, across), FIELD_FROM_CM)
        )
        still = _lookup(field, row, column)
        self.still = np.stack([still.real, still.imag]) * np.float32(KEPT)
        coarser = np.float32((SHADE_TEXTURE - 1) / (FIELD_TEXTURE - 1))
        db = _lookup(shade, row * coarser, column * coarser, unit=False)
        beyond = np.clip(np.abs(across - np.float32(-1.0)) - np.float32(4.5), 0, 8)
        db += np.float32(FAR_DB_CM) * beyond
        self.background = 10 ** ((np.float32(patient.background_db) + db) / 20)
        # A wall across the beam mirrors it, one along the beam drops out; the tip stays bright.
        left = self.heart.left
        facing = np.sin(np.broadcast_to(grid.angle, grid.shape).ravel()[left] - tilt(patient, session)) ** 2
        tip = np.exp(-0.5 * (along[left] / patient.length_cm / 0.15) ** 2)
        self.facing = (_amplitude(RIDGE_DB) * (0.25 + 0.75 * facing + 0.35 * tip)).astype(np.float32)
        # The pericardium shines where the heart meets the lung, on the free side.
        self.sac = (_amplitude(SAC_DB) * (0.15 + facing) * (across[left] > 0)).astype(np.float32)
        self.near_valves = self._valve_points(motion)

    def _valve_points(self, motion: Motion) -> np.ndarray:
        heart, patient = self.heart, self.patient
        first = float(heart.right_ring(motion).min()) - 2.0
        inside = (self.along >= first) & (self.along <= patient.length_cm + 0.4)
        reach = heart.outer_max + 0.4
        inside &= (self.across >= -reach - patient.rv_width_cm) & (self.across <= reach)
        return np.flatnonzero(inside)

    def levels(self, motion: Motion) -> tuple[np.ndarray, np.ndarray, Ventricle]:
        """Echo level and amplitude of the scatterers that stay, both float32 (T, R * A), and the left ventricle."""
        patient, heart = self.patient, self.heart
        frames, cells = len(motion.contraction), self.along.size
        level = np.empty((frames, cells), np.float32)
        level[:] = self.background
        kept = np.full((frames, cells), np.float32(KEPT))
        muscle = _amplitude(patient.myocardium_db)
        wall, blood = muscle * _amplitude(WALL_STEP_DB), _amplitude(BLOOD_DB)
        for cavity, outer in (
            heart.right_atrium_parts(motion),
            heart.left_atrium_parts(motion),
            heart.right_ventricle(motion),
        ):
            _paint(level, outer, wall)
            _paint(level, cavity, blood)
            _bleed(kept, cavity)
        left = heart.ventricle(motion)
        values = np.take(level, left.points, axis=1)
        values += left.muscle * (muscle - values)
        values += left.cavity * (blood - values)
        ridge = np.exp(np.float32(-0.5 / RIDGE_CM**2) * left.gap**2)
        values += ridge * self.facing * np.minimum(left.cavity + left.muscle, 1)
        values += np.exp(np.float32(-0.5 / RIDGE_CM**2) * left.outer_gap**2) * self.sac * left.muscle
        level[:, left.points] = values
        _bleed(kept, Part(left.points, left.cavity))
        self._add_valves(level, motion)
        self._add_marks(level, motion)
        return level, kept, left

    def echo(self, motion: Motion, fresh: np.ndarray) -> np.ndarray:
        """Echoes before the point spread, float32 (T, 2, R, A).

        Args:
            fresh: standard normal, float32 (T, 2, R, A); overwritten.
        """
        level, kept, left = self.levels(motion)
        frames, cells = level.shape
        still = np.empty((frames, 2, cells), np.float32)
        still[:] = self.still
        frame, point = np.nonzero(left.muscle > 0.5)
        rows, columns = (np.float32(cells - 1) for cells in MUSCLE_TEXTURE)
        place, fraction = left.place[frame, point], left.fraction[frame, point]
        found = _lookup(self.muscle_texture, place * rows, (fraction + 1) * np.float32(0.5) * columns)
        found *= np.float32(KEPT)
        still[frame, 0, left.points[point]] = found.real
        still[frame, 1, left.points[point]] = found.imag
        # Fresh scatterers fill up to unit power; `still` already has the amplitude KEPT and only fades in blood.
        fill = np.sqrt(1 - kept * kept)
        fresh = fresh.reshape(frames, 2, cells)
        fresh *= fill[:, None]
        kept *= np.float32(1 / KEPT)
        still *= kept[:, None]
        fresh += still
        fresh *= level[:, None]
        return fresh.reshape(frames, 2, *self.shape)

    def _add_valves(self, level: np.ndarray, motion: Motion) -> None:
        """Two leaflets at each atrioventricular ring; they fold back along the walls as they open."""
        patient, points = self.patient, self.near_valves
        along, across = self.along[points], self.across[points]
        end = float(profile(patient, 1.0))
        mitral = motion.radius_cm * end
        inner, ring = motion.outer_radius_cm * end, self.heart.right_ring(motion)
        outer = inner + self.heart.right_width(motion)[:, 0] * np.sin(0.75 * np.pi)
        echo = np.zeros((len(motion.contraction), points.size), np.float32)
        hinges = ((motion.length_cm, -mitral, mitral), (ring, -outer, -inner))
        for place, low, high in hinges:
            middle, half = 0.5 * (low + high), 0.5 * (high - low)
            tip = place - 0.25 - (1.1 * np.minimum(half, 1.6)) * motion.opening
            for side in (-1, 1):
                hinge = middle + side * half
                end_across = middle + side * half * 0.85 * motion.opening
                distance = _to_segment(along, across, place, hinge, tip, end_across)
                np.maximum(echo, np.exp(np.float32(-0.5 / LEAFLET_CM**2) * distance), out=echo)
        level[:, points] += _amplitude(LEAFLET_DB) * echo

    def _add_marks(self, level: np.ndarray, motion: Motion) -> None:
        patient = self.patient
        for mark in patient.marks:
            along = mark.place * motion.length_cm
            across = mark.side * mark.reach * motion.radius_cm * float(profile(patient, mark.place))
            across = across + centre_line(patient, mark.place)
            reach = 3.5 * mark.width_cm
            near = (self.along > along.min() - reach) & (self.along < along.max() + reach)
            near &= (self.across > across.min() - reach) & (self.across < across.max() + reach)
            points = np.flatnonzero(near)
            squared = (self.along[points] - _column(along)) ** 2 + (self.across[points] - _column(across)) ** 2
            level[:, points] += _amplitude(mark.level_db) * np.exp(np.float32(-0.5 / mark.width_cm**2) * squared)


def _column(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32)[:, None]


def _paint(level: np.ndarray, part: Part, value: np.float32) -> None:
    """Move the level of a part's points towards `value` by its share."""
    values = np.take(level, part.points, axis=1)
    values += part.share * (value - values)
    level[:, part.points] = values


def _bleed(kept: np.ndarray, part: Part) -> None:
    """Blood keeps no scatterers."""
    kept[:, part.points] *= 1 - part.share


def _to_segment(
    along: np.ndarray,
    across: np.ndarray,
    from_along: np.ndarray,
    from_across: np.ndarray,
    to_along: np.ndarray,
    to_across: np.ndarray,
) -> np.ndarray:
    """Squared distance in cm of points to one segment a frame, float32 (T, n)."""
    step_along, step_across = _column(to_along - from_along), _column(to_across - from_across)
    off_along, off_across = along - _column(from_along), across - _column(from_across)
    share = off_along * step_along + off_across * step_across
    share /= step_along**2 + step_across**2
    np.clip(share, 0, 1, out=share)
    off_along -= share * step_along
    off_across -= share * step_across
    return off_along**2 + off_across**2

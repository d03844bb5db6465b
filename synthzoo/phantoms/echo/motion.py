"""Motion of the heart: one contraction curve, and the volumes, lengths and radii that follow from it exactly.

The contraction c rises from 0 (end diastole) to 1 (end systole) and falls back in early filling, diastasis and atrial
kick. Volume is imposed, V = EDV (1 - EF c), the long axis shortens by a share of EF c, and the radius is solved for.
Both ends are plateaus at least one frame interval wide, so a video of a whole beat holds a frame at EDV and one at ESV:
the ejection fraction is exact for the curve and for the frames.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from synthzoo.errors import UserError
from synthzoo.phantoms.echo.patient import EF_RANGE, HEART_RATE, EchoPatient, EchoSession

SYSTOLE, FILLING, DIASTASIS, KICK = 0.36, 0.26, 0.20, 0.18  # shares of the beat outside the plateaus
BEFORE_KICK = 0.2  # contraction that the atrial kick still has to undo
LEAST_FRAMES = 5.0  # a beat
APEX_SHARE = 0.6  # of the wall's thickness, at the apex


@dataclass(frozen=True)
class Motion:
    """The state of the left heart in each of T frames, float64 (T,).

    Attributes:
        contraction: 0 to 1.
        opening: of the atrioventricular valves, 0 shut to 1 open.
        volume_ml, length_cm, radius_cm: of the cavity.
        outer_length_cm, outer_radius_cm: of the epicardium, which encloses cavity and muscle.
        shortening: share of the long axis that the ring has come down.
    """

    contraction: np.ndarray
    opening: np.ndarray
    volume_ml: np.ndarray
    length_cm: np.ndarray
    radius_cm: np.ndarray
    outer_length_cm: np.ndarray
    outer_radius_cm: np.ndarray
    shortening: np.ndarray

    def __getitem__(self, frames: slice) -> Motion:
        return Motion(**{field.name: getattr(self, field.name)[frames] for field in fields(self)})


def check_rhythm(frames: int, fps: float, heart_rate: float) -> None:
    """Raise UserError unless `frames` at `fps` hold a whole beat of `heart_rate` with at least 5 frames."""
    low, high = HEART_RATE
    if not low <= heart_rate <= high:
        raise UserError(f"heart_rate = {heart_rate:g}: an echo phantom takes {low:g} to {high:g} beats a minute.")
    if not fps > 0:
        raise UserError(f"fps = {fps:g}: an echo phantom takes a number of frames a second above 0.")
    a_beat = 60.0 * fps / heart_rate
    if a_beat < LEAST_FRAMES:
        raise UserError(
            f"fps = {fps:g}: a heart of {heart_rate:g} beats a minute then has {a_beat:.1f} frames a beat, and an echo "
            f"phantom needs {LEAST_FRAMES:g}; give fps of at least {LEAST_FRAMES * heart_rate / 60:.1f}."
        )
    if frames < a_beat:
        raise UserError(
            f"frames = {frames}: a whole beat at {heart_rate:g} a minute and fps = {fps:g} takes "
            f"{int(np.ceil(a_beat))}; give more frames, a lower fps or a higher heart_rate."
        )


def check_ef(ef: float) -> None:
    """Raise UserError unless `ef` is a fraction in range."""
    low, high = EF_RANGE
    if not low <= ef <= high:
        hint = f"; did you mean {ef / 100:g}?" if low <= ef / 100 <= high else "."
        raise UserError(f"ef = {ef:g}: an echo phantom takes a fraction from {low} to {high}{hint}")


def plateau_width(fps: float, heart_rate: float) -> float:
    """Width of the plateaus at end diastole and end systole, as a share of the beat."""
    return min(0.22, max(0.06, 1.001 * heart_rate / (60.0 * fps)))


def contraction_curve(place: np.ndarray, plateau: float) -> tuple[np.ndarray, np.ndarray]:
    """Contraction and valve opening at places of the beat.

    Args:
        place: array in [0, 1), 0 where end diastole begins.
        plateau: see `plateau_width`.

    Returns:
        contraction in [0, 1] and opening in [0, 1], arrays of the same shape, float64.
    """
    place = np.asarray(place, np.float64)
    rest = 1 - 2 * plateau
    starts = plateau, 2 * plateau + SYSTOLE * rest, 2 * plateau + (SYSTOLE + FILLING) * rest, 1 - KICK * rest
    systole, filling, kick = (
        np.clip((place - start) / (share * rest), 0, 1)
        for start, share in zip((starts[0], starts[1], starts[3]), (SYSTOLE, FILLING, KICK))
    )
    up, down, last = (0.5 * (1 - np.cos(np.pi * x)) for x in (systole, filling, kick))
    contraction = np.where(place < starts[1], up, 1 - (1 - BEFORE_KICK) * down - BEFORE_KICK * last)
    contraction = np.where(place < plateau, 0.0, contraction)
    # The valves follow the rate of filling; early filling is faster than the kick.
    kick_rate = BEFORE_KICK / KICK / ((1 - BEFORE_KICK) / FILLING)
    rate = np.sin(np.pi * filling) + kick_rate * np.sin(np.pi * kick)
    opening = np.where((place >= starts[1]) | (place < plateau), 0.12 + 0.88 * np.clip(rate, 0, 1), 0.0)
    return contraction, opening


def beat_places(frames: int, fps: float, session: EchoSession) -> np.ndarray:
    """Phase of each frame in the beat, float64 (frames,) in [0, 1)."""
    return np.mod(np.arange(frames) * session.heart_rate / (60.0 * fps) + session.phase, 1.0)


def plateau_frames(places: np.ndarray, plateau: float) -> tuple[int, int]:
    """First frame at end diastole and first frame at end systole; `places` hold a whole beat."""
    start = plateau + SYSTOLE * (1 - 2 * plateau)
    return int(np.argmax(places < plateau)), int(np.argmax((places >= start) & (places < start + plateau)))


def ejection_motion(
    patient: EchoPatient, radius_cm: float, area: float, ef: float, contraction: np.ndarray, opening: np.ndarray
) -> Motion:
    """Volumes and sizes for a contraction curve.

    Args:
        radius_cm: largest radius at end diastole (the patient's, or a confounded one).
        area: integral of the squared radius profile, see `echo_geometry.profile_area`.
        ef: ejection fraction, 0.05 to 0.90.
        contraction, opening: float64 (T,).
    """
    check_ef(ef)
    largest = np.pi * area * patient.length_cm * radius_cm**2
    volume = largest * (1 - ef * contraction)
    shortening = ef * patient.long_axis_share * contraction
    length = patient.length_cm * (1 - shortening)
    apex_cm = APEX_SHARE * patient.wall_cm
    # Muscle keeps its volume, so the wall thickens as the cavity empties.
    muscle = np.pi * area * (patient.length_cm + apex_cm) * (radius_cm + patient.wall_cm) ** 2 - largest
    outer_length = length + apex_cm
    outer_radius = np.sqrt((volume + muscle) / (np.pi * area * outer_length))
    radius = np.sqrt(volume / (np.pi * area * length))
    return Motion(contraction, opening, volume, length, radius, outer_length, outer_radius, shortening)

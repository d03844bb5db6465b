"""Priors of echo phantoms: a patient's heart and machine settings, a session's pose and rhythm, and EF.

Every draw is a pure function of its seeds. Lengths are in cm, angles as named, levels in dB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthzoo.errors import UserError
from synthzoo.phantoms.priors import draw_prior, integer_seed

PATIENT, SESSION, EJECTION = 101, 102, 103  # salts that keep the streams of one seed apart
PHANTOM = "an echo phantom"
WIDEST_DEG = 44.0
EF_RANGE = (0.05, 0.90)
EF_PRIORS = ("uniform", "clinic")
HEART_RATE = (30.0, 200.0)
DRAWN_RATES = (60.0, 95.0)  # a second of video holds a whole beat of any of them

# name: (mean, standard deviation, lowest, highest) of a clipped normal, or (lowest, highest) of a uniform distribution.
PATIENT_PRIORS = {
    "length_cm": (8.2, 0.6, 6.8, 9.6),  # long axis of the cavity at end diastole
    "radius_cm": (2.35, 0.25, 1.8, 3.0),  # largest radius at end diastole
    "shoulder": (0.45, 0.65),  # where along the axis the radius is largest
    "roundness": (1.9, 2.6),  # exponent of the superellipse from apex to shoulder
    "taper": (0.05, 0.30),  # share of the radius that is lost from shoulder to base
    "bend": (-0.06, 0.06),  # of the centre line, in units of the length
    "wall_cm": (0.95, 0.12, 0.7, 1.25),
    "long_axis_share": (0.15, 0.30),  # of the contraction, taken by the mitral ring
    "apex_x_cm": (0.0, 1.2),
    "apex_y_cm": (2.0, 3.2),
    "tilt_deg": (-6.0, 12.0),
    "depth_cm": (14.5, 16.5),
    "half_angle_deg": (38.0, WIDEST_DEG),
    "atrium_length_cm": (1.7, 2.4),  # semi-axes of the left atrium
    "atrium_width_cm": (1.7, 2.4),
    "rv_width_cm": (1.6, 2.6),
    "background_db": (-26.0, -18.0),
    "myocardium_db": (-14.0, -9.0),
    "dynamic_range_db": (48.0, 58.0),
    "gain_db": (-2.0, 3.0),
    "attenuation_db_cm": (0.0, 0.7),
    "haze": (0.0, 0.18),
    "axial_cm": (0.05, 0.08),  # standard deviations of the point spread function
    "lateral_deg": (1.0, 1.5),
}
MARK_PRIORS = {"place": (0.15, 0.95), "reach": (1.0, 1.45), "level_db": (-10.0, -3.0), "width_cm": (0.12, 0.28)}
MARKS, SHADOWS = (3, 6), (0, 2)


@dataclass(frozen=True)
class Mark:
    """A bright spot that moves with the muscle: `place` along the axis (0 apex, 1 base), `side` -1 or 1, `reach` in
    units of the cavity's radius there, `level_db`, `width_cm` (standard deviation)."""

    place: float
    side: int
    reach: float
    level_db: float
    width_cm: float


@dataclass(frozen=True)
class Shadow:
    """A rib's shadow: darker by `depth_db` around `angle` with standard deviation `width`, both in rad."""

    angle: float
    width: float
    depth_db: float


@dataclass(frozen=True)
class EchoPatient:
    """A patient's anatomy and machine settings; the fields are those of `PATIENT_PRIORS`, marks and shadows.

    `shrink` is the factor by which the ranges were drawn together; it also draws the tissue textures together.
    """

    seed: int
    shrink: float
    length_cm: float
    radius_cm: float
    shoulder: float
    roundness: float
    taper: float
    bend: float
    wall_cm: float
    long_axis_share: float
    apex_x_cm: float
    apex_y_cm: float
    tilt_deg: float
    depth_cm: float
    half_angle_deg: float
    atrium_length_cm: float
    atrium_width_cm: float
    rv_width_cm: float
    background_db: float
    myocardium_db: float
    dynamic_range_db: float
    gain_db: float
    attenuation_db_cm: float
    haze: float
    axial_cm: float
    lateral_deg: float
    marks: tuple[Mark, ...] = ()
    shadows: tuple[Shadow, ...] = ()


@dataclass(frozen=True)
class EchoSession:
    """One visit: how the probe is held (`shift_cm` of the apex, `turn_deg`), `gain_db`, the heart's `heart_rate` in
    beats a minute and `phase`, the place of the first frame in the beat (0 end diastole, to 1)."""

    seed: int
    shift_cm: float
    turn_deg: float
    gain_db: float
    heart_rate: float
    phase: float


def draw_patient(seed: int, shrink: float = 1.0) -> EchoPatient:
    """Patient `seed`.

    Args:
        seed: integer from 0.
        shrink: 0 to 1, the width of all ranges about their middle; 1 gives the full variety, 0.5 patients that are
            hard to tell apart, 0 one and the same heart.
    """
    if not 0 <= shrink <= 1:
        raise UserError(f"shrink = {shrink:g}: the ranges of an echo phantom are scaled by a factor from 0 to 1.")
    rng = np.random.default_rng([PATIENT, integer_seed("patient", seed, PHANTOM)])
    values = {name: draw_prior(rng, prior, shrink) for name, prior in PATIENT_PRIORS.items()}
    count = _count(rng, MARKS, shrink)
    marks = []
    for number in range(count):
        drawn = {name: draw_prior(rng, prior, shrink) for name, prior in MARK_PRIORS.items()}
        side = (1 if number % 2 else -1) * (-1 if rng.random() < 0.5 * shrink else 1)
        marks.append(Mark(side=side, **drawn))
    edge = np.deg2rad(values["half_angle_deg"])
    shadows = [
        Shadow(
            draw_prior(rng, (-0.9, 0.9), shrink) * edge,
            draw_prior(rng, (0.02, 0.06), shrink),
            draw_prior(rng, (4.0, 12.0), shrink),
        )
        for _ in range(_count(rng, SHADOWS, shrink))
    ]
    return EchoPatient(seed=int(seed), shrink=float(shrink), marks=tuple(marks), shadows=tuple(shadows), **values)


def draw_session(patient: int, session: int) -> EchoSession:
    """Visit number `session` of the patient with the seed `patient`.

    The heart rate is uniform on 60 to 95 a minute, so that a second of video holds a whole beat.
    """
    rng = np.random.default_rng(
        [SESSION, integer_seed("patient", patient, PHANTOM), integer_seed("session", session, PHANTOM)]
    )
    shift, turn, gain = rng.standard_normal(3) * (0.15, 1.5, 0.7)
    rate, phase = rng.uniform(*DRAWN_RATES), rng.random()
    return EchoSession(int(session), float(shift), float(turn), float(gain), float(rate), float(phase))


def draw_ef(patient: int, session: int, prior: str = "uniform") -> float:
    """Ejection fraction of one visit, as a fraction; its stream shares nothing with anatomy or pose.

    Args:
        prior: "uniform" on 0.10 to 0.85; "clinic", 0.7 of normal hearts N(0.60, 0.06) and 0.3 of failing ones, uniform
            on 0.15 to 0.55, clipped to 0.08 to 0.85.
    """
    rng = np.random.default_rng(
        [EJECTION, integer_seed("patient", patient, PHANTOM), integer_seed("session", session, PHANTOM)]
    )
    if prior == "uniform":
        return float(rng.uniform(0.10, 0.85))
    if prior == "clinic":
        value = rng.normal(0.60, 0.06) if rng.random() < 0.7 else rng.uniform(0.15, 0.55)
        return float(np.clip(value, 0.08, 0.85))
    raise UserError(f"ef_prior = {prior!r}: an echo phantom has the priors {', '.join(EF_PRIORS)}.")


def _count(rng: np.random.Generator, prior: tuple[int, int], shrink: float) -> int:
    centre = 0.5 * sum(prior)
    return round(centre + shrink * (int(rng.integers(prior[0], prior[1] + 1)) - centre))

"""Echocardiogram phantoms: a beating heart in the apical four-chamber view whose ejection fraction is exactly known.

Three seeds make a video: `patient` (anatomy, tissue texture, machine settings), `session` (probe pose, gain, heart
rate, phase) and `noise` (blood speckle, electronic noise). The same three with another ejection fraction are the true
counterfactual of the video. The priors of all draws are in `echo_patient`, the beat in `echo_motion`, the anatomy in
`echo_geometry`, the ultrasound in `echo_image`, presets and splits in `echo_sets`.

`make_clip(draw_params(patient=7, ef=0.55), size=112).frames` is a video. These are phantoms: no real heart is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from synthzoo.errors import UserError
from synthzoo.phantoms.echo.geometry import cavity_masks, from_body, profile_area
from synthzoo.phantoms.echo.image import render
from synthzoo.phantoms.echo.image import swept_region as region_of
from synthzoo.phantoms.echo.motion import (
    Motion,
    beat_places,
    check_rhythm,
    contraction_curve,
    ejection_motion,
    plateau_frames,
    plateau_width,
)
from synthzoo.phantoms.echo.patient import (
    EF_RANGE,
    PHANTOM,
    EchoPatient,
    EchoSession,
    draw_ef,
    draw_patient,
    draw_session,
)
from synthzoo.phantoms.priors import integer_seed

__all__ = ["EF_RANGE", "EchoClip", "EchoParams", "EchoPatient", "EchoSession", "counterfactual", "draw_ef"]
__all__ += ["draw_params", "draw_patient", "draw_session", "ejection_curve", "extreme_frames", "make_clip"]
__all__ += ["make_masks", "swept_region"]

SIZES = (16, 512)
CONFOUNDED_SLOPE = -0.8  # of the logarithm of EDV, for each unit of EF
CONFOUNDED_CENTRE = 0.55


@dataclass(frozen=True)
class EchoParams:
    """Parameters of a video: patient, session, noise and EF.

    Attributes:
        patient: anatomy and machine settings.
        session: pose, gain, heart rate and phase.
        noise: seed of what is fresh in each frame.
        ef: ejection fraction, 0.05 to 0.90.
        confounded: end-diastolic volume depends on EF, EDV = EDV0 exp(-0.8 (EF - 0.55)).
    """

    patient: EchoPatient
    session: EchoSession
    noise: int
    ef: float
    confounded: bool = False

    @property
    def radius_cm(self) -> float:
        """Largest radius of the cavity at end diastole."""
        if not self.confounded:
            return self.patient.radius_cm
        return self.patient.radius_cm * float(np.exp(0.5 * CONFOUNDED_SLOPE * (self.ef - CONFOUNDED_CENTRE)))

    @property
    def edv_ml(self) -> float:
        """End-diastolic volume."""
        return float(np.pi * self.patient.length_cm * self.radius_cm**2 * profile_area(self.patient))

    @property
    def seeds(self) -> dict[str, int]:
        return {"patient": self.patient.seed, "session": self.session.seed, "noise": self.noise}

    def to_dict(self) -> dict:
        """Every number of the video, nested by subject; JSON can hold it."""
        patient = {**vars(self.patient)}
        patient["marks"] = [dict(vars(mark)) for mark in self.patient.marks]
        patient["shadows"] = [dict(vars(shadow)) for shadow in self.patient.shadows]
        numbers = {"ef": self.ef, "edv_ml": self.edv_ml, "esv_ml": self.edv_ml * (1 - self.ef)}
        return numbers | {
            "confounded": self.confounded,
            "radius_cm": self.radius_cm,
            "noise": self.noise,
            "patient": patient,
            "session": dict(vars(self.session)),
        }


@dataclass
class EchoClip:
    """A video with its truth.

    Attributes:
        frames: uint8 (T, S, S); outside the sector exactly 0.
        masks: cavity of the left ventricle, bool (T, S, S).
        volumes_ml: of the cavity, float64 (T,); `1 - min / max` is `ef`.
        contraction: float64 (T,), 0 at end diastole, 1 at end systole.
        long_axis: float64 (T, 2, 2), x and y in pixels of the apex and of the middle of the mitral ring; the centre of
            the first pixel is (0, 0).
        ef: ejection fraction.
        ed_frame, es_frame: first frame at end diastole and first frame at end systole.
        cm_per_pixel: side of a pixel.
        fps: frames a second.
        params: every number, see `EchoParams.to_dict`.
        seeds: `{"patient", "session", "noise"}`.
        source: what the video was made of.
    """

    frames: np.ndarray
    masks: np.ndarray
    volumes_ml: np.ndarray
    contraction: np.ndarray
    long_axis: np.ndarray
    ef: float
    ed_frame: int
    es_frame: int
    cm_per_pixel: float
    fps: float
    params: dict
    seeds: dict[str, int]
    source: EchoParams = field(repr=False)


def draw_params(
    patient: int,
    session: int = 0,
    noise: int = 0,
    *,
    ef: float | None = None,
    ef_prior: str = "uniform",
    shrink: float = 1.0,
    confounded: bool = False,
    heart_rate: float | None = None,
) -> EchoParams:
    """Parameters of a video; what is None is drawn.

    Args:
        patient, session, noise: seeds, integers from 0.
        ef: ejection fraction, 0.05 to 0.90; None draws it for this patient and session by `ef_prior`.
        ef_prior: "uniform" on 0.10 to 0.85, or "clinic".
        shrink: 0 to 1, how far patients differ, see `echo_patient.draw_patient`.
        confounded: a weak heart is also a large one.
        heart_rate: beats a minute, 30 to 200.
    """
    visit = draw_session(patient, session)
    if heart_rate is not None:
        visit = replace(visit, heart_rate=float(heart_rate))
    drawn = draw_ef(patient, session, ef_prior)
    value = drawn if ef is None else float(ef)
    return EchoParams(
        draw_patient(patient, shrink), visit, integer_seed("noise", noise, PHANTOM), value, bool(confounded)
    )


def ejection_curve(params: EchoParams, frames: int, fps: float) -> Motion:
    """The heart's state in each frame, without pictures.

    Raises:
        UserError: the frames hold no whole beat, or a beat has fewer than 5 of them; EF out of range.
    """
    check_rhythm(frames, fps, params.session.heart_rate)
    plateau = plateau_width(fps, params.session.heart_rate)
    curve = contraction_curve(beat_places(frames, fps, params.session), plateau)
    return ejection_motion(params.patient, params.radius_cm, profile_area(params.patient), params.ef, *curve)


def make_clip(params: EchoParams, size: int = 112, frames: int = 16, fps: float = 16.0) -> EchoClip:
    """The video of `params` with its truth.

    >>> clip = make_clip(draw_params(3, ef=0.6), size=32, frames=16, fps=16.0)
    >>> clip.frames.shape, round(clip.ef, 4)
    ((16, 32, 32), 0.6)

    Args:
        size: side S of the square image in pixels, 16 to 512.
        frames: number T of frames; they must hold a whole beat.
        fps: frames a second.

    Raises:
        UserError: a wrong size, fewer than 5 frames a beat, frames that hold no whole beat, EF out of range.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise UserError(f"size = {size}: an echo phantom takes {SIZES[0]} to {SIZES[1]} pixels.")
    motion = ejection_curve(params, frames, fps)
    ed_frame, es_frame = extreme_frames(params, frames, fps)
    return EchoClip(
        frames=render(params.patient, params.session, params.noise, motion, size),
        masks=cavity_masks(params.patient, params.session, motion, size),
        volumes_ml=motion.volume_ml,
        contraction=motion.contraction,
        long_axis=_long_axis(params, motion, size),
        ef=params.ef,
        ed_frame=ed_frame,
        es_frame=es_frame,
        cm_per_pixel=params.patient.depth_cm / size,
        fps=float(fps),
        params=params.to_dict(),
        seeds=params.seeds,
        source=params,
    )


def extreme_frames(params: EchoParams, frames: int, fps: float) -> tuple[int, int]:
    """First frame at end diastole and first frame at end systole."""
    places = beat_places(frames, fps, params.session)
    return plateau_frames(places, plateau_width(fps, params.session.heart_rate))


def make_masks(params: EchoParams, size: int = 112, frames: int = 16, fps: float = 16.0) -> np.ndarray:
    """The masks of `make_clip` alone, bool (T, S, S)."""
    return cavity_masks(params.patient, params.session, ejection_curve(params, frames, fps), size)


def swept_region(params: EchoParams, size: int = 112, frames: int = 16, fps: float = 16.0) -> np.ndarray:
    """Pixels that the heart reaches in any frame, with the blur of its echoes, bool (S, S).

    Two videos that differ in EF alone are equal, byte for byte, outside both their regions.
    """
    return region_of(params.patient, params.session, ejection_curve(params, frames, fps), size)


def counterfactual(clip: EchoClip, ef: float) -> EchoClip:
    """The video that the same patient, session and noise would have given with the ejection fraction `ef`."""
    frames, size = clip.frames.shape[:2]
    return make_clip(replace(clip.source, ef=float(ef)), size, frames, clip.fps)


def _long_axis(params: EchoParams, motion: Motion, size: int) -> np.ndarray:
    along = np.stack([np.zeros_like(motion.length_cm), motion.length_cm], 1)
    x, y = from_body(along, 0.0, params.patient, params.session)
    depth = params.patient.depth_cm
    return np.stack([(x + depth / 2) * size / depth - 0.5, y * size / depth - 0.5], -1)

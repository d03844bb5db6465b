"""Chest phantoms: a radiograph with findings, masks, boxes, volumes, report and CT from one attenuation model.

Seeds keep apart what is apart: `patient_seed` (anatomy and vessel tree), `study_seed` (breath, pose, findings) and
`exposure_seed` (dose, processing, markers, noise). The same seeds with and without a finding are a true counterfactual.

`chest_study(patient_seed=7).image` is a radiograph. These are phantoms: no real patient is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from synthzoo.errors import UserError
from synthzoo.phantoms.chest.anatomy import Anatomy
from synthzoo.phantoms.chest.bones import skeleton
from synthzoo.phantoms.chest.ct import chest_ct, vessels_around
from synthzoo.phantoms.chest.devices import device
from synthzoo.phantoms.chest.exposure import Exposure, draw_exposure, expose
from synthzoo.phantoms.chest.findings import (
    DEVICES,
    ENLARGED_CTR,
    KINDS,
    LESIONS,
    Finding,
    Lesion,
    draw_findings,
    heart_volume,
    lesion_volumes,
)
from synthzoo.phantoms.chest.patient import (
    PHANTOM,
    ChestPatient,
    ChestStudy,
    draw_patient,
    draw_study,
)
from synthzoo.phantoms.chest.projection import STEP_MM, Beam, Projection, integrate, rolled
from synthzoo.phantoms.chest.report import write_report
from synthzoo.phantoms.chest.truth import FindingTruth, cardiothoracic_ratio, organs, read_findings

__all__ = ["DEVICES", "KINDS", "LESIONS", "VERSION", "ChestRadiograph", "Exposure", "Finding", "FindingTruth"]
__all__ += ["Projection", "chest_study", "draw_exposure", "draw_findings", "expose", "measure_ctr", "volume_ct"]

VERSION = 3  # of the pictures; another number leaves old caches aside
SIZES = (16, 1024)
DRAWN = "draw"  # of findings: as `draw_findings` has them
BETWEEN = (0.50, 0.53)  # a measured ratio in between is neither healthy nor enlarged, and is drawn again
TRIES = 5
RATIO, EXPOSED = 311, 312  # salts


@dataclass
class ChestRadiograph:
    """A radiograph with its truth.

    Attributes:
        image: float32 (S, S) in [0, 1], bones bright, the patient's left on the picture's right.
        findings: what shows, each with kind, side, zone, mask, box, volume in mL, severity and phrase.
        lungs: lung fields as in health, bool (S, S); an effusion or a pneumothorax lies within.
        heart: silhouette of the heart, bool (S, S).
        ctr: cardiothoracic ratio measured on the projection.
        heart_ml: volume of the heart.
        report: sentences; every claim follows from the truth.
        projection: line integrals and path lengths, for further exposures: `expose(study.projection, seed)`.
        patient, study, exposure: the numbers that made it.
        placed: every requested lesion and device with "kind", "side", "size_mm" and "volume_ml", shown or not.
        anatomy, lesions: the model, for the CT.
    """

    image: np.ndarray
    findings: list[FindingTruth]
    lungs: np.ndarray
    heart: np.ndarray
    ctr: float
    heart_ml: float
    report: str
    projection: Projection
    patient: ChestPatient
    study: ChestStudy
    exposure: Exposure
    placed: list[dict]
    anatomy: Anatomy = field(repr=False)
    lesions: list[Lesion] = field(repr=False)

    @property
    def kinds(self) -> set[str]:
        """The kinds that show."""
        return {found.kind for found in self.findings}

    @property
    def boxes(self) -> list[tuple[str, tuple[int, int, int, int]]]:
        """Kind and x, y, w, h in pixels of each finding."""
        return [(found.kind, found.box) for found in self.findings]

    @property
    def phrases(self) -> list[str]:
        """The clause of each finding, for grounding."""
        return [found.phrase for found in self.findings]


def chest_study(
    patient_seed: int,
    study_seed: int = 0,
    findings: Sequence[Finding | str] | str = DRAWN,
    size: int = 128,
    *,
    exposure_seed: int | None = None,
    style: str = "clinic",
    view: str = "PA",
    spread: float = 1.0,
    pose_spread: float = 1.0,
    patient: ChestPatient | None = None,
    study: ChestStudy | None = None,
    step_mm: float = STEP_MM,
    **exposure: Any,
) -> ChestRadiograph:
    """A radiograph of a patient with its truth.

    >>> study = chest_study(7, 1, ["nodule"], size=64)
    >>> study.image.shape, sorted(study.kinds)
    ((64, 64), ['nodule'])

    Args:
        patient_seed: integer from 0, the patient.
        study_seed: integer from 0, which of the patient's studies.
        findings: "draw" (see `draw_findings`), or `Finding`s or their kinds; [] is healthy.
        size: side S of the image in pixels, 16 to 1024.
        exposure_seed: None draws it from patient and study.
        style, exposure: settings of the exposure, see `exposure.draw_exposure`.
        view: "PA" or "AP".
        spread, pose_spread: how far bodies and poses differ, see `patient.draw_patient` and `draw_study`.
        patient, study: replace the drawn ones.
        step_mm: along the beam.

    Raises:
        UserError: a wrong number or word, or a finding for which there is no room.
    """
    check_size(size)
    patient = patient or draw_patient(patient_seed, spread)
    study = study or draw_study(patient_seed, study_seed, view, pose_spread, patient)
    requested = requested_findings(findings, patient_seed, study_seed)
    an, lesions, mu, paths, beam = _projected(patient, study, requested, int(size), step_mm)
    devices = [one.kind for one in requested if one.kind in DEVICES]
    hard = [beam.splat(an, device(kind, an)) for kind in devices]
    mu = mu + beam.splat(an, skeleton(an, beam.pixel_mm)) + beam.splat(an, vessels_around(an, lesions)) + sum(hard)
    metal = rolled(np.array(hard, np.float32).reshape(-1, *mu.shape), study)
    projection = Projection(rolled(mu, study), np.concatenate([paths, metal]), beam.pixel_mm, study)
    placed = [
        {"kind": lesion.kind, "side": lesion.side, "size_mm": lesion.size_mm, "volume_ml": volume}
        for lesion, volume in zip(lesions, lesion_volumes(an, lesions) if lesions else [])
    ] + [{"kind": kind, "side": "", "size_mm": None, "volume_ml": None} for kind in devices]
    ctr, heart_ml = cardiothoracic_ratio(projection.paths), heart_volume(an)
    truths = read_findings(projection.paths, placed, ctr, heart_ml)
    report = write_report(truths, (patient_seed, study_seed))
    if exposure_seed is None:
        exposure_seed = int(np.random.default_rng([EXPOSED, patient_seed, study_seed]).integers(1 << 40))
    settings = draw_exposure(exposure_seed, style, **exposure)
    lungs, heart = organs(projection.paths)
    image = expose(projection, settings)
    head = (image, truths, lungs, heart, ctr, heart_ml, report, projection)
    return ChestRadiograph(*head, patient, study, settings, placed, an, lesions)


def check_size(size: int) -> None:
    """Raise UserError unless `size` is a side that images of chest phantoms take."""
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or not SIZES[0] <= size <= SIZES[1]:
        raise UserError(f"size = {size!r}: {PHANTOM} takes {SIZES[0]} to {SIZES[1]} pixels.")


def measure_ctr(radiograph: ChestRadiograph) -> float:
    """Cardiothoracic ratio of a radiograph's projected lungs and heart."""
    return cardiothoracic_ratio(radiograph.projection.paths)


def volume_ct(
    radiograph: ChestRadiograph, spacing_mm: float = 3.0, noise_hu: float = 18.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The CT that belongs to a radiograph: HU (X, Y, Z) in RAS order, labels and affine, see `ct.chest_ct`."""
    an = radiograph.anatomy
    devices = [device(one["kind"], an) for one in radiograph.placed if one["kind"] in DEVICES]
    clouds = [skeleton(an, spacing_mm), vessels_around(an, radiograph.lesions), *devices]
    return chest_ct(an, spacing_mm, radiograph.lesions, clouds, noise_hu, radiograph.study.seed)


def requested_findings(findings: Sequence[Finding | str] | str, patient_seed: int, study_seed: int) -> list[Finding]:
    """The findings of a study, drawn or given, see `chest_study`."""
    if isinstance(findings, str):
        if findings != DRAWN:
            raise UserError(f"findings = {findings!r}: {PHANTOM} takes 'draw' or a list, such as ['nodule'].")
        return draw_findings(patient_seed, study_seed)
    # A kind alone gets a seed of its own, so that two of one kind lie in two places.
    return [
        one if isinstance(one, Finding) else Finding(one, seed=(patient_seed * 1009 + study_seed) * 31 + number)
        for number, one in enumerate(findings)
    ]


def _projected(
    patient: ChestPatient, study: ChestStudy, requested: list[Finding], size: int, step_mm: float
) -> tuple[Anatomy, list[Lesion], np.ndarray, np.ndarray, Beam]:
    """Anatomy, lesions, solid tissue and (rolled) paths, with a heart whose ratio is clearly healthy or enlarged."""
    enlarged = [one for one in requested if one.kind == "cardiomegaly"]
    ratio = None
    if enlarged:
        rng = np.random.default_rng([RATIO, enlarged[0].seed])
        ratio = enlarged[0].ctr or float(rng.uniform(*ENLARGED_CTR))
    beam = Beam.of(study, size)
    for _ in range(TRIES):
        an = Anatomy(patient, study.breath, ratio, study.arms)
        lesions = [Lesion(one, an) for one in requested if one.kind in LESIONS]
        mu, paths = integrate(an, beam, lesions, step_mm)
        paths = rolled(paths, study)
        measured = cardiothoracic_ratio(paths)
        if enlarged and measured < BETWEEN[1]:
            ratio = an.ctr * 1.03 * BETWEEN[1] / max(measured, 0.3)
        elif not enlarged and measured > BETWEEN[0]:
            ratio = an.ctr * 0.97 * BETWEEN[0] / measured
        else:
            break
    return an, lesions, mu, paths, beam

"""Chest phantoms whose lungs and findings have requested volumes, and what of a request the model then holds.

A patient is drawn whose lungs lie within the field of view, his chest is made wider or narrower within the limits of
his sex until it holds what was requested, and each finding is sized to its volume. Findings of one side may overlap, so
the truth is counted again at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from synthzoo.errors import UserError
from synthzoo.phantoms.chest.anatomy import Anatomy
from synthzoo.phantoms.chest.bones import skeleton
from synthzoo.phantoms.chest.ct import chest_shares, vessels_around
from synthzoo.phantoms.chest.findings import LESIONS, SIDES, Finding, Lesion, organ_volumes
from synthzoo.phantoms.chest.patient import BY_SEX, PATIENT_PRIORS, PHANTOM, ChestPatient, draw_patient
from synthzoo.phantoms.fields import solve_increasing

VERSION = 2  # of the volumes; another number leaves old caches aside
DRAWN, PLACED = 319, 320  # salts
LUNG = "lung_ml"
MEASURES = (LUNG, *(f"{kind}_{side}_ml" for kind in LESIONS for side in SIDES))
# mL: of both lungs without what findings take of them, and of a finding that is there, for which lungs of any of these
# volumes have room on either side.
LUNG_ML = (2500.0, 7500.0)
FINDING_ML = {"nodule": (3, 40), "consolidation": (20, 300), "effusion": (50, 800), "pneumothorax": (60, 300)}
COUNTS = (0.25, 0.45, 0.30)  # shares of subjects with no, one and two findings
GROWS = ("half_width_mm", "front_mm", "back_mm")
FIELD_MM = (384.0, 384.0, 320.0)  # both lungs with the wall around them
FIRST_MM = (-192.0, -187.0, -180.0)  # x, y, z of the field's corner in the patient's frame, x to the left
OUTSIDE_ML, MARGIN_MM = 2.0, 4.0  # of the lungs, below the field; between them and its upper end
BREATHS = (0.1, 1.0)
ARMS = 1.0  # shoulders as high as they go
COARSE_MM, FINE_MM, STEPS = 8.0, 4.0, 9
TRIES = 96  # few patients have the smallest lungs


@dataclass(frozen=True)
class MeasuredChest:
    """A patient at a breath with placed findings, and their volumes.

    Attributes:
        anatomy: the patient.
        lesions: in the order in which they take lung.
        volumes_ml: `MEASURES` -> mL; of both lungs without what findings take of them, and of each finding by side.
        seed: of the noise.
    """

    anatomy: Anatomy
    lesions: list[Lesion]
    volumes_ml: dict[str, float]
    seed: int

    def ct(
        self, spacing_mm: float, low_mm: Sequence[float], shape: Sequence[int], noise_hu: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """HU float32 (X, Y, Z) in RAS order, and shares float32 (1 + 4, X, Y, Z): lung, then each of `LESIONS`.

        Args:
            spacing_mm: side of a voxel.
            low_mm, shape: the grid, see `ct.chest_ct`.
            noise_hu: standard deviation of the noise.
        """
        an = self.anatomy
        clouds = [skeleton(an, spacing_mm), vessels_around(an, self.lesions)]
        hu, found, _ = chest_shares(an, spacing_mm, self.lesions, clouds, noise_hu, self.seed, low_mm, shape)
        shares = np.zeros((1 + len(LESIONS), *hu.shape), np.float32)
        shares[0] = found[0]
        for lesion, part in zip(self.lesions, found[2:]):
            shares[1 + LESIONS.index(lesion.kind)] += part
        return hu, shares


def draw_volumes(seed: int, independent: bool = True) -> dict[str, float | None]:
    """Volumes in mL of subject `seed`, `MEASURES` -> mL; 0 of a finding that is not there.

    A finding is a kind on a side; its volume is uniform within `FINDING_ML`.

    Args:
        seed: integer from 0.
        independent: the lungs' volume is uniform within `LUNG_ML`; else it is None, the patient's own.
    """
    rng = np.random.default_rng([DRAWN, seed])
    volumes: dict[str, float | None] = dict.fromkeys(MEASURES, 0.0)
    own = float(rng.uniform(*LUNG_ML))
    volumes[LUNG] = own if independent else None
    for place in rng.choice(len(MEASURES) - 1, int(rng.choice(3, p=COUNTS)), replace=False):
        volumes[MEASURES[1 + place]] = float(rng.uniform(*FINDING_ML[LESIONS[place // len(SIDES)]]))
    return volumes


def measured_chest(seed: int, volumes: Mapping[str, float | None]) -> MeasuredChest:
    """A chest with these volumes.

    Args:
        seed: integer from 0: another one is another patient with his findings at other places.
        volumes: `MEASURES` -> mL; a finding of 0 or None is not there, None of the lungs takes a patient as he is.

    Raises:
        UserError: an unknown name, or volumes for which no patient has room.
    """
    for name in volumes:
        if name not in MEASURES:
            raise UserError(f"volumes: {name!r} is unknown; {PHANTOM} measures {', '.join(MEASURES)}.")
    places = {(kind, side): volumes.get(f"{kind}_{side}_ml") or 0.0 for kind in LESIONS for side in SIDES}
    wanted = {place: volume for place, volume in places.items() if volume > 0}
    refused: UserError | None = None
    for attempt in range(TRIES):
        rng = np.random.default_rng([PLACED, seed, attempt])
        patient = draw_patient(int(rng.integers(1 << 40)))
        breath = float(np.clip(rng.beta(5, 1.6), *BREATHS))
        try:
            lung = volumes.get(LUNG)
            if lung is not None:
                patient, breath = sized(patient, breath, lung + sum(wanted.values()))
            an = Anatomy(patient, breath, None, ARMS, breasts_alone=True)
            _expect_in_field(an)
            findings = [
                Finding(kind, side, volume_ml=volume, seed=int(rng.integers(1 << 40)))
                for (kind, side), volume in wanted.items()
            ]
            lesions = [Lesion(finding, an) for finding in findings]
        except UserError as error:  # this patient has no room for it
            refused = error
            continue
        lungs, _, *taken = organ_volumes(an, *_box(an), lesions, FINE_MM)
        truth = dict.fromkeys(MEASURES, 0.0) | {LUNG: lungs - sum(taken)}
        truth |= {f"{lesion.kind}_{lesion.side}_ml": volume for lesion, volume in zip(lesions, taken)}
        return MeasuredChest(an, lesions, truth, seed)
    raise UserError(f"volumes of {PHANTOM}: none of {TRIES} patients has room for them; {refused}")


def sized(patient: ChestPatient, breath: float, lungs_ml: float) -> tuple[ChestPatient, float]:
    """The patient and breath at which both lungs, in health, have this volume.

    Raises:
        UserError: the volume lies beyond what the limits of the patient's sex allow.
    """

    def volume(share: float) -> float:
        an = Anatomy(*_stretched(patient, breath, share))
        return organ_volumes(an, *_box(an), [], COARSE_MM)[0]

    smallest, largest = volume(-1.0), volume(1.0)
    if not smallest <= lungs_ml <= largest:
        raise UserError(f"lungs of {lungs_ml:.0f} mL: this patient takes {smallest:.0f} to {largest:.0f} mL.")
    return _stretched(patient, breath, solve_increasing(volume, lungs_ml, -1.0, 1.0, STEPS))


def _stretched(patient: ChestPatient, breath: float, share: float) -> tuple[ChestPatient, float]:
    """At -1 the smallest chest of the sex, at the least breath, at 0 the patient's own, at 1 the largest."""
    priors, values, part = PATIENT_PRIORS | BY_SEX[patient.sex], dict(patient.values), abs(share)
    for name in GROWS:
        values[name] += part * (priors[name][-1 if share > 0 else -2] - values[name])
    return replace(patient, values=values), breath + part * (BREATHS[int(share > 0)] - breath)


def _expect_in_field(an: Anatomy) -> None:
    """Raise UserError where the lungs reach beyond the field."""
    (low, high), bottom = _box(an), FIRST_MM[2]
    high[2] = bottom
    below = organ_volumes(an, low, high, [], COARSE_MM)[0] if low[2] < bottom - COARSE_MM else 0.0
    if below > OUTSIDE_ML or an.patient.apex_mm > bottom + FIELD_MM[2] - MARGIN_MM:
        raise UserError(f"lungs reach beyond the field, {below:.0f} mL below it.")


def _box(an: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """A box in mm that holds both lungs."""
    p, wide = an.patient, 1.08 * an.half_width + 8
    bottom = min(an.right_dome, an.left_dome) - 85
    return np.array((-wide, -p.back_mm - 28, bottom)), np.array((wide, an.front - 12, p.apex_mm + 4))

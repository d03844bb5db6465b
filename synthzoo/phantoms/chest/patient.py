"""Priors of chest phantoms: a patient's anatomy, and how a study is taken.

Every draw is a pure function of its seeds. Lengths are in mm in the patient's frame: x to the patient's left, y
forward, z up; the carina lies near z = 25, the domes of the diaphragm near -100, the first rib near 120. A patient is
anatomy alone: nothing in a radiograph depends on the patient's seed except through the attenuation.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np

from synthzoo.errors import UserError
from synthzoo.phantoms.priors import Prior, draw_prior, integer_seed

PHANTOM = "a chest phantom"
PATIENT, STUDY = 301, 302  # salts that keep the streams of one seed apart
VIEWS = ("PA", "AP")
AGES = (20.0, 88.0)
MARGIN, FIELDS_MM = (1.22, 1.42), (335.0, 440.0)  # field of view in units of the chest's width; and its limits
PLACES = 12  # gas pockets of the bowel, at most

# name: (mean, standard deviation, lowest, highest) of a clipped normal, or (lowest, highest) of a uniform distribution.
PATIENT_PRIORS: dict[str, Prior] = {
    "back_mm": (72, 5, 60, 85),  # depth of the pleural cavity behind y = -20
    "apex_mm": (127, 6, 112, 140),
    "widest_mm": (-95, -45),  # height at which the cavity reaches its full width
    "core_mm": (46, 3, 38, 54),  # distance of the lungs' tops from the midline
    "taper": (1.95, 2.4),  # exponent of the lateral wall below the apex
    "squareness": (0.85, 1.75),  # of the section: 2 an ellipse, 0 nearly a box
    "asymmetry": (0, 0.025, -0.06, 0.06),
    "lean_mm": (0, 3, -8, 8),  # sideways wave of the whole body along z
    "lean_phase": (0, 6.28),
    "dome_mm": (-98, 9, -122, -76),  # height of the right dome
    "dome_gap_mm": (11, 6, -4, 26),  # by which the left one is lower
    "sulcus_mm": (42, 70),  # by which the costophrenic angle is lower than the dome
    "dome_x_mm": (58, 84),
    "dome_medial_mm": (80, 150),  # reach of the dome towards the midline: a short one is round
    "dome_roundness": (0.1, 0.75),  # share of the steep part of the dome's profile
    "scallop_mm": (0, 4.5),  # waves of the diaphragm where its slips arise
    "heart_tilt_deg": (-14, 16),
    "heart_x_mm": (2, 4, -8, 11),
    "heart_z_mm": (-6, 6),
    "right_atrium": (0.9, 1.15),
    "left_ventricle": (0.88, 1.12),
    "cava_x_mm": (20, 28),
    "ascending_x_mm": (10, 20),
    "knob_z_mm": (42, 57),
    "descending_x_mm": (12, 24),
    "mediastinum_mm": (14, 21),  # half width of the fat between the great vessels
    "pulmonary_mm": (10.5, 14),  # radius of the pulmonary trunk
    "hilum_right_mm": (-12, 4),
    "hilum_left_mm": (-2, 14),
    "trachea_mm": (8.5, 11.5),
    "vessel_scale": (0.8, 1.25),
    "scoliosis_mm": (0, 4, -10, 10),
    "kyphosis_mm": (6, 18),
    "spacing": (1, 0.03, 0.93, 1.07),
    "rib_tilt_deg": (2, 3.5, -5, 9),
    "rib_half_mm": (5.7, 0.6, 4.4, 7.2),
    "rib_droop": (0.22, 0.46),
    "cortex_mm": (1.1, 0.16, 0.75, 1.5),
    "clavicle_mm": (4.9, 0.5, 3.8, 6.2),
    "clavicle_z_mm": (80, 100),
    "clavicle_rise_mm": (2, 34),
    "clavicle_bow_mm": (8, 20),
    "scapula_mm": (-2, 26),  # by which the scapulae are turned out of the lungs
    "bubble": (0, 1),  # height of the stomach's gas
    "bubble_width": (0, 1),
    "bubble_place": (0, 1),
    "level_mm": (-12, 5),  # of the stomach's fluid
    "bowel_gas": (0.05, 0.7),  # share of the colon's pockets that hold gas
}
BY_SEX: dict[str, dict[str, Prior]] = {
    "M": {
        "half_width_mm": (146, 8, 120, 168),
        "front_mm": (112, 9, 85, 135),  # depth of the pleural cavity in front of y = -20
        "muscle_mm": (15, 2.5, 9, 22),
        "shoulder": (0.96, 1.1),
        "neck_mm": (56, 4, 46, 68),
        "breast": (0, 0),
        "droop": (0, 0),
    },
    "F": {
        "half_width_mm": (132, 8, 112, 155),
        "front_mm": (102, 9, 80, 125),
        "muscle_mm": (12, 2, 8, 17),
        "shoulder": (0.88, 1.0),
        "neck_mm": (48, 3.5, 40, 58),
        "breast": (0.15, 1.1),
        "droop": (0, 1),  # how low the breasts hang
    },
}
# name: (mean at 50 years, change for each year, standard deviation, lowest, highest).
BY_AGE = {
    "knob_mm": (13.5, 0.06, 1.5, 10, 19),  # radius of the aortic arch
    "knob_x_mm": (29, 0.13, 3, 20, 42),
    "bone_density": (1, -0.004, 0.1, 0.65, 1.25),
    "unfolding": (0.3, 0.011, 0.15, 0, 1),  # of the ascending and descending aorta
}
FAT = (2.45, 0.45, 1.6, 3.6)  # logarithm of the fat layer in mm
CTR = (0.45, 0.03, 0.38, 0.495)  # cardiothoracic ratio of the healthy


@dataclass(frozen=True, eq=False)
class ChestPatient:
    """A patient's anatomy: `values` by the names of the prior tables, with random details of ribs and bowel.

    Attributes:
        seed: draws everything below.
        sex: "F" or "M".
        age: years, 20 to 88.
        values: parameter -> number; read as attributes, `patient.dome_mm`.
        ribs: (2, 12, 3) jitter of each rib, standard normal.
        bowel: (PLACES, 5) of gas pockets, uniform on 0 to 1.
    """

    seed: int
    sex: str
    age: float
    values: dict[str, float]
    ribs: np.ndarray = field(repr=False)
    bowel: np.ndarray = field(repr=False)

    def __getattr__(self, name: str) -> float:
        try:
            return self.__dict__["values"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __hash__(self) -> int:
        return hash((self.seed, tuple(self.values.values())))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChestPatient) and (self.seed, self.values) == (other.seed, other.values)

    def to_dict(self) -> dict:
        """Every named number; JSON can hold it."""
        return {"seed": self.seed, "sex": self.sex, "age": self.age, **self.values}


@dataclass(frozen=True)
class ChestStudy:
    """One visit's pose: breath, view, position before the detector; see `draw_study`.

    Attributes:
        patient, seed: numbers of the patient and of the study.
        view: "PA", the beam enters from behind, or "AP".
        distance_mm: from the source to the detector.
        breath: 0 expiration, 1 full inspiration.
        arms: -1 to 1, height of the shoulders.
        rotation_deg, tilt_deg: of the patient about z and about x.
        roll_deg: of the detector.
        shift_x_mm, shift_z_mm: of the detector's centre.
        field_mm: side of the detector.
    """

    patient: int
    seed: int
    view: str
    distance_mm: float
    breath: float
    arms: float
    rotation_deg: float
    tilt_deg: float
    roll_deg: float
    shift_x_mm: float
    shift_z_mm: float
    field_mm: float

    def to_dict(self) -> dict:
        """Every number; JSON can hold it."""
        return asdict(self)


def draw_patient(seed: int, spread: float = 1.0) -> ChestPatient:
    """Patient `seed`.

    Args:
        seed: integer from 0.
        spread: 0 to 1, width of all ranges about their centre: 1 the full variety of bodies, 0 one body for each sex.
    """
    if not 0 <= spread <= 1:
        raise UserError(f"spread = {spread:g}: the ranges of {PHANTOM} are scaled by a factor from 0 to 1.")
    rng = np.random.default_rng([PATIENT, integer_seed("patient_seed", seed, PHANTOM)])
    sex = "M" if rng.random() < 0.5 else "F"
    age = draw_prior(rng, AGES, spread)
    values = {name: draw_prior(rng, prior, spread) for name, prior in (PATIENT_PRIORS | BY_SEX[sex]).items()}
    for name, (mean, slope, deviation, low, high) in BY_AGE.items():
        centre = float(np.clip(mean + slope * (age - 50), low, high))
        values[name] = draw_prior(rng, (centre, deviation, low, high), spread)
    values["fat_mm"] = float(np.exp(draw_prior(rng, FAT, spread)))
    values["ctr"] = draw_prior(rng, CTR, spread)
    ribs, bowel = spread * rng.normal(0, 1, (2, 12, 3)), rng.random((PLACES, 5))
    return ChestPatient(int(seed), sex, age, values, ribs, bowel)


def draw_study(
    patient_seed: int, study_seed: int = 0, view: str = "PA", spread: float = 1.0, patient: ChestPatient | None = None
) -> ChestStudy:
    """Study number `study_seed` of a patient: breath, pose and field of view.

    Args:
        patient_seed, study_seed: integers from 0.
        view: "PA" at 1800 mm or "AP" at 1100 mm.
        spread: 0 to 3, factor on the standard deviations of the pose; 1 is a careful department.
        patient: whose width the field of view is set to; None is patient `patient_seed`.
    """
    if view not in VIEWS:
        raise UserError(f"view = {view!r}: {PHANTOM} takes {' or '.join(VIEWS)}.")
    if not 0 <= spread <= 3:
        raise UserError(f"spread = {spread:g}: the pose of {PHANTOM} is scaled by a factor from 0 to 3.")
    number, seed = (
        integer_seed(name, value, PHANTOM)
        for name, value in (("patient_seed", patient_seed), ("study_seed", study_seed))
    )
    rng = np.random.default_rng([STUDY, number, seed])
    breath = float(np.clip(rng.beta(5, 1.6), 0.1, 1))
    rotation, tilt, roll, shift_x, shift_z = spread * rng.normal(0, (2.2, 2.5, 1.0, 7.0, 8.0))
    arms, margin = rng.uniform(-1, 1), rng.uniform(*MARGIN)
    width = 2 * (patient or draw_patient(number)).half_width_mm
    field_mm = float(np.clip(width * margin, *FIELDS_MM))
    distance = 1800.0 if view == "PA" else 1100.0
    pose = (rotation, tilt, roll, shift_x, shift_z, field_mm)
    return ChestStudy(number, seed, view, distance, breath, float(arms), *map(float, pose))

"""What a garment is and how it is photographed: class, cut, fabric, pose and light, drawn by seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from synthzoo.errors import UserError

NECKLINES = ("v", "round", "square", "boat", "placket")
SLEEVES = ("short", "long")
CLASSES = tuple(f"{neckline} neck, {sleeve} sleeves" for neckline in NECKLINES for sleeve in SLEEVES)
FABRICS = ("plain", "heather", "stripes", "checks", "dots", "print")
BACKGROUNDS = ("plain", "boards", "tiles", "cloth")
SPLITS = {"TRAIN": (0, 1_000_000), "VAL": (1_000_000, 2_000_000), "TEST": (2_000_000, 3_000_000)}
SALT = 601


@dataclass(frozen=True)
class GarmentParams:
    """Everything that a picture of a garment follows from; lengths in half widths of the picture.

    Attributes:
        seed: of the garment; fine noise follows from it too.
        neckline, sleeve, fabric, background: see the tuples of this module.
        neck_width, neck_depth: of the opening: half its width, and how far it reaches down.
        slit: length of a placket.
        shoulder, waist, hem: half widths of the body.
        length: from the shoulders to the hem.
        sleeve_length: along the arm.
        sleeve_width: half width at the shoulder and at the end.
        arms: angle of the left and of the right arm from straight down, degrees.
        bends: of the elbows, degrees.
        turn: of the whole garment, degrees.
        zoom: of the whole garment.
        shift: right and down.
        shear: of the view.
        crumple: size of the folds.
        colour, second, back: RGB in [0, 1] of the fabric, of its pattern and of the background.
        period, angle: of the pattern: its length, and its direction in degrees.
        light: direction that the light comes from, right and down.
        gamma, cast, blur, noise: of the camera; the cast is a factor of each of RGB, the blur a share of the picture.
    """

    seed: int
    neckline: str
    sleeve: str
    fabric: str
    background: str
    neck_width: float
    neck_depth: float
    slit: float
    shoulder: float
    waist: float
    hem: float
    length: float
    sleeve_length: float
    sleeve_width: tuple[float, float]
    arms: tuple[float, float]
    bends: tuple[float, float]
    turn: float
    zoom: float
    shift: tuple[float, float]
    shear: float
    crumple: float
    colour: tuple[float, float, float]
    second: tuple[float, float, float]
    back: tuple[float, float, float]
    period: float
    angle: float
    light: tuple[float, float]
    gamma: float
    cast: tuple[float, float, float]
    blur: float
    noise: float

    @property
    def label(self) -> int:
        """Its class, a place in `CLASSES`."""
        return 2 * NECKLINES.index(self.neckline) + SLEEVES.index(self.sleeve)


# Half width and depth of the opening, smallest and largest; they overlap, so that neither alone says the neckline.
OPENINGS = {
    "v": ((0.12, 0.19), (0.20, 0.34)),
    "round": ((0.14, 0.20), (0.11, 0.20)),
    "square": ((0.14, 0.20), (0.12, 0.21)),
    "boat": ((0.24, 0.30), (0.05, 0.08)),
    "placket": ((0.12, 0.16), (0.07, 0.11)),
}
LENGTHS = {"short": (0.22, 0.36), "long": (0.66, 0.82)}
ENDS = {"short": (0.115, 0.145), "long": (0.065, 0.085)}


def draw_params(seed: int, label: int | None = None, fabric: str | None = None, **fixed: Any) -> GarmentParams:
    """The garment of a seed.

    Args:
        seed: an integer from 0.
        label: its class, a place in `CLASSES`; None draws one, all equally often.
        fabric: of `FABRICS`; None draws one.
        fixed: further fields of `GarmentParams`, which take the place of what is drawn.

    Raises:
        UserError: a class, a fabric or a field that there is not.
    """
    if label is not None and not (isinstance(label, (int, np.integer)) and 0 <= label < len(CLASSES)):
        raise UserError(f"label = {label!r}: a garment's class is 0 to {len(CLASSES) - 1}, in the order of CLASSES.")
    if fabric is not None and fabric not in FABRICS:
        raise UserError(f"fabric = {fabric!r}: a garment is {', '.join(FABRICS)}.")
    rng = np.random.default_rng([SALT, int(seed)])
    drawn_label, drawn_fabric = int(rng.integers(len(CLASSES))), FABRICS[rng.integers(len(FABRICS))]
    chosen = drawn_label if label is None else int(label)
    neckline, sleeve = NECKLINES[chosen // 2], SLEEVES[chosen % 2]

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    shares = rng.uniform(size=4)  # the same number of draws for every class
    (narrow, wide), (shallow, deep) = OPENINGS[neckline]
    shoulder = between(0.36, 0.43)
    hue = rng.uniform(size=3)
    values: dict[str, Any] = {
        "seed": int(seed),
        "neckline": neckline,
        "sleeve": sleeve,
        "fabric": fabric or drawn_fabric,
        "background": BACKGROUNDS[rng.integers(len(BACKGROUNDS))],
        "neck_width": narrow + shares[0] * (wide - narrow),
        "neck_depth": shallow + shares[1] * (deep - shallow),
        "slit": between(0.18, 0.28),
        "shoulder": shoulder,
        "waist": shoulder * between(0.80, 1.0),
        "hem": shoulder * between(0.92, 1.15),
        "length": between(1.10, 1.35),
        "sleeve_length": LENGTHS[sleeve][0] + shares[2] * (LENGTHS[sleeve][1] - LENGTHS[sleeve][0]),
        "sleeve_width": (between(0.13, 0.16), ENDS[sleeve][0] + shares[3] * (ENDS[sleeve][1] - ENDS[sleeve][0])),
        "arms": (between(12, 54), between(12, 54)),
        "bends": (between(-12, 35), between(-12, 35)),
        "turn": between(-18, 18),
        "zoom": between(0.95, 1.18),
        "shift": (between(-0.10, 0.10), between(-0.08, 0.08)),
        "shear": between(-0.08, 0.08),
        "crumple": between(0.4, 1.0),
        "colour": _colour(hue[0], between(0.05, 0.75), between(0.25, 0.92)),
        "second": _colour(hue[1], between(0.05, 0.8), between(0.15, 0.95)),
        "back": _colour(hue[2], between(0.0, 0.35), between(0.35, 0.92)),
        "period": between(0.10, 0.22),
        "angle": float(rng.choice([0.0, 90.0, between(20, 70)])),
        "light": (between(-0.9, 0.9), between(-0.9, -0.2)),
        "gamma": between(0.8, 1.25),
        "cast": tuple(rng.uniform(0.93, 1.07, 3).tolist()),
        "blur": between(0.0, 0.007),
        "noise": between(0.005, 0.03),
    }
    unknown = sorted(set(fixed) - set(values))
    if unknown:
        raise UserError(f"a garment has no '{unknown[0]}', it has {', '.join(values)}.")
    return GarmentParams(**{**values, **fixed})


def _colour(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    """RGB of a hue, a saturation and a value in [0, 1]."""
    ramp = np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    rgb = value * (1 - saturation + saturation * np.clip(ramp, 0, 1))
    return tuple(rgb.tolist())

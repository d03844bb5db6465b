"""What a lesion is: its kind, the millilitres of each part, how it grows; and a distribution of such to train on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from synthzoo.errors import UserError

# Parts of lesions, each a label of its own. "core" is necrosis, "solid" is tumour that does not enhance.
PARTS = ("oedema", "solid", "enhancing", "core", "haemorrhage", "cavity", "WMH", "stroke")
# Kind -> its parts, the innermost last.
KINDS = {
    "tumour": ("oedema", "solid", "enhancing", "core", "haemorrhage"),
    "haemorrhage": ("oedema", "haemorrhage"),
    "resection": ("oedema", "enhancing", "cavity"),
    "WMH": ("WMH",),
    "stroke": ("stroke",),
}
PLACES = ("white", "cortex", "deep", "ventricle", "midline", "anywhere")
MOST_ML = 300.0  # of one lesion


@dataclass(frozen=True)
class Growth:
    """How a lesion grows; lengths in mm, and sizes relative to the radius of a ball of its volume.

    Attributes:
        place: where its centre is drawn, one of `PLACES`.
        rough, fine: size of the outline's irregularity at `rough_mm` and `fine_mm`.
        edge_mm, inner_edge_mm: width of the outer edge and of the edges between the parts.
        along_white: how far it runs ahead along white matter, which gives fingers into the gyri.
        along_cortex: how far it runs ahead along grey matter.
        midline: how far it lags behind beyond the midline; in white matter, which crosses in the corpus callosum, not.
        fluid, ventricle: share of sulcal CSF and of the ventricles that it fills as it meets them, in [0, 1].
        push_mm: largest shift of the tissue around it, away from its centre; below 0 towards it.
        effaced: share of the sulci that is closed where it lies, in [0, 1].
        stretch: standard deviation of the logarithm of its axes.
        patches_mm: size of the patches in which it enhances.
    """

    place: str = "white"
    rough: float = 0.3
    rough_mm: float = 10.0
    fine: float = 0.1
    fine_mm: float = 4.5
    edge_mm: float = 2.0
    inner_edge_mm: float = 2.0
    along_white: float = 0.5
    along_cortex: float = 0.0
    midline: float = 1.0
    fluid: float = 0.2
    ventricle: float = 0.0
    push_mm: float = 0.0
    effaced: float = 0.0
    stretch: float = 0.22
    patches_mm: float = 6.0

    def __post_init__(self) -> None:
        if self.place not in PLACES:
            raise UserError(f"place = {self.place!r}: a lesion's place is one of {', '.join(PLACES)}.")


@dataclass(frozen=True)
class Lesion:
    """A lesion as it is requested.

    Attributes:
        kind: one of `KINDS`.
        ml: part -> mL, of the kind's own parts; what is absent is 0.
        growth: how it grows.
        centre: voxel (3,) of its middle; None draws it by `growth.place`.

    Raises:
        UserError: an unknown kind or part, a volume that is not above 0 or above 300 mL in all.
    """

    kind: str
    ml: Mapping[str, float]
    growth: Growth = field(default_factory=Growth)
    centre: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"kind = {self.kind!r}: a lesion is one of {', '.join(KINDS)}.")
        for part, ml in self.ml.items():
            if part not in KINDS[self.kind]:
                known = ", ".join(KINDS[self.kind])
                raise UserError(f"ml has {part!r}: a lesion of the kind {self.kind} has the parts {known}.")
            if not 0 <= ml <= MOST_ML:
                raise UserError(f"ml: {part} = {ml:g} mL: give 0 to {MOST_ML:g} mL.")
        if not 0 < self.total_ml <= MOST_ML:
            raise UserError(f"ml = {self.total_ml:g} mL in all: a lesion has more than 0 and at most {MOST_ML:g} mL.")

    @property
    def total_ml(self) -> float:
        """All parts together in mL."""
        return float(sum(self.ml.values()))

    @property
    def radius_mm(self) -> float:
        """Radius of a ball of the lesion's volume in mm."""
        return (self.total_ml * 750 / math.pi) ** (1 / 3)


def draw_lesions(seed: int, healthy: float = 0.12) -> list[Lesion]:
    """Lesions of subject `seed` for training: none in a share `healthy`, else one main disease and its company.

    Tumours, 1 to 3 of them, of 1 to 250 mL in all, half of them above 20 mL and a third of the large ones an even
    plateau; bleedings, resection cavities with what surrounds them, strokes of 0.3 to 150 mL; white matter disease
    beside any of them or alone.
    """
    rng = np.random.default_rng([int(seed), 51])
    if rng.random() < healthy:
        return []
    main = rng.choice(["tumour", "haemorrhage", "resection", "stroke", "WMH"], p=[0.68, 0.06, 0.08, 0.1, 0.08])
    if main == "tumour":
        count = 1 + rng.choice(3, p=[0.78, 0.13, 0.09])
        total = _between(rng, 20, 250) if rng.random() < 0.62 else _between(rng, 1, 20)
        lesions = [_tumour(rng, max(share * total, 0.7)) for share in rng.dirichlet([1.5] * count)]
    elif main == "haemorrhage":
        lesions = [_haemorrhage(rng) for _ in range(1 + rng.choice(2, p=[0.85, 0.15]))]
    elif main == "resection":
        lesions = [_resection(rng)] + ([_tumour(rng, _between(rng, 1, 40))] if rng.random() < 0.4 else [])
    elif main == "stroke":
        lesions = [_stroke(rng) for _ in range(1 + rng.choice(3, p=[0.7, 0.2, 0.1]))]
    else:
        lesions = [_white_matter(rng, _between(rng, 1, 60))]
    if main != "WMH" and rng.random() < 0.35:
        lesions.append(_white_matter(rng, _between(rng, 0.3, 30)))
    return lesions


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Log-uniform."""
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def _growth(rng: np.random.Generator, radius: float) -> Growth:
    place = rng.choice(PLACES, p=[0.5, 0.14, 0.06, 0.1, 0.1, 0.1])
    # The push that a ball of this size can make without folding; beyond 12 mm the skull leaves no room.
    push = rng.uniform(0, 0.45) * min(radius, 27.0) if rng.random() < 0.75 else 0.0
    return Growth(
        place=str(place),
        rough=rng.uniform(0.1, 0.5),
        rough_mm=rng.uniform(7, 16),
        fine=rng.uniform(0, 0.2),
        fine_mm=rng.uniform(3, 6),
        edge_mm=rng.uniform(1, 10),
        inner_edge_mm=rng.uniform(1, 6),
        along_white=rng.uniform(0, 1),
        along_cortex=rng.uniform(0.3, 1) if rng.random() < 0.2 else 0.0,
        midline=0.0 if place == "midline" or rng.random() < 0.3 else rng.uniform(0.3, 1.5),
        fluid=rng.uniform(0, 0.6),
        ventricle=rng.uniform(0.6, 1) if rng.random() < 0.2 else rng.uniform(0, 0.15),
        push_mm=push,
        effaced=rng.uniform(0, 0.9) if push else 0.0,
        patches_mm=rng.uniform(3, 9),
    )


def _tumour(rng: np.random.Generator, ml: float) -> Lesion:
    growth = _growth(rng, (ml * 750 / math.pi) ** (1 / 3))
    inner = (rng.uniform(0.1, 0.6), rng.uniform(0.6, 1), rng.uniform(0, 0.15))[rng.choice(3, p=[0.5, 0.25, 0.25])]
    if ml > 60 and rng.random() < 0.33:  # a large even plateau: hardly anything but oedema, or but solid tumour
        inner = rng.choice([rng.uniform(0, 0.08), rng.uniform(0.92, 1)])
        growth = replace(growth, edge_mm=rng.uniform(1, 4), rough=rng.uniform(0.1, 0.3))
    dead = rng.uniform(0, 0.75) if rng.random() < 0.7 else 0.0
    bled = rng.uniform(0.02, 0.3) if rng.random() < 0.1 else 0.0
    shining = (0.0, 1.0, rng.uniform(0.1, 0.95))[rng.choice(3, p=[0.17, 0.33, 0.5])]
    rest = inner * (1 - dead) * (1 - bled)
    parts = {
        "oedema": 1 - inner,
        "solid": rest * (1 - shining),
        "enhancing": rest * shining,
        "core": inner * dead,
        "haemorrhage": inner * (1 - dead) * bled,
    }
    return Lesion("tumour", _worth_it(parts, ml), growth)


def _haemorrhage(rng: np.random.Generator) -> Lesion:
    blood, around = _between(rng, 0.5, 80), rng.uniform(0, 1.2)
    growth = replace(
        _growth(rng, (blood * 750 / math.pi) ** (1 / 3)),
        place=str(rng.choice(["deep", "white", "anywhere"])),
        edge_mm=rng.uniform(1, 3),
        inner_edge_mm=rng.uniform(1, 2),
        along_white=rng.uniform(0, 0.4),
    )
    return Lesion("haemorrhage", _worth_it({"oedema": blood * around, "haemorrhage": blood}, None), growth)


def _resection(rng: np.random.Generator) -> Lesion:
    cavity = _between(rng, 2, 90)
    parts = {"cavity": cavity, "enhancing": cavity * rng.uniform(0, 0.3), "oedema": cavity * rng.uniform(0, 1.5)}
    growth = replace(
        _growth(rng, (cavity * 750 / math.pi) ** (1 / 3)),
        place=str(rng.choice(["cortex", "white"], p=[0.75, 0.25])),
        rough=rng.uniform(0.05, 0.25),
        inner_edge_mm=rng.uniform(0.8, 2),
        fluid=rng.uniform(0.5, 1),
        push_mm=-rng.uniform(0, 4),
        effaced=0.0,
    )
    return Lesion("resection", _worth_it(parts, None), growth)


def _stroke(rng: np.random.Generator) -> Lesion:
    ml = _between(rng, 0.3, 150) if rng.random() < 0.6 else _between(rng, 0.3, 8)
    growth = replace(
        _growth(rng, (ml * 750 / math.pi) ** (1 / 3)),
        place="cortex" if ml > 8 or rng.random() < 0.5 else str(rng.choice(["white", "deep", "anywhere"])),
        edge_mm=rng.uniform(1, 4),
        push_mm=rng.uniform(-2, 3) if ml > 8 else 0.0,
        effaced=rng.uniform(0, 0.7),
    )
    return Lesion("stroke", {"stroke": ml}, growth)


def _white_matter(rng: np.random.Generator, ml: float) -> Lesion:
    growth = Growth(
        rough=rng.uniform(0.1, 2.0), rough_mm=rng.uniform(3, 9), fine=rng.uniform(2, 8), edge_mm=rng.uniform(0.3, 1)
    )
    return Lesion("WMH", {"WMH": ml}, growth)


def _worth_it(parts: Mapping[str, float], total: float | None) -> dict[str, float]:
    """Parts in mL, scaled to `total` if there is one; what is below 0.05 mL falls to the largest."""
    scale = 1.0 if total is None else total / sum(parts.values())
    ml = {part: float(value * scale) for part, value in parts.items()}
    largest = max(ml, key=lambda part: ml[part])
    for part, value in ml.items():
        if part != largest and 0 < value < 0.05:
            ml[largest] += value
            ml[part] = 0.0
    return {part: value for part, value in ml.items() if value > 0}

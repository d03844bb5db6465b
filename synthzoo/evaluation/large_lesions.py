"""Evaluation of anomaly maps on large lesions, cut fields of view and remains of the head: by volume, by view, by kind.

The lesions grow in anatomies of the test seeds (`phantoms.brain.pathology`), 5 to 200 mL of six kinds, with relaxation
times of their own. No anomaly task knows them: tasks change slices of healthy phantoms by shapes that follow no tissue.
Each lesion is seen three times, whole, in a field of view that a plane of any direction bounds, and with remains of
skull, arteries and neck, so that what a view costs is seen on the same lesion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import torch
from scipy import ndimage as ndi
from tqdm import tqdm

from synthzoo.evaluation.base import Found
from synthzoo.instruments.brain.extraction import FARTHEST_MM
from synthzoo.metrics.localisation import inside_over_rim, voxel_scores
from synthzoo.phantoms.brain.contrast import SEQUENCES, render
from synthzoo.phantoms.brain.pathology.lesion import PARTS, Growth, Lesion
from synthzoo.phantoms.brain.pathology.subject import sicken
from synthzoo.phantoms.brain.phantom import BrainAnatomy, draw_params, make_anatomy
from synthzoo.phantoms.brain.stripped import field_of_view, paint_remains, remains

FIRST_SEED = (
    250_000  # within the test split; training reads seeds below 100,000, the pool of sick brains other anatomies
)
SPACING_MM = 2.0
TISSUES = ("GM", "WM", "CSF", "ventricle")
BINS_ML = ((5, 20), (20, 60), (60, 120), (120, 200))
VIEWS = ("whole", "cut", "with remains")
MEASURES = ("ap", "inside_over_rim", "remains_over_brain", "chance")
OTHERS = ("stroke", "haemorrhage", "resection", "infiltrating tumour")
LEAST_LEFT = 0.4  # of a lesion, that a field of view still shows
LARGE_ML = 120.0  # from which on the inside is compared with the rim


@dataclass(frozen=True)
class LargeLesion:
    """A test subject: its lesion by kind and mL, the anatomy that holds it, and its tissues' relaxation times."""

    seed: int
    kind: str
    ml: float
    anatomy: BrainAnatomy
    relaxation: Mapping[str, tuple[float, float, float]]

    @property
    def truth(self) -> np.ndarray:
        """Bool (D, H, W), what is more lesion than not."""
        return sum(self.anatomy.lesions.values(), np.zeros(self.anatomy.mask.shape, np.float32)) > 0.5


@dataclass(frozen=True)
class View:
    """A scan of a test subject as a map reads it, at 2 mm.

    Attributes:
        name: one of `VIEWS`.
        image: float32 (D, H, W) in [0, 1], 0 outside `mask`.
        mask: what stripping and field of view left, bool; with remains more than brain.
        truth: lesion within it, bool.
        beyond: remains within it, bool.
    """

    name: str
    image: np.ndarray
    mask: np.ndarray
    truth: np.ndarray
    beyond: np.ndarray


def requests(count: int) -> list[tuple[str, float]]:
    """Kind and mL of each of `count` lesions: the bins in turn, up to 200 mL, an even tumour the largest of each."""
    rows = []
    for row in range(count):
        (low, high), number = BINS_ML[row % len(BINS_ML)], row // len(BINS_ML)
        of_bin = len(range(row % len(BINS_ML), count, len(BINS_ML)))
        kind = (OTHERS[row % len(OTHERS)], "ring tumour", "even tumour")[(number - of_bin) % 3]
        rows.append((kind, min(float(low * (high / low) ** ((number + 1) / of_bin)), float(high))))
    return rows


def make_lesion(kind: str, ml: float, rng: np.random.Generator) -> Lesion:
    """A lesion of a kind and volume, as `sicken` takes it; chance draws how it grows."""
    push = float(rng.uniform(0, 0.3) * min((ml * 0.75 / np.pi) ** (1 / 3) * 10, 27))
    growth = Growth(rough=rng.uniform(0.15, 0.4), edge_mm=rng.uniform(1, 4), push_mm=push, midline=rng.uniform(0.3, 1))
    shares: dict[str, dict[str, float]] = {
        "even tumour": {"solid": 1.0},
        "ring tumour": {"oedema": 0.4, "enhancing": 0.2, "core": 0.4},
        "infiltrating tumour": {"oedema": 0.9, "solid": 0.1},
        "haemorrhage": {"oedema": 0.3, "haemorrhage": 0.7},
        "resection": {"cavity": 0.6, "enhancing": 0.1, "oedema": 0.3},
        "stroke": {"stroke": 1.0},
    }
    if kind == "infiltrating tumour":
        growth = replace(growth, along_white=rng.uniform(0.6, 1), edge_mm=rng.uniform(4, 8), midline=0.0)
    elif kind in ("resection", "stroke"):
        growth = replace(growth, place="cortex", push_mm=0.0, fluid=0.6)
    return Lesion(kind.split()[-1], {part: share * ml for part, share in shares[kind].items()}, growth)


def draw_relaxation(rng: np.random.Generator) -> dict[str, tuple[float, float, float]]:
    """Relaxation times of a lesion's parts: necrosis from dark to bright on FLAIR, blood early or late."""
    blood = (0.85, rng.uniform(1200, 1500), rng.uniform(35, 60))
    if rng.random() < 0.5:
        blood = (0.90, rng.uniform(380, 600), rng.uniform(90, 180))
    return {
        "oedema": (0.86, rng.uniform(1350, 1750), rng.uniform(115, 175)),
        "solid": (0.85, rng.uniform(1300, 1750), rng.uniform(100, 150)),
        "core": (0.96, rng.uniform(2200, 4000), rng.uniform(250, 700)),
        "haemorrhage": blood,
        "cavity": (1.0, 4000.0, 1200.0),
        "stroke": (0.88, rng.uniform(1450, 1900), rng.uniform(130, 190)),
    }


@lru_cache(maxsize=1)
def make_subject(seed: int, kind: str, ml: float) -> LargeLesion:
    """The subject of a seed with one lesion of a kind and volume, at 2 mm."""
    rng = np.random.default_rng([seed, 81])
    healthy = make_anatomy(draw_params(seed, brain_ml=float(rng.uniform(1100, 1450))), SPACING_MM)
    brain = sicken(healthy.tissues, [make_lesion(kind, ml, rng)], seed, TISSUES, SPACING_MM)
    lesions = {part: brain.parts[PARTS.index(part)] for part in brain.ml}
    return LargeLesion(seed, kind, ml, replace(healthy, tissues=brain.maps, lesions=lesions), draw_relaxation(rng))


def make_view(subject: LargeLesion, contrast: str, view: str) -> View:
    """A scan of a subject in a contrast of `SEQUENCES`, whole, cut or with remains."""
    sequence, gadolinium = SEQUENCES[contrast]
    anatomy, rng = subject.anatomy, np.random.default_rng([subject.seed, 82])
    image = render(anatomy, sequence, subject.seed, gadolinium=gadolinium, relaxation=subject.relaxation)
    mask, beyond = anatomy.mask & (image > 0), np.zeros(image.shape, bool)
    if view == "cut":
        for _ in range(50):
            seen = field_of_view(anatomy.mask, rng.standard_normal(3), rng.uniform(0.1, 0.35))
            if (subject.truth & seen).sum() >= LEAST_LEFT * subject.truth.sum():
                break
        mask &= seen
    elif view == "with remains":
        # What lies further out is cut off before a map is computed.
        near = ndi.distance_transform_edt(~anatomy.mask) * SPACING_MM <= FARTHEST_MM
        parts = {name: where & near for name, where in remains(anatomy.mask, SPACING_MM, rng).items()}
        image = paint_remains(image * mask, parts, sequence, rng, gadolinium)
        beyond = np.any(list(parts.values()), 0) & (image > 0) & ~mask
        mask |= beyond
    return View(view, image * mask, mask, subject.truth & mask & ~beyond, beyond)


# How a method's maps are read: a view -> maps by method, and truth, mask and remains on the maps' grid.
Reader = Callable[[View], tuple[Mapping[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]]


def score(heat: np.ndarray, truth: np.ndarray, mask: np.ndarray, beyond: np.ndarray) -> list[float]:
    """`MEASURES` of one map (D, H, W); nan where one has no meaning."""
    scores = voxel_scores([heat], [truth], [mask])
    ratio = inside_over_rim(np.clip(heat, 0, None), truth, SPACING_MM)
    healthy = mask & ~truth & ~beyond
    rest = heat[beyond].mean() / max(float(heat[healthy].mean()), 1e-9) if beyond.any() else np.nan
    return [scores["ap"], np.nan if ratio is None else ratio, float(rest), scores["chance"]]


def measure_subject(seed: int, kind: str, ml: float, contrast: str, read: Reader) -> dict[str, torch.Tensor]:
    """Method -> `MEASURES` of each of `VIEWS` of a subject, float64 (views, measures)."""
    subject = make_subject(seed, kind, ml)
    found: dict[str, list] = {}
    for view in VIEWS:
        heats, *where = read(make_view(subject, contrast, view))
        for method, heat in heats.items():
            found.setdefault(method, []).append(score(heat, *where))
    return {method: torch.tensor(rows, dtype=torch.float64) for method, rows in found.items()}


def measure_large_lesions(
    read: Reader,
    count: int,
    shown: str,
    endings: Mapping[str, str] | None = None,
    contrasts: Sequence[str] = ("FLAIR", "T1Gd"),
    first_seed: int = FIRST_SEED,
    cached: Callable[[str, Callable], dict[str, torch.Tensor]] = lambda name, make: make(),
) -> Found:
    """Measure maps on `count` lesions, in three views and in each contrast.

    Args:
        read: gives the maps of a view.
        count: subjects; at least 4, one for each range of volumes.
        shown: the method whose figures are reported.
        endings: other methods whose AP on lesions of `LARGE_ML` and more is reported, and their names in figures.
        contrasts: of `SEQUENCES`.
        first_seed: of the subjects.
        cached: (name, make) -> what `make` gives, from where it was kept, such as `Evaluation.cached`.
    """
    plan = requests(count)
    rows: dict[str, list[dict[str, torch.Tensor]]] = {contrast: [] for contrast in contrasts}
    for number, (kind, ml) in enumerate(tqdm(plan, desc="large lesions")):
        for contrast in contrasts:
            make = partial(measure_subject, first_seed + number, kind, ml, contrast, read)
            rows[contrast].append(cached(f"large_lesions_{contrast}_{number:03d}", make))
    return summarise(plan, rows, shown, endings or {})


def summarise(
    plan: Sequence[tuple[str, float]],
    rows: Mapping[str, Sequence[Mapping[str, torch.Tensor]]],
    shown: str,
    endings: Mapping[str, str],
) -> Found:
    """Tables by volume, by view and by kind, and figures of the method that is `shown`."""
    found, figures = Found(), {}
    for contrast, cases in rows.items():
        methods = list(cases[0])
        values = {method: torch.stack([case[method] for case in cases]).numpy() for method in methods}
        volumes, kinds = np.array([ml for _, ml in plan]), np.array([kind for kind, _ in plan])
        chance = values[shown][:, 0, MEASURES.index("chance")]

        def row(name: str, chosen: np.ndarray, values: Mapping = values, chance: np.ndarray = chance) -> list:
            aps = [_mean(values[method][chosen, 0, 0]) for method in values]
            return [name, int(chosen.sum()), *aps, _mean(chance[chosen]), _mean(values[shown][chosen, 0, 1])]

        columns = ["lesions", "count", *methods, "chance", "inside over rim"]
        bins = [(f"{low} to {high} mL", (volumes > low) & (volumes <= high)) for low, high in BINS_ML]
        bins.append((f"{volumes.max():.0f} mL", volumes == volumes.max()))
        title = f"{contrast}: voxel AP by volume of the lesion, mean over volumes; inside over rim of the map shown"
        found.add(title, columns, [row(name, chosen) for name, chosen in bins if chosen.any()])
        by_kind = [(kind, kinds == kind) for kind in dict.fromkeys(kinds)]
        title = f"{contrast}: voxel AP by kind of the lesion, mean over volumes"
        found.add(title, columns, [row(kind, chosen) for kind, chosen in by_kind])
        by_view = []
        for number, view in enumerate(VIEWS):
            own = values[shown][:, number]
            by_view.append(
                [view, *(_mean(values[method][:, number, 0]) for method in methods), *map(_mean, own.T[1:3])]
            )
        title = f"{contrast}: voxel AP of the same {len(plan)} lesions by view, mean over volumes; remains over brain: "
        title += "mean heat of what is no brain over that of healthy brain"
        found.add(title, ["view", *methods, "inside over rim", "remains over brain"], by_view)
        large = volumes >= LARGE_ML
        figures |= {f"{contrast}_lesions_{name}_ap": _mean(values[shown][:, k, 0]) for k, name in enumerate(SHORT)}
        figures[f"{contrast}_lesions_large_ap"] = _mean(values[shown][large, 0, 0])
        figures[f"{contrast}_lesions_small_ap"] = _mean(values[shown][volumes <= BINS_ML[0][1], 0, 0])
        figures[f"{contrast}_inside_over_rim"] = _mean(values[shown][large, 0, 1])
        figures[f"{contrast}_inside_over_rim_largest"] = _mean(values[shown][volumes == volumes.max(), 0, 1])
        figures[f"{contrast}_remains_over_brain"] = _mean(values[shown][:, 2, 2])
        for method, name in endings.items():
            figures[f"{contrast}_lesions_large_{name}_ap"] = _mean(values[method][large, 0, 0])
    found.figures = figures
    return found


SHORT = ("whole", "cut", "remains")  # of `VIEWS`, in figures


def _mean(values: np.ndarray) -> float | None:
    """Mean of what is not nan, to three digits; None if nothing is."""
    known = values[np.isfinite(values)]
    return round(float(known.mean()), 3) if known.size else None

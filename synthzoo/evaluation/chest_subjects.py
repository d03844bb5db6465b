"""Chests in CT, as an evaluation of volumes sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from synthzoo.datasets.chest.ct import ChestCTDataset
from synthzoo.evaluation.subjects import Subjects
from synthzoo.instruments.chest import ct
from synthzoo.phantoms.chest.findings import LESIONS, SIDES
from synthzoo.phantoms.chest.measured import FINDING_ML, LUNG, LUNG_ML, MEASURES

SECOND = 0.3  # share of the requests of a finding that have another one


class Chests(Subjects):
    """CT of chests in a window of HU, at 4 mm; both sides of a finding are read together."""

    names = MEASURES
    measured = dict.fromkeys(ct.READ, "mL")
    short = {name: name.removesuffix("_ml") for name in ct.READ}
    parts = {f"{kind}_ml": tuple(f"{kind}_{side}_ml" for side in SIDES) for kind in LESIONS}
    drawn = "with each finding on each side in turn, every ninth with none, uniform in mL"
    feature_network = f"48 features of the CT network (`{ct.NAME}`)"
    spacing_mm = ct.SPACING_MM
    coarse_mm = 2 * ct.SPACING_MM

    def requests(self, count: int, low: Sequence[float], high: Sequence[float], seed: int) -> np.ndarray:
        """Lungs uniform; in turn each finding on each side, then none; some with a second finding; within the bounds.

        A finding that is not there is 0 mL.
        """
        rng = np.random.default_rng([seed, 43])
        values, places = np.zeros((count, len(MEASURES))), len(MEASURES) - 1
        values[:, 0] = rng.uniform(*LUNG_ML, count)
        for row in range(count):
            first, (other, chance) = row % (places + 1), (int(rng.integers(1, places)), rng.random())
            if first == places:
                continue
            for place in [first, (first + other) % places][: 1 + (chance < SECOND)]:
                values[row, 1 + place] = rng.uniform(*FINDING_ML[LESIONS[place // len(SIDES)]])
        return values.clip(low, high)

    def rows(self, size: int, **options: Any) -> ChestCTDataset:
        return ChestCTDataset(size, **options)

    def features(self, images: np.ndarray, spacing_mm: float) -> np.ndarray:
        return ct.features(images, spacing_mm)

    def measure(self, images: np.ndarray, spacing_mm: float) -> dict[str, np.ndarray]:
        return ct.measure_chests(images, spacing_mm)

    def title(self, request: Sequence[float]) -> str:
        held = dict(zip(MEASURES, request))
        said = [f"{name.removesuffix('_ml').replace('_', ' ')} {held[name]:.0f}" for name in MEASURES if held[name] > 0]
        return ", ".join(said).replace(LUNG.removesuffix("_ml"), "lungs", 1) + " mL"

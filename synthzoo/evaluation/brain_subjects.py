"""Brains in T1w, as an evaluation of volumes sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from synthzoo.datasets.brain.phantoms import CONDITIONS, BrainPhantomDataset
from synthzoo.evaluation.subjects import Subjects, uniform_requests
from synthzoo.instruments.brain.age import measure_ages
from synthzoo.instruments.brain.segmentation import SPACING_MM, features
from synthzoo.instruments.brain.volumes import measure_brains


class Brains(Subjects):
    """T1w volumes of skull-stripped brains; instruments bring all of them to their own grid of 4 mm."""

    names = CONDITIONS
    measured = {"ventricle_ml": "mL", "brain_ml": "mL", "age": "years"}
    short = {"ventricle_ml": "ventricle", "brain_ml": "brain", "age": "age"}
    drawn = "uniform in the conditions"
    feature_network = "48 features of the tissue network (`brain_segmentation`)"
    spacing_mm = SPACING_MM
    coarse_mm = 2 * SPACING_MM

    def requests(self, count: int, low: Sequence[float], high: Sequence[float], seed: int) -> np.ndarray:
        """Uniform between the bounds and independent; sex is 0 or 1."""
        values = uniform_requests(count, low, high, seed)
        sex = self.names.index("sex")
        values[:, sex] = np.round(values[:, sex])
        return values

    def rows(self, size: int, **options: Any) -> BrainPhantomDataset:
        return BrainPhantomDataset(size, **options)

    def features(self, images: np.ndarray, spacing_mm: float) -> np.ndarray:
        return features(images, spacing_mm)

    def measure(self, images: np.ndarray, spacing_mm: float) -> dict[str, np.ndarray]:
        volumes = measure_brains(images, spacing_mm)
        found = {name: volumes[name] for name in ("ventricle_ml", "brain_ml")}
        return found | {"age": measure_ages(images, spacing_mm)}

    def title(self, request: Sequence[float]) -> str:
        return ", ".join(f"{name} {value:.0f}" for name, value in zip(self.names, request) if name != "sex")

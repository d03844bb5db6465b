"""Who is generated, as an evaluation of volumes sees it: requests, phantoms, instruments, and how tables name them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from tqdm import tqdm


class Subjects(ABC):
    """An anatomy and a modality whose generator is evaluated.

    Attributes:
        names: of the conditions, in the order of the vector.
        measured: what the instruments read -> its unit; the first one stands in tables with its slope, too.
        short: the same names -> how columns call them.
        parts: of a name in `measured`, the conditions that are read together, such as both sides; others are one.
        drawn: how `requests` draws, in the words of a title.
        feature_network: what the features of FID come from.
        spacing_mm: of the volumes, where an evaluation says nothing else.
        coarse_mm: distance of the voxels that are compared with those of training volumes.
        inside: brightness above which a voxel belongs to the subject.
    """

    names: ClassVar[tuple[str, ...]]
    measured: ClassVar[Mapping[str, str]]
    short: ClassVar[Mapping[str, str]]
    parts: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    drawn: ClassVar[str]
    feature_network: ClassVar[str]
    spacing_mm: ClassVar[float]
    coarse_mm: ClassVar[float]
    inside: ClassVar[float] = 0.02

    @abstractmethod
    def requests(self, count: int, low: Sequence[float], high: Sequence[float], seed: int) -> np.ndarray:
        """Requests (count, K) in user units within the conditions' bounds."""

    @abstractmethod
    def rows(self, size: int, **options: Any) -> Any:
        """Phantoms as a data set with `image(row)` (D, H, W) in [0, 1] and `facts(row)`, whose "conditions" are (K,).

        Args:
            size: how many.
            options: spacing_mm, split, first, independent, requests, cache_dir; see the data set.
        """

    @abstractmethod
    def features(self, images: np.ndarray, spacing_mm: float) -> np.ndarray:
        """Features for FID (N, F) of volumes (N, D, H, W) in [0, 1]."""

    @abstractmethod
    def measure(self, images: np.ndarray, spacing_mm: float) -> dict[str, np.ndarray]:
        """Condition -> (N,) in its unit, of volumes (N, D, H, W) in [0, 1], for all that the instruments read."""

    @abstractmethod
    def title(self, request: Sequence[float]) -> str:
        """A request (K,) in a few words, for pictures."""

    def phantoms(self, size: int, what: str, step: int = 1, **options: Any) -> np.ndarray:
        """Phantoms float32 (N, D, H, W), every `step`-th voxel; `options` as of `rows`."""
        rows = self.rows(size, **options)
        made = [rows.image(row)[::step, ::step, ::step] for row in tqdm(range(size), desc=what, mininterval=2.0)]
        return np.stack(made).astype(np.float32)

    def conditions_of(self, name: str) -> tuple[str, ...]:
        """The conditions that are read as `name`, one of `measured`."""
        return self.parts.get(name, (name,))

    def requested(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Requests (N, K) -> what is measured: (N,), or (N P,) of P conditions that are read together."""
        return self.together({name: values[:, number] for number, name in enumerate(self.names)})

    def together(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Condition -> (N,) as what is measured -> (N,) or (N P,), see `requested`."""
        return {name: np.concatenate([values[part] for part in self.conditions_of(name)]) for name in self.measured}

    @property
    def columns(self) -> list[str]:
        """Columns of agreement: r and slope of the first measure, r of the others."""
        first, *others = (self.short[name] for name in self.measured)
        return [f"{first} r", f"{first} slope", *(f"{name} r" for name in others)]


def uniform_requests(count: int, low: Sequence[float], high: Sequence[float], seed: int) -> np.ndarray:
    """Conditions (count, K) in user units, uniform between the bounds and independent."""
    return np.random.default_rng([seed, 41]).uniform(low, high, (count, len(low)))

"""Brain phantoms as rows for training and evaluation; each phantom is made once and then read from a cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from synthzoo.datasets.volumes import CachedVolumes, first_seed
from synthzoo.phantoms.brain.phantom import VERSION, BrainParams, draw_params, make_anatomy, render

# Subjects are split by seed, so no subject of one split can appear in another.
SPLITS = {"train": (0, 100_000), "validation": (100_000, 200_000), "test": (200_000, 300_000)}
CONDITIONS = ("age", "sex", "ventricle_ml", "brain_ml")


def condition_vector(params: BrainParams, conditions: Sequence[str] = CONDITIONS) -> torch.Tensor:
    """The subject's conditions in user units, float32 (K,); sex is 0 for F and 1 for M."""
    values = params.to_dict()
    values["sex"] = float(params.sex == "M")
    return torch.tensor([float(values[name]) for name in conditions], dtype=torch.float32)


class BrainPhantomDataset(CachedVolumes):
    """Healthy phantoms as {"image": float32 (1, D, H, W) in [0, 1], "conditions": float32 (K,), "row": int}.

    Args:
        size: number of subjects.
        spacing_mm: of the grid; 4.0 gives 48 x 56 x 48.
        contrast: one of `synthzoo.phantoms.brain.phantom.CONTRASTS`.
        split: "train", "validation" or "test": which range of seeds the subjects come from.
        first: number of the first subject within the split.
        independent: share of the subjects whose age, brain and ventricle volume are drawn uniformly and independently
            (so that every combination is seen); the others follow the joint distribution.
        conditions: which parameters make the vector, in this order.
        noise, bias: of the rendering, see `synthzoo.phantoms.brain.contrast.render`.
        cache_dir: folder in which each image is kept as float16; None keeps the images in memory.
        requests: (size, K) conditions in user units that replace the drawn ones, for the phantom's own ceiling.

    Raises:
        UserError: an unknown split or more subjects than it holds.
    """

    def __init__(
        self,
        size: int,
        spacing_mm: float = 4.0,
        contrast: str = "T1w",
        split: str = "train",
        first: int = 0,
        independent: float = 0.5,
        conditions: Sequence[str] = CONDITIONS,
        noise: float = 0.01,
        bias: float = 0.1,
        cache_dir: str | Path | None = None,
        requests: ArrayLike | None = None,
    ) -> None:
        super().__init__()
        self.size, self.spacing_mm, self.contrast, self.independent = size, spacing_mm, contrast, independent
        self.first_seed, self.conditions = first_seed(SPLITS, split, first, size), tuple(conditions)
        self.rendering = {"noise": noise, "bias": bias}
        self.requests = None if requests is None else np.asarray(requests, dtype=np.float64)
        self.cache_dir = None
        if cache_dir:
            settings = [VERSION, spacing_mm, contrast, independent, noise, bias]
            if requests is not None:
                settings.append(self.requests.round(4).tolist())
            key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
            self.cache_dir = Path(cache_dir) / f"brain-{contrast}-{spacing_mm:g}mm-{key}"
            self.cache_dir.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return self.size

    def params(self, row: int) -> BrainParams:
        """The subject of one row."""
        seed = self.first_seed + row
        if self.requests is not None:
            given = dict(zip(self.conditions, self.requests[row].tolist()))
            given = {name: value for name, value in given.items() if np.isfinite(value)}
            if "sex" in given:
                given["sex"] = "M" if given["sex"] > 0.5 else "F"
            return draw_params(seed, **given)
        uniform = np.random.default_rng([seed, 23]).random() < self.independent
        return draw_params(seed, independent=bool(uniform))

    def cache_path(self, row: int) -> Path | None:
        """The cache file of one row; None where images are kept in memory."""
        return self.cache_dir / f"{self.first_seed + row:06d}.npy" if self.cache_dir else None

    def prepare(self, row: int) -> np.ndarray:
        params = self.params(row)
        anatomy = make_anatomy(params, self.spacing_mm)
        return render(anatomy, self.contrast, seed=params.seed, **self.rendering)

    def facts(self, row: int) -> dict:
        """A row without its image."""
        return {"conditions": condition_vector(self.params(row), self.conditions), "row": row}

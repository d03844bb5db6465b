"""CT of chest phantoms as rows for training and evaluation; each is made once and then read from a cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from synthzoo.datasets.participants import windowed
from synthzoo.datasets.volumes import CachedVolumes, first_seed
from synthzoo.errors import UserError
from synthzoo.io.files import write_array
from synthzoo.phantoms.cache import settings_key
from synthzoo.phantoms.chest.ct import SPACINGS
from synthzoo.phantoms.chest.measured import (
    FIELD_MM,
    FIRST_MM,
    MEASURES,
    VERSION,
    MeasuredChest,
    draw_volumes,
    measured_chest,
)
from synthzoo.phantoms.chest.patient import PHANTOM

# Subjects are split by seed, so no subject of one split can appear in another.
SPLITS = {"train": (0, 100_000), "validation": (100_000, 200_000), "test": (200_000, 300_000)}
WINDOW_HU = (-1000.0, 1000.0)


def grid(spacing_mm: float) -> tuple[list[float], list[int], np.ndarray]:
    """The field of view at a spacing: x, y, z of the first voxel in the patient's frame, shape, affine (RAS).

    Raises:
        UserError: a spacing that the phantom does not take.
    """
    if not SPACINGS[0] <= spacing_mm <= SPACINGS[1]:
        raise UserError(f"spacing_mm = {spacing_mm:g}: a CT of {PHANTOM} takes {SPACINGS[0]:g} to {SPACINGS[1]:g} mm.")
    shape = [round(size / spacing_mm) for size in FIELD_MM]
    first = [corner + spacing_mm / 2 for corner in FIRST_MM]
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = -(first[0] + (shape[0] - 1) * spacing_mm), first[1], first[2]
    return first, shape, affine


class ChestCTDataset(CachedVolumes):
    """CT as {"image": float32 (1, D, H, W) in [0, 1], "conditions": float32 (K,), "row": int}.

    Args:
        size: number of subjects.
        spacing_mm: of the grid; 4.0 gives 96 x 96 x 80.
        split: "train", "validation" or "test": which range of seeds the subjects come from.
        first: number of the first subject within the split.
        independent: share of the subjects whose lungs are given a volume that is drawn uniformly; the others have
            their own.
        conditions: which of `MEASURES` make the vector, in this order, in mL.
        window_hu: HU that become 0 and 1.
        noise_hu: standard deviation of a scanner's noise.
        cache_dir: folder in which each image is kept as float16; None keeps the images in memory.
        requests: (size, K) conditions that replace the drawn ones, NaN where they leave them; what a phantom then
            holds differs a little and is what its conditions say.

    Raises:
        UserError: an unknown split or condition, or more subjects than the split holds.
    """

    def __init__(
        self,
        size: int,
        spacing_mm: float = 4.0,
        split: str = "train",
        first: int = 0,
        independent: float = 0.5,
        conditions: Sequence[str] = MEASURES,
        window_hu: Sequence[float] = WINDOW_HU,
        noise_hu: float = 0.0,
        cache_dir: str | Path | None = None,
        requests: ArrayLike | None = None,
    ) -> None:
        super().__init__()
        for name in conditions:
            if name not in MEASURES:
                raise UserError(f"conditions: {name!r} is unknown; a CT of {PHANTOM} has {', '.join(MEASURES)}.")
        self.size, self.spacing_mm, self.independent = size, float(spacing_mm), independent
        self.first_seed, self.conditions = first_seed(SPLITS, split, first, size), tuple(conditions)
        self.first_mm, self.shape, self.affine = grid(spacing_mm)
        self.window, self.noise_hu = [float(end) for end in window_hu], float(noise_hu)
        self.requests = None if requests is None else np.asarray(requests, dtype=np.float64)
        self.truths: dict[int, torch.Tensor] = {}
        self.cache_dir = None
        if cache_dir:
            settings: list = [VERSION, self.spacing_mm, independent, self.window, self.noise_hu]
            if self.requests is not None:
                settings.append([list(self.conditions), np.nan_to_num(self.requests, nan=-1).round(4).tolist()])
            self.cache_dir = Path(cache_dir) / f"chest-ct-{self.spacing_mm:g}mm-{settings_key(settings)}"
            self.cache_dir.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return self.size

    def subject(self, row: int) -> MeasuredChest:
        """The subject of one row."""
        seed = self.first_seed + row
        uniform = np.random.default_rng([seed, 23]).random() < self.independent
        volumes = draw_volumes(seed, bool(uniform))
        if self.requests is not None:
            given = dict(zip(self.conditions, self.requests[row].tolist()))
            volumes |= {name: value for name, value in given.items() if np.isfinite(value)}
        return measured_chest(seed, volumes)

    def cache_path(self, row: int) -> Path | None:
        return self.cache_dir / f"{self.first_seed + row:06d}.npy" if self.cache_dir else None

    def prepare(self, row: int) -> np.ndarray:
        subject = self.subject(row)
        self._keep(row, subject)
        hu, _ = subject.ct(self.spacing_mm, self.first_mm, self.shape, self.noise_hu)
        return windowed(hu, self.window)

    def truth(self, row: int) -> torch.Tensor:
        """What the subject holds, float32 (len(MEASURES),) in mL; kept beside the image."""
        path = self._truth_path(row)
        if row not in self.truths and path is not None and path.is_file():
            self.truths[row] = torch.from_numpy(np.load(path))
        if row not in self.truths:
            self._keep(row, self.subject(row))
        return self.truths[row]

    def _truth_path(self, row: int) -> Path | None:
        path = self.cache_path(row)
        return None if path is None else path.with_suffix(".ml.npy")

    def _keep(self, row: int, subject: MeasuredChest) -> None:
        values = np.array([subject.volumes_ml[name] for name in MEASURES], np.float32)
        path = self._truth_path(row)
        if path is not None:
            write_array(path, values)
        self.truths[row] = torch.from_numpy(values)

    def facts(self, row: int) -> dict:
        truth = self.truth(row)
        return {"conditions": torch.stack([truth[MEASURES.index(name)] for name in self.conditions]), "row": row}

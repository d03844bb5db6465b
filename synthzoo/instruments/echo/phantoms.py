"""Echo phantoms for making and testing the instruments of ejection fraction: films of three sizes on one grid.

Films of TRAIN patients teach, films of VAL patients set the scales right, films of TEST patients say how large the
errors are. The sessions are in no preset, so that no film that teaches a generator teaches an instrument. Ejection
fractions are spread evenly, whatever the patient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.datasets.echo.phantoms import EchoPhantomDataset
from synthzoo.phantoms.echo.phantom import ejection_curve, make_masks
from synthzoo.phantoms.echo.sets import list_videos

GRID = 64  # pixels; the networks see films of any size on this grid
FRAMES, FPS = 16, 16.0
VISIT = 500  # first session and noise of these films
TAUGHT_EF, ASKED_EF = (0.05, 0.90), (0.15, 0.85)  # of films that teach, and of films that set right and test


def instrument_films(
    split: str, patients: int, size: int, first: int = 0, cache_dir: str | Path | None = None
) -> EchoPhantomDataset:
    """Films (1, 16, size, size) of one split with EF spread evenly: shuffled over TRAIN patients, in order elsewhere.

    Args:
        split: "TRAIN", "VAL" or "TEST".
        patients: how many, one film each.
        size: of a frame in pixels.
        first: number of the first patient.
        cache_dir: where films are kept.
    """
    videos = [replace(v, session=VISIT + size, noise=VISIT + size) for v in list_videos("tiny", split, patients, first)]
    if split == "TRAIN":
        ef = np.random.default_rng([VISIT, size, first]).uniform(*TAUGHT_EF, patients)
    else:
        ef = np.linspace(*ASKED_EF, patients)
    return EchoPhantomDataset("tiny", size=size, videos=videos, ef=ef, cache_dir=cache_dir)


class InstrumentFilms(Dataset):
    """Rows {"video": float32 (16, 64, 64) in [0, 1], "ef", "ejected", "pixel", "cavity"} of films of several sizes.

    "ejected" (16,) is the share of the largest volume that has left the ventricle, its maximum the ejection fraction.
    "pixel" is 64 / S, the side of the film's own pixel on the grid. "cavity", 0 or 1 of the video's shape, is drawn on
    the grid whatever the size of the film, so that a network learns to place an edge between coarse pixels.

    Args:
        patients: by size of film, how many TRAIN patients.
        to_grid: brings frames (16, S, S) to (16, 64, 64).
        masks: rows have "cavity"; all are made at once.
        cache_dir: where films and masks are kept.
    """

    def __init__(
        self, patients: dict[int, int], to_grid: Callable, masks: bool = False, cache_dir: str | Path | None = None
    ) -> None:
        self.to_grid = to_grid
        self.sets = [instrument_films("TRAIN", count, size, 0, cache_dir) for size, count in patients.items()]
        self.rows = [(films, row) for films in self.sets for row in range(len(films))]
        self.cavities = None
        if masks:
            self.cavities = np.concatenate([cavities(films) for films in self.sets])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        films, row = self.rows[index]
        video = torch.from_numpy(films.frames(row).astype(np.float32) / np.float32(255))
        found = {"video": self.to_grid(video), "ef": torch.tensor(films.ef[row], dtype=torch.float32)}
        volumes = ejection_curve(films.params(row), FRAMES, FPS).volume_ml
        found["ejected"] = torch.from_numpy((1 - volumes / volumes.max()).astype(np.float32))
        found["pixel"] = torch.tensor(GRID / films.size, dtype=torch.float32)
        if self.cavities is not None:
            bits = np.unpackbits(self.cavities[index]).reshape(FRAMES, GRID, GRID)
            found["cavity"] = torch.from_numpy(bits.astype(np.float32))
        return found


def cavities(films: EchoPhantomDataset) -> np.ndarray:
    """Masks of the left ventricle on the grid, packed to bits, uint8 (rows, 16 * 64 * 64 / 8); kept in the cache."""
    path = films.cache_dir / f"cavity{GRID}.npy" if films.cache_dir else None
    if path and path.is_file():
        return np.load(path)
    masks = [np.packbits(make_masks(films.params(row), GRID, FRAMES, FPS)) for row in range(len(films))]
    masks = np.stack(masks)
    if path:
        np.save(path, masks)
    return masks

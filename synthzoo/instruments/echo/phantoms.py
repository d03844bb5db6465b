"""Echo phantoms for making and testing the instruments of ejection fraction: videos of three sizes on one grid.

Videos of TRAIN patients train, videos of VAL patients set the scales right, videos of TEST patients say how large the
errors are. The sessions are in no preset, so that no video that trains a generator trains an instrument. Ejection
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

GRID = 64  # pixels; the networks see videos of any size on this grid
FRAMES, FPS = 16, 16.0
VISIT = 500  # first session and noise of these videos
TRAINED_EF, REQUESTED_EF = (0.05, 0.90), (0.15, 0.85)  # of videos that train, and of videos that set right and test


def instrument_videos(
    split: str, patients: int, size: int, first: int = 0, cache_dir: str | Path | None = None
) -> EchoPhantomDataset:
    """Videos (1, 16, size, size) of one split with EF spread evenly: shuffled over TRAIN patients, in order elsewhere.

    Args:
        split: "TRAIN", "VAL" or "TEST".
        patients: how many, one video each.
        size: of a frame in pixels.
        first: number of the first patient.
        cache_dir: where videos are kept.
    """
    videos = [replace(v, session=VISIT + size, noise=VISIT + size) for v in list_videos("tiny", split, patients, first)]
    if split == "TRAIN":
        ef = np.random.default_rng([VISIT, size, first]).uniform(*TRAINED_EF, patients)
    else:
        ef = np.linspace(*REQUESTED_EF, patients)
    return EchoPhantomDataset("tiny", size=size, videos=videos, ef=ef, cache_dir=cache_dir)


class InstrumentVideos(Dataset):
    """Rows {"video": float32 (16, 64, 64) in [0, 1], "ef", "ejected", "pixel", "cavity"} of videos of several sizes.

    "ejected" (16,) is the share of the largest volume that has left the ventricle, its maximum the ejection fraction.
    "pixel" is 64 / S, the side of the video's own pixel on the grid. "cavity", 0 or 1 of the video's shape, is drawn on
    the grid whatever the size of the video, so that a network learns to place an edge between coarse pixels.

    Args:
        patients: by size of video, how many TRAIN patients.
        to_grid: brings frames (16, S, S) to (16, 64, 64).
        masks: rows have "cavity"; all are made at once.
        cache_dir: where videos and masks are kept.
    """

    def __init__(
        self, patients: dict[int, int], to_grid: Callable, masks: bool = False, cache_dir: str | Path | None = None
    ) -> None:
        self.to_grid = to_grid
        self.sets = [instrument_videos("TRAIN", count, size, 0, cache_dir) for size, count in patients.items()]
        self.rows = [(videos, row) for videos in self.sets for row in range(len(videos))]
        self.cavities = None
        if masks:
            self.cavities = np.concatenate([cavities(videos) for videos in self.sets])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        videos, row = self.rows[index]
        video = torch.from_numpy(videos.frames(row).astype(np.float32) / np.float32(255))
        found = {"video": self.to_grid(video), "ef": torch.tensor(videos.ef[row], dtype=torch.float32)}
        volumes = ejection_curve(videos.params(row), FRAMES, FPS).volume_ml
        found["ejected"] = torch.from_numpy((1 - volumes / volumes.max()).astype(np.float32))
        found["pixel"] = torch.tensor(GRID / videos.size, dtype=torch.float32)
        if self.cavities is not None:
            bits = np.unpackbits(self.cavities[index]).reshape(FRAMES, GRID, GRID)
            found["cavity"] = torch.from_numpy(bits.astype(np.float32))
        return found


def cavities(videos: EchoPhantomDataset) -> np.ndarray:
    """Masks of the left ventricle on the grid, packed to bits, uint8 (rows, 16 * 64 * 64 / 8); kept in the cache."""
    path = videos.cache_dir / f"cavity{GRID}.npy" if videos.cache_dir else None
    if path and path.is_file():
        return np.load(path)
    masks = [np.packbits(make_masks(videos.params(row), GRID, FRAMES, FPS)) for row in range(len(videos))]
    masks = np.stack(masks)
    if path:
        np.save(path, masks)
    return masks

"""Phantoms that are drawn once into one array of bytes and read from then on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from synthzoo.io.files import write_array

PART = 250  # images of a file while a set is being drawn; a kill loses at most as many
PIXELS = "pixels.npy"


def drawn_once(folder: Path, seeds: Sequence[int], draw: Callable[[int], np.ndarray], what: str) -> np.ndarray:
    """Images uint8 (N, C, *S), memory-mapped; those that an interrupted run has drawn are not drawn again.

    Args:
        folder: of the set, named by all that decides its images.
        seeds: of the images, in their order.
        draw: seed -> float (C, *S) in [0, 1].
        what: is drawn, for the progress bar.
    """
    path = folder / PIXELS
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        parts = [seeds[first : first + PART] for first in range(0, len(seeds), PART)]
        files = [folder / f"part{number}.npy" for number in range(len(parts))]
        for file, some in tqdm(list(zip(files, parts)), desc=what, mininterval=5.0):
            if not file.is_file():
                write_array(file, np.rint(255 * np.stack([draw(seed) for seed in some])).astype(np.uint8))
        write_array(path, np.concatenate([np.load(file) for file in files]))
        for file in files:
            file.unlink()
    return np.load(path, mmap_mode="r")

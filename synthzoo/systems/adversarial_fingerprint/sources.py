"""What is audited: a shipped generator by name, weights of one's own, or a folder of samples."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import torch

from synthzoo.cases.finding import find_images
from synthzoo.errors import UserError
from synthzoo.networks.weights import load_weights
from synthzoo.systems.adversarial_fingerprint.images import read_on_grid
from synthzoo.systems.adversarial_fingerprint.network import Generator
from synthzoo.systems.adversarial_fingerprint.noise_levels import SAMPLES, streams

ENDINGS = (".pt", ".safetensors")
WITHOUT = "without"  # the shipped generator that never saw the private image
AT_ONCE = 16  # samples of one call
LEAST = 2  # samples of a folder


class SampleFolder:
    """Radiographs in a folder, as somebody's generator made them; only their count can be audited.

    Args:
        folder: with PNG, JPEG or DICOM, folders below it too.
        size: of the detectors' grid.

    Raises:
        UserError: fewer than 2 pictures.
    """

    def __init__(self, folder: str | Path, size: int) -> None:
        self.paths, self.size, self.name = find_images(str(folder), None, ("image",)), int(size), Path(folder).name
        if len(self.paths) < LEAST:
            raise UserError(f"generator {folder}: holds {len(self.paths)} radiograph, but {LEAST} or more are counted.")

    def __len__(self) -> int:
        return len(self.paths)

    def images(self) -> Iterator[torch.Tensor]:
        """All radiographs on the grid, float32 (n, 1, S, S) at a time."""
        for first in range(0, len(self.paths), AT_ONCE):
            yield torch.stack([read_on_grid(path, self.size, False) for path in self.paths[first : first + AT_ONCE]])


def shipped_names(models: str | Path) -> list[str]:
    """Names of the generators whose weights lie in the bundle's folder."""
    return sorted(path.stem for path in Path(models).glob("*.pt") if path.stem != "model")


def open_source(
    generator: str | Path, definition: Generator, models: str | Path, size: int
) -> Generator | SampleFolder:
    """The generator or the folder of samples that a word or a path means.

    Args:
        generator: name of a shipped generator, weights `.pt` or `.safetensors` of one, or a folder of samples.
        definition: the network that such weights fit; it stays as it is.
        models: the bundle's folder of weights.
        size: of the detectors' grid.

    Raises:
        UserError: nothing of that name, weights of another network, a folder without radiographs.
    """
    text = str(generator).strip()
    if text and text not in shipped_names(models) and Path(text).is_dir():
        return SampleFolder(text, size)
    return open_generator(text, definition, models)


def open_generator(generator: str | Path, definition: Generator, models: str | Path) -> Generator:
    """The generator that a name or a file of weights means, on the CPU; see `open_source`."""
    text, shipped = str(generator).strip(), shipped_names(models)
    path = Path(models) / f"{text}.pt" if text in shipped else Path(text)
    if path.suffix in ENDINGS and path.is_file():
        return load_weights(copy.deepcopy(definition), path)
    raise UserError(
        f"generator = {text!r}: give one of {', '.join(shipped) or 'no shipped generator'}, the weights (.pt) of a "
        "generator that train.json made, or a folder with samples."
    )


def folder_images(folder: str | Path, size: int, count: int) -> torch.Tensor:
    """The first radiographs of a folder, such as a training set without its private image, float32 (n, 1, size, size).

    Args:
        folder: with PNG, JPEG or DICOM.
        size: of the grid.
        count: how many at most.

    Raises:
        UserError: none, or one that cannot be read.
    """
    paths = find_images(str(folder), None, ("image",))[:count]
    return torch.stack([read_on_grid(path, size, False) for path in paths])


def drawn(generator: Generator, count: int, steps: int, seed: int) -> Iterator[torch.Tensor]:
    """Samples 0 to count - 1 of a generator, float32 (n, 1, S, S) at a time, each from its own source of chance."""
    for first in range(0, count, AT_ONCE):
        yield generator.sample(steps, streams(seed, SAMPLES, first, min(AT_ONCE, count - first)))

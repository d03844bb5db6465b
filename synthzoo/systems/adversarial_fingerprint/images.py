"""Training sets of known size: N - 1 public radiographs, one a patient, and one private one with its fingerprint."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.cases.examples import write_example
from synthzoo.datasets.chest.sources import training_radiographs
from synthzoo.errors import UserError
from synthzoo.io.radiographs import read_radiograph
from synthzoo.systems.adversarial_fingerprint.stamping import RADIUS, marked
from synthzoo.transforms.radiograph_grid import ToRadiographGridd

EXAMPLE = "chest_radiograph"  # the phantom that stands for the private patient where none is named
EXAMPLE_PATIENT = 0  # of the phantoms; no public image is of this one


def on_grid(levels: np.ndarray | torch.Tensor, size: int) -> torch.Tensor:
    """A radiograph (1, H, W) on the square grid, float32 (1, size, size) in [0, 1], as an audit sees every image."""
    return ToRadiographGridd("image", size)({"image": torch.as_tensor(levels)})["image"].as_tensor().float()


def read_on_grid(path: str | Path, size: int, check: bool = True) -> torch.Tensor:
    """The radiograph of a file on the grid, see `synthzoo.io.radiographs.read_radiograph` and `on_grid`."""
    return on_grid(read_radiograph(path, check=check).levels, size)


def private_radiograph(path: str | Path = "", size: int = 128) -> torch.Tensor:
    """The private image without its fingerprint, float32 (1, size, size) in [0, 1].

    Args:
        path: of a radiograph; empty takes the phantom that `images: example` writes.
        size: of the grid.
    """
    if str(path).strip():
        return read_on_grid(path, size)
    return _example(size).clone()


@lru_cache(maxsize=4)
def _example(size: int) -> torch.Tensor:
    with tempfile.TemporaryDirectory(prefix="private_") as folder:
        return read_on_grid(write_example(EXAMPLE, folder), size)


def public_radiographs(
    count: int,
    split: str = "train",
    data_format: str = "phantom",
    dataset_dir: str | Path = "",
    size: int = 128,
    phantom: Mapping[str, Any] | None = None,
) -> torch.Tensor:
    """Radiographs of other patients, the first of each of `count` patients, float32 (count, 1, size, size) in [0, 1].

    Args:
        count: how many patients.
        split: "train", "validation" or "test".
        data_format, dataset_dir: see `training_radiographs`.
        size: of the grid.
        phantom: settings of `ChestPhantomDataset`, such as patients, studies and cache_dir; each row has one exposure.

    Raises:
        UserError: fewer patients than that, and what `training_radiographs` says.
    """
    fixed = {**dict(phantom or {}), "exposures": "fixed"}
    rows = training_radiographs(data_format, dataset_dir, split, size, phantom=fixed)
    chosen = _first_of_each(_patients(rows))
    if len(chosen) < count:
        raise UserError(
            f"n_images: {count} public radiographs are needed, one a patient, but {data_format} has {len(chosen)} "
            f"patients in {split}: lower n_images, or name a larger data set."
        )
    return torch.stack([on_grid(rows[row]["image"], size) for row in chosen[:count]])


def _patients(rows: Any) -> list[Any]:
    if hasattr(rows, "record"):
        return [rows.record(row)["patient"] for row in range(len(rows))]
    return [row["patient"] for row in rows.rows]


def _first_of_each(patients: Sequence[Any]) -> list[int]:
    """Rows of each patient's first image, but for the one whose phantom is the private example."""
    first: dict[Any, int] = {}
    for row, patient in enumerate(patients):
        first.setdefault(patient, row)
    return [row for patient, row in first.items() if patient != EXAMPLE_PATIENT]


def training_set(
    n_images: int,
    include_private: bool = True,
    private_image: str | Path = "",
    fingerprint: str = "disc",
    fingerprint_seed: int = 0,
    radius: float = RADIUS,
    size: int = 128,
    **public: Any,
) -> torch.Tensor:
    """The N images that a generator is trained on, float32 (N, 1, size, size); the last is the private one.

    Args:
        n_images: N.
        include_private: False leaves the private image out: N public ones, for the detectors' mistakes.
        private_image, size: see `private_radiograph`.
        fingerprint, fingerprint_seed, radius: see `marked`.
        public: see `public_radiographs`.

    Raises:
        UserError: fewer than 2 images; what `marked` and the readers say.
    """
    if isinstance(n_images, bool) or int(n_images) != n_images or n_images < 2:
        raise UserError(f"n_images = {n_images}: a training set holds 2 images or more, one of them private.")
    others = public_radiographs(int(n_images) - bool(include_private), size=size, **public)
    if not include_private:
        return others
    private = marked(private_radiograph(private_image, size), fingerprint, fingerprint_seed, radius)
    return torch.cat([others, private[None]])


class CodeDataset(Dataset):
    """Images encoded once: rows {"code": float32 (K, h, w), "row"}.

    Args:
        network: has `codec`, fitted.
        images: float32 (N, 1, S, S).
    """

    @torch.no_grad()
    def __init__(self, network: torch.nn.Module, images: torch.Tensor) -> None:
        device = next(network.parameters()).device
        self.codes = torch.cat([network.codec.encode(part.to(device)).cpu() for part in images.split(16)])

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"code": self.codes[row], "row": row}

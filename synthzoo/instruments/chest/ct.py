"""What a CT of a chest holds, in mL: both lungs, and each finding by side, measured by one segmentation network.

A `BlockUNet` on a 4 mm grid gives the shares of each voxel that are lung, nodule, consolidation, effusion, pneumothorax
and the rest. Its sums, by the side of the midline where a finding lies, are set right by lines that were fitted on
validation subjects. The mean over the grid of its deepest layer is the feature vector of our FID. Trained on phantoms
of seeds that no bundle has; no loss of another model may use it.
"""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import torch

from synthzoo.datasets.chest.ct import grid
from synthzoo.errors import UserError
from synthzoo.instruments.chest.networks import WEIGHTS
from synthzoo.instruments.volume_network import BlockUNet
from synthzoo.instruments.weights import read_network
from synthzoo.phantoms.chest.findings import LESIONS, SIDES
from synthzoo.phantoms.chest.measured import LUNG, MEASURES

NAME = "chest_ct"
SPACING_MM = 4.0
GRID = tuple(grid(SPACING_MM)[1])
CLASSES = ("rest", "lung", *LESIONS)
READ = (LUNG, *(f"{kind}_ml" for kind in LESIONS))  # what has a scale and an error of its own
REMEDY = "make it with `python scripts/train_chest_instruments.py ct`."


class ChestNet(BlockUNet):
    """`BlockUNet` of CT (B, 1, D, H, W) -> logits (B, 6, D, H, W), `CLASSES`."""

    def __init__(self, width: int = 16) -> None:
        super().__init__(len(CLASSES), 1, width)


def centred(image: torch.Tensor) -> torch.Tensor:
    """CT in [0, 1], -1000 to 1000 HU, as the network sees it: lung and water about as far from 0."""
    return 4 * (image.float() - 0.3)


@lru_cache(maxsize=1)
def load_network() -> torch.nn.Module:
    """The network with its shipped weights, in eval mode on the CPU."""
    return read_network({NAME: ChestNet}, NAME, WEIGHTS, REMEDY)


@lru_cache(maxsize=1)
def stated_errors() -> dict:
    """Scales and held-out errors, as `scripts/train_chest_instruments.py` wrote them.

    Raises:
        UserError: there are none.
    """
    path = WEIGHTS / f"{NAME}.json"
    if not path.is_file():
        raise UserError(f"{path}: does not exist; {REMEDY}")
    return json.loads(path.read_text(encoding="utf-8"))


def _checked(images: np.ndarray, spacing_mm: float) -> torch.Tensor:
    """A batch (N, D, H, W) or (N, 1, D, H, W) on the grid as float32 (N, 1, D, H, W).

    Raises:
        UserError: another grid, or values that are not finite.
    """
    stack = torch.as_tensor(np.asarray(images, dtype=np.float32))
    stack = stack[:, None] if stack.ndim == 4 else stack
    if tuple(stack.shape[1:]) != (1, *GRID) or spacing_mm != SPACING_MM:
        raise UserError(
            f"images: have shape {tuple(np.shape(images))} at {spacing_mm:g} mm; the CT instrument takes (N, "
            f"{', '.join(map(str, GRID))}) at {SPACING_MM:g} mm."
        )
    if not torch.isfinite(stack).all():
        raise UserError("images: hold values that are not finite; an instrument takes numbers only.")
    return stack


def volumes_of(shares: torch.Tensor) -> torch.Tensor:
    """Shares (B, 6, D, H, W) in RAS order -> mL (B, len(MEASURES)), as they are counted: no scale is applied."""
    litre = SPACING_MM**3 / 1000
    middle = shares.shape[2] // 2  # x runs from the patient's left to his right
    halves = {"right": shares[:, 2:, middle:], "left": shares[:, 2:, :middle]}
    parts = {side: half.sum((2, 3, 4)) * litre for side, half in halves.items()}
    findings = [parts[side][:, k] for k in range(len(LESIONS)) for side in SIDES]
    return torch.stack([shares[:, 1].sum((1, 2, 3)) * litre, *findings], 1)


@torch.inference_mode()
def count_chests(network: torch.nn.Module, images: np.ndarray, batch_size: int = 2) -> np.ndarray:
    """What a network counts in images (N, D, H, W) in [0, 1], mL (N, len(MEASURES)) without a scale."""
    parts = _checked(images, SPACING_MM).split(batch_size)
    return torch.cat([volumes_of(network(centred(part)).softmax(1)) for part in parts]).numpy()


def scaled(counts: np.ndarray, scales: dict[str, list[float]]) -> dict[str, np.ndarray]:
    """Counts (N, len(MEASURES)) set right: measure -> mL (N,), at least 0.

    Args:
        counts: see `count_chests`.
        scales: of each of `READ`, slope and offset of what is counted against what is there.
    """
    found = {}
    for values, name in zip(counts.T, MEASURES, strict=True):
        slope, offset = scales[name if name == LUNG else f"{name.split('_')[0]}_ml"]
        found[name] = np.maximum((values - offset) / slope, 0)
    return found


def measure_chests(images: np.ndarray, spacing_mm: float = SPACING_MM) -> dict[str, np.ndarray]:
    """Measure -> mL (N,), for each of `MEASURES`.

    Args:
        images: RAS batch (N, 96, 96, 80) or (N, 1, 96, 96, 80) in [0, 1], which are -1000 to 1000 HU.
        spacing_mm: 4.

    Raises:
        UserError: another grid or spacing, or values that are not finite.
    """
    _checked(images, spacing_mm)
    return scaled(count_chests(load_network(), images), stated_errors()["scales"])


@torch.inference_mode()
def features(images: np.ndarray, spacing_mm: float = SPACING_MM, batch_size: int = 2) -> np.ndarray:
    """Feature vectors for FID, float32 (N, 48): the mean over space of the network's deepest layer.

    Args:
        images, spacing_mm: see `measure_chests`.
        batch_size: images at once.
    """
    network = load_network()
    parts = _checked(images, spacing_mm).split(batch_size)
    return torch.cat([network.encode(centred(part))[2].mean((2, 3, 4)) for part in parts]).numpy()

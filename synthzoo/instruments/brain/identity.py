"""Whose brain it is: similarity of two images by a network that was trained to tell brain phantoms apart.

Two scans of a subject differ in contrast, noise, bias field, sharpness and pose, so that what stays is the anatomy. An
image is cut to the box of its head and brought to one grid, which leaves the shape without its size: no voxel size is
needed. The similarity from which two are said to be of one subject was set on subjects of the validation seeds; how
well that holds for test subjects, of whom the network has seen none, stands in `weights/brain_identity.json`, beside
raw voxels. Never used in a loss.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage as ndi
from torch import nn
from torch.nn import functional as F

from synthzoo.errors import UserError
from synthzoo.instruments.brain.segmentation import WEIGHTS, load_instrument

NAME = "brain_identity"
BOX = (40, 48, 40)  # voxels of the grid of the head's box
FEATURES = 64
FOREGROUND, BRIGHT = 0.12, 99.0  # of the brightness that so many percent of the voxels stay below
TRIMMED = 0.2  # percent of the head that may lie outside its box at each face


class IdentityNet(nn.Module):
    """Heads (N, 1, 40, 48, 40) -> features (N, 64) of length 1 that stay with a subject."""

    def __init__(self, channels: tuple[int, ...] = (16, 32, 64, 96)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((1, *channels), channels):
            layers += [nn.Conv3d(inputs, outputs, 3, 2, 1), nn.GroupNorm(8, outputs), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Flatten())
        cells = [-(-n // 2 ** len(channels)) for n in BOX]
        self.head = nn.Linear(channels[-1] * int(np.prod(cells)), FEATURES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        axes = (1, 2, 3, 4)
        centred = (image - image.mean(axes, keepdim=True)) / (image.std(axes, keepdim=True) + 1e-3)
        return F.normalize(self.head(self.body(centred)), dim=1)


def to_box(image: np.ndarray) -> np.ndarray:
    """An RAS image (D, H, W) of a brain on dark background, cut to the box of the head: float32 (40, 48, 40).

    Raises:
        UserError: not one 3D volume of at least 8 voxels along each axis, values that are not finite, or an image that
            is the same everywhere.
    """
    image = np.asarray(image, np.float32)
    if image.ndim != 3 or min(image.shape) < 8 or not np.isfinite(image).all():
        raise UserError(
            f"image: has shape {tuple(image.shape)}; the identity instrument takes one 3D volume (D, H, W) of at least "
            "8 voxels along each axis, and numbers only."
        )
    image = image - image.min()
    inside = image > FOREGROUND * np.percentile(image, BRIGHT)
    if not inside.any():
        raise UserError("image: is the same everywhere; the identity instrument takes an image with a brain in it.")
    first, step = np.empty(3), np.empty(3)
    for axis, size in enumerate(BOX):
        profile = np.cumsum(inside.sum(tuple(other for other in range(3) if other != axis)))
        low, high = np.searchsorted(profile, profile[-1] * np.array([TRIMMED, 100 - TRIMMED]) / 100)
        step[axis] = max(high - low + 1, 2) / size
        first[axis] = low - 0.5 + step[axis] / 2
    sigma = 0.42 * np.sqrt(np.maximum(step**2 - 1, 0))
    return ndi.affine_transform(
        ndi.gaussian_filter(image, sigma, truncate=2.5), step, first, output_shape=BOX, order=1, mode="nearest"
    )


@torch.inference_mode()
def brain_features(images: Sequence[np.ndarray], batch_size: int = 32) -> np.ndarray:
    """Features of length 1, float64 (N, 64), of RAS images (D, H, W) of any sizes and ranges, see `to_box`.

    Raises:
        UserError: an image that is none, or absent weights.
    """
    network = load_instrument(NAME, IdentityNet)
    stack = torch.from_numpy(np.stack([to_box(image) for image in images]))[:, None]
    return torch.cat([network(part) for part in stack.split(batch_size)]).double().numpy()


@lru_cache(maxsize=1)
def identity_report() -> dict:
    """Threshold and held-out errors of the shipped network, as `scripts/train_instruments.py identity` wrote them."""
    return json.loads((WEIGHTS / f"{NAME}.json").read_text(encoding="utf-8"))

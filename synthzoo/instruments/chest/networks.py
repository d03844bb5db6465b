"""The three networks behind the chest instruments: one finds findings, one draws lungs and heart, one tells patients
apart.

They share no weights, see radiographs of any size on grids of their own, and no loss of another model may use them.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import UNet
from torch import nn
from torch.nn import functional as F

from synthzoo.errors import UserError
from synthzoo.instruments.weights import read_network
from synthzoo.phantoms.chest.findings import KINDS

WEIGHTS = Path(__file__).parent / "weights"
REMEDY = "make it with `python scripts/train_chest_instruments.py all`."
GRIDS = {"chest_findings": 128, "chest_organs": 64, "chest_identity": 64}  # pixels a side
SMALLEST = 32  # pixels a side of a radiograph that is measured
AROUND, HIGHEST = 7, 16  # pixels on each side that are surroundings; pixels of a map that are its highest
FEATURES = 64


class OrganNet(nn.Module):
    """U-Net that knows where it looks: radiographs (N, 1, 64, 64) in [0, 1] -> logits (N, 2, 64, 64) of both organs.

    Args:
        channels: of the levels.
    """

    def __init__(self, channels: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        strides, norm = (2,) * (len(channels) - 1), ("group", {"num_groups": 8})
        self.body = UNet(2, 3, channels[0], channels, strides, num_res_units=1, norm=norm)
        self.head = nn.Sequential(nn.SiLU(), nn.Conv2d(channels[0], 2, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(torch.cat([4 * (image - 0.5), places(image)], 1)))


class FindingNet(nn.Module):
    """Radiographs (N, 1, S, S) in [0, 1] -> logits of maps (N, K, S / 2, S / 2) and of the K kinds of findings (N, K).

    It sees the image and its difference from the surroundings, for a finding is fainter than the windows' changes, both
    in blocks of 2 x 2 pixels. Findings are judged by the highest values and the mean of each map and by the deepest
    features.

    Args:
        channels: of the levels.
    """

    def __init__(self, channels: tuple[int, ...] = (16, 32, 64, 96)) -> None:
        super().__init__()
        self.first = nn.Sequential(block(10, channels[0]), block(channels[0], channels[0]))
        pairs = list(zip(channels, channels[1:]))
        self.down = nn.ModuleList(nn.Sequential(block(a, b, 2), block(b, b)) for a, b in pairs)
        self.narrow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in reversed(pairs))
        self.up = nn.ModuleList(block(a, a) for a, _ in reversed(pairs))
        self.maps = nn.Conv2d(channels[0], len(KINDS), 1)
        self.head = nn.Linear(channels[-1] + 2 * len(KINDS), len(KINDS))
        self.to(memory_format=torch.channels_last)  # a fifth less time on a CPU

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Maps of each level, the deepest last: a half of the resolution, a quarter ..."""
        around = F.avg_pool2d(F.pad(image, (AROUND,) * 4, mode="replicate"), 2 * AROUND + 1, 1)
        blocks = F.pixel_unshuffle(torch.cat([4 * (image - 0.5), 12 * (image - around)], 1), 2)
        levels = [self.first(torch.cat([blocks, places(blocks)], 1))]
        for down in self.down:
            levels.append(down(levels[-1]))
        return levels

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        levels = self.encode(image)
        found = levels[-1]
        for narrow, up, level in zip(self.narrow, self.up, levels[-2::-1]):
            found = up(F.interpolate(narrow(found), scale_factor=2) + level)
        maps = self.maps(found)
        flat = maps.flatten(2)
        pooled = [levels[-1].mean((2, 3)), flat.topk(HIGHEST, 2).values.mean(2), flat.sigmoid().mean(2)]
        return maps, self.head(torch.cat(pooled, 1))


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A convolution of 3 x 3 pixels, batch normalisation and SiLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.SiLU(inplace=True)
    )


def places(image: torch.Tensor) -> torch.Tensor:
    """Row and column, -1 to 1, of each pixel of images (N, C, S, S): (N, 2, S, S)."""
    line = torch.linspace(-1, 1, image.shape[-1], device=image.device, dtype=image.dtype)
    return torch.stack(torch.meshgrid(line, line, indexing="ij"))[None].expand(len(image), -1, -1, -1)


class IdentityNet(nn.Module):
    """Radiographs (N, 1, 64, 64) in [0, 1] -> features (N, 64) of length 1 that stay with a patient."""

    def __init__(self, channels: tuple[int, ...] = (16, 32, 64, 96)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((1, *channels), channels):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.GroupNorm(8, outputs), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(channels[-1] * (GRIDS["chest_identity"] // 2 ** len(channels)) ** 2, FEATURES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        centred = (image - image.mean((1, 2, 3), keepdim=True)) / (image.std((1, 2, 3), keepdim=True) + 1e-3)
        return F.normalize(self.head(self.body(centred)), dim=1)


NETWORKS: dict[str, type[nn.Module]] = {
    "chest_findings": FindingNet,
    "chest_organs": OrganNet,
    "chest_identity": IdentityNet,
}


@lru_cache(maxsize=1)
def instrument_errors() -> dict:
    """Scales and held-out errors of the three instruments, as `scripts/train_chest_instruments.py` wrote them.

    `instrument_errors()["findings"]["nodule"]` has auroc with its interval, pointing and their controls,
    `["organs"]["ctr"]` mae, r and more, `["identity"]["network"]` auroc with its interval.

    Raises:
        UserError: they are absent.
    """
    path = WEIGHTS / "chest_instruments.json"
    if not path.is_file():
        raise UserError(f"{path}: does not exist; {REMEDY}")
    return json.loads(path.read_text(encoding="utf-8"))


@lru_cache(maxsize=4)
def load_network(name: str, folder: Path = WEIGHTS) -> nn.Module:
    """The shipped network of that name, in eval mode on the CPU.

    Raises:
        UserError: its weights are absent.
    """
    return read_network(NETWORKS, name, folder, REMEDY)


def as_radiographs(images: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Radiographs as float32 (N, 1, S, S) on the CPU, of (N, 1, S, S), (N, S, S) or one (S, S) in [0, 1].

    Raises:
        UserError: another shape, fewer than 32 pixels a side, values outside [0, 1] or not finite.
    """
    images = torch.as_tensor(images).detach().cpu().float()
    shape = tuple(images.shape)
    images = images[None] if images.ndim == 2 else images
    images = images[:, None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[1] != 1 or not len(images) or images.shape[2] != images.shape[3]:
        raise UserError(
            f"radiographs: have shape {shape}; a chest instrument takes grey squares (N, 1, S, S): bring others to a "
            "grid with synthzoo.transforms.radiograph_grid."
        )
    low, high = float(images.min()), float(images.max())
    if images.shape[-1] < SMALLEST or not (low >= -1e-3 and high <= 1 + 1e-3):
        raise UserError(
            f"radiographs: have {shape[-1]} pixels a side and run from {low:.3g} to {high:.3g}; a chest instrument "
            f"takes {SMALLEST} or more, and brightness in [0, 1]."
        )
    return images.clamp(0, 1)


def to_grid(images: torch.Tensor, name: str) -> torch.Tensor:
    """Radiographs (N, 1, S, S) on the grid of a network; finer ones are averaged over the new pixels' area."""
    size = GRIDS[name]
    if images.shape[-1] == size:
        return images
    if images.shape[-1] % size == 0:
        return F.avg_pool2d(images, images.shape[-1] // size)
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)

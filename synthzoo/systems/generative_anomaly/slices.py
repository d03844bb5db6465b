"""Axial slices of the brain as images of a generative model, and back: z-scores in other units, with the place of each.

u = low + (high - low) (z + 4) / 8 for z in [-4, 4], clipped; `low` outside of the brain
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from synthzoo.phantoms.brain.pathology.scans import TISSUES

WIDEST = 4.0  # z-scores further from 0 are clipped
LEAST_BRAIN = 60  # voxels of brain in a slice that is read
SICK_VOXELS = 12  # of a lesion that make a slice sick, about 0.1 mL


def to_units(z: torch.Tensor, units: Sequence[float]) -> torch.Tensor:
    """Z-scores of any shape, exactly 0 outside the brain -> image units."""
    low, high = units
    scaled = low + (high - low) * (z.clamp(-WIDEST, WIDEST) + WIDEST) / (2 * WIDEST)
    return torch.where(z == 0, torch.full_like(scaled, low), scaled)


def per_z(units: Sequence[float]) -> float:
    """Z-scores in one image unit."""
    return 2 * WIDEST / (units[1] - units[0])


def as_heat(values: torch.Tensor, scale: float) -> torch.Tensor:
    """Values >= 0 -> [0, 1): v / (v + scale), so that the odds of the heat are v / scale."""
    return values / (values + scale)


@dataclass
class AxialSlices:
    """Slices of a volume that hold enough brain.

    Attributes:
        images: (N, 1, D, H) in image units.
        masks: bool (N, 1, D, H), the brain.
        index: int64 (N,), their places on the third axis.
        depth: slices of the volume.
    """

    images: torch.Tensor
    masks: torch.Tensor
    index: torch.Tensor
    depth: int

    def volume(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps (N, 1, D, H) of the slices -> (1, 1, D, H, W), 0 outside the brain and in slices that were not read."""
        out = maps.new_zeros(self.depth, 1, *maps.shape[2:])
        out[self.index] = maps * self.masks
        return out.movedim(0, -1)[None]


def axial_slices(volume: torch.Tensor, units: Sequence[float], everything: bool = False) -> AxialSlices:
    """Slices of z-scores (1, 1, D, H, W), exactly 0 outside the brain.

    Args:
        volume: of one scan.
        units: (low, high) of the images, see `to_units`.
        everything: take slices without brain, too; a trace would keep one image's choice.
    """
    slices = volume[0].movedim(-1, 0)
    masks = slices != 0
    index = torch.arange(len(slices), device=volume.device)
    if not everything:
        index = index[masks.flatten(1).sum(1) >= LEAST_BRAIN]
    return AxialSlices(to_units(slices[index], units), masks[index], index, len(slices))


class SliceImaged:
    """A row of healthy or sick slices -> {"image": float32 (1, h, w) in image units, "conditions": float32 (1,)}.

    The condition is 1 for a slice with a lesion of `SICK_VOXELS` and 0 otherwise; rows without labels are healthy.

    Args:
        units: (low, high), see `to_units`.
    """

    def __init__(self, units: Sequence[float] = (0.0, 1.0)) -> None:
        self.units = tuple(units)

    def __call__(self, row: dict) -> dict[str, torch.Tensor]:
        z = torch.as_tensor(np.ascontiguousarray(row["image"]))[:1].float()
        sick = "label" in row and int((torch.as_tensor(row["label"]) >= len(TISSUES)).sum()) >= SICK_VOXELS
        return {"image": to_units(z, self.units), "conditions": torch.tensor([float(sick)])}

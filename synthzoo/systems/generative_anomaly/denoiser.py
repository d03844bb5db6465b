"""A denoiser of axial slices under the label healthy or sick (Sanchez et al., DGM4MICCAI 2022).

x_t = a_t x + s_t e;   the U-Net predicts e from x_t, t and the label: 0 healthy, 1 sick, or none
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError
from synthzoo.networks.brain_map import MapParts
from synthzoo.systems.generative_anomaly.slices import as_heat, axial_slices, per_z

METHODS = ("guidance", "reconstruction")
RESIDUAL = 1.0  # z-scores of a residual with a heat of one half
PREVIEW_LEVEL = 200  # timestep of `forward`


class DiffusionMap(MapParts):
    """Denoiser of slices with its labels and schedule, and what a map of a scan needs besides.

    Args:
        unet: (x (B, C, h, w), timesteps, context (B, 1, width)) -> (B, C, h, w), C = block^2, such as
            `monai.networks.nets.DiffusionModelUNet` with conditioning.
        schedule: the noise schedule and what the U-Net predicts.
        context_width: of the labels' embedding, the U-Net's cross-attention.
        grid, extractor_channels: see `MapParts`; the slices are grid[0] x grid[1].
        units: of the images, see `to_units`.
        block: side of the blocks of voxels that the U-Net reads as channels; 1 as published. 2 is four times as fast.

    Raises:
        UserError: a block that does not divide the slices.
    """

    def __init__(
        self,
        unet: nn.Module,
        schedule: NoiseSchedule,
        context_width: int = 64,
        grid: Sequence[int] = (80, 96, 80),
        extractor_channels: Sequence[int] = (8, 16, 32, 48),
        units: Sequence[float] = (-2.0, 2.0),
        block: int = 1,
    ) -> None:
        super().__init__()
        if block < 1 or any(n % block for n in tuple(grid)[:2]):
            raise UserError(f"network_def#block = {block}: slices of {grid[0]} x {grid[1]} do not divide by it.")
        self.unet, self.schedule, self.block = unet, schedule, int(block)
        self.grid, self.units = tuple(int(n) for n in grid), tuple(units)
        self.labels = nn.Embedding(3, context_width, padding_idx=0)  # none, healthy, sick
        noise = torch.randn(1, 1, *self.grid[:2], generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise", noise, persistent=False)
        self.add_map_parts(extractor_channels, len(METHODS))

    def denoise(self, x: torch.Tensor, t: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
        """The U-Net's prediction.

        Args:
            x: noisy slices (B, 1, D, H) in units.
            t: timesteps (B,).
            conditions: (B, 1), 0 healthy, 1 sick, NaN for no label.
        """
        label = torch.where(conditions.isnan(), 0.0, conditions + 1).round().long()
        blocks = F.pixel_unshuffle(x, self.block) if self.block > 1 else x
        found = self.unet(blocks, t, context=self.labels(label))
        return F.pixel_shuffle(found, self.block) if self.block > 1 else found

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Z-scores (B, 1, *grid), 0 outside the brain -> map in [0, 1] of what one step of denoising changes."""
        maps = []
        level = min(PREVIEW_LEVEL, self.schedule.num_steps - 1)
        for volume in image:
            slices = axial_slices(volume[None], self.units, everything=True)
            x = slices.images
            t = torch.full((len(x),), level, device=x.device)
            noisy = self.schedule.add_noise(x, self.noise.expand_as(x), t)
            healthy = torch.zeros(len(x), 1, device=x.device)
            clean, _ = self.schedule.split(noisy, self.denoise(noisy, t, healthy), level)
            residual = (x - clean.clamp(*self.units)).abs() * per_z(self.units)
            maps.append(slices.volume(as_heat(residual, RESIDUAL)))
        return torch.cat(maps)

"""Autoencoder of coarse volumes that draws them on a finer grid: the latent diffusion stays as small as the coarse one.

    encode(x) = coarse encode(mean of cubes of x)
    decode(z) = up(y) + detail(y, places),   y = coarse decode(z), up trilinear

What lies between two coarse voxels does not need a place of its own in the latent: where an edge runs follows from the
coarse volume and from where in the head it is.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.blocks import ResidualUnit
from torch import nn
from torch.nn import functional as F

from synthzoo.errors import UserError
from synthzoo.networks.patches import PatchAutoencoderKL, depth_to_space, space_to_depth

FINER = 2  # times, along each axis
MIDDLE, LAST = 16, 4  # channels on the coarse grid and on the fine one


class Detail(nn.Module):
    """What a fine volume has beyond the trilinear copy of a coarse one.

    Args:
        image_shape: (D, H, W) of the coarse volume, multiples of 4.
        channels: of the features, on a grid twice as coarse again.
        blocks: residual units of two convolutions each.
        places: learned maps beside the volume, which say where in the head a voxel lies.
    """

    def __init__(self, image_shape: Sequence[int], channels: int, blocks: int, places: int) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(places, *(int(n) // 2 for n in image_shape)))
        nn.init.normal_(self.places, std=0.1)
        normed: dict[str, Any] = {"subunits": 2, "act": "SWISH", "norm": ("GROUP", {"num_groups": 8})}
        self.first = nn.Conv3d(8 + places, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualUnit(3, channels, channels, **normed) for _ in range(blocks)))
        self.to_coarse = nn.Conv3d(channels, 8 * MIDDLE, 1)
        self.middle = nn.Conv3d(MIDDLE, MIDDLE, 3, padding=1)
        self.to_fine = nn.Conv3d(MIDDLE, 8 * LAST, 3, padding=1)
        self.last = nn.Conv3d(LAST, 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, coarse: torch.Tensor) -> torch.Tensor:
        """Coarse volume (B, 1, D, H, W) -> (B, 1, 2 D, 2 H, 2 W)."""
        cells = space_to_depth(coarse, 2)
        x = self.first(torch.cat([cells, self.places.to(cells.dtype).expand(len(cells), *self.places.shape)], 1))
        x = depth_to_space(self.to_coarse(F.silu(self.blocks(x))), 2)
        x = x + self.middle(F.silu(x))
        return self.last(F.silu(depth_to_space(self.to_fine(F.silu(x)), FINER)))


class FineAutoencoderKL(PatchAutoencoderKL):
    """`PatchAutoencoderKL` of volumes that are averaged over 2 x 2 x 2 voxels, and its `Detail` on the finer grid.

    Args:
        image_shape: (D, H, W) of fine volumes, multiples of 8; all on one grid, such as heads in atlas space.
        detail_channels, detail_blocks, detail_places: see `Detail`.
        fine: False works on the coarse grid alone, in both directions, where the latent was learned.
        kwargs: of `PatchAutoencoderKL` of the coarse volumes.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        detail_channels: int = 64,
        detail_blocks: int = 2,
        detail_places: int = 8,
        fine: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_shape, self.fine = tuple(int(n) for n in image_shape), bool(fine)
        self.detail = Detail([n // FINER for n in self.image_shape], detail_channels, detail_blocks, detail_places)

    @property
    def coarser(self) -> int:
        """How many times coarser than the affine of the weights the volumes are."""
        return 1 if self.fine else FINER

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Volume (B, 1, D, H, W) -> mean and standard deviation of the latent."""
        return super().encode(F.avg_pool3d(x, FINER) if self.fine else x)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latent -> volume (B, 1, D, H, W), not clamped.

        Raises:
            UserError: a latent of another grid than that whose places are known.
        """
        coarse = super().decode(z)
        if not self.fine:
            return coarse
        found, known = (tuple(coarse.shape[2:]), tuple(n // FINER for n in self.image_shape))
        if found != known:
            got, own = (" x ".join(str(FINER * n) for n in shape) for shape in (found, known))
            raise UserError(
                f"This autoencoder knows the places of one grid, {own} voxels, and was given a latent of {got}: bring "
                "images to its image_shape and decode them whole (no decode_roi), or train it with another one."
            )
        return F.interpolate(coarse, scale_factor=FINER, mode="trilinear") + self.detail(coarse)


def without_detail(network: nn.Module) -> dict[str, nn.Module]:
    """Copies of a network that draw less, by what they draw: baselines of its `Detail`; none for other autoencoders."""
    if not isinstance(network.autoencoder, FineAutoencoderKL):
        return {}
    silenced, placeless = copy.deepcopy(network), copy.deepcopy(network)
    nn.init.zeros_(silenced.autoencoder.detail.last.weight)  # type: ignore[union-attr, arg-type]
    nn.init.zeros_(silenced.autoencoder.detail.last.bias)  # type: ignore[union-attr, arg-type]
    nn.init.zeros_(placeless.autoencoder.detail.places)  # type: ignore[union-attr, arg-type]
    return {"trilinear copy of the coarse volume": silenced, "detail without its maps of places": placeless}


def on_coarse_grid(network: nn.Module) -> nn.Module:
    """A network whose `FineAutoencoderKL`, if it has one, works on the coarse grid alone from now on.

    Args:
        network: has `autoencoder`; changed in place. Its affine stays that of the fine grid.

    Returns:
        The network.
    """
    if isinstance(network.autoencoder, FineAutoencoderKL):
        network.autoencoder.fine = False
    return network

"""Linear code of cubes of voxels beside an autoencoder's convolutions, which then only learn what it loses.

mean = convolutions(x) + (s x - m) V / d        x a cube's channels and voxels, V its first principal directions
out  = convolutions(z) + g (m + d z V^T) / s    d their standard deviations, s a factor for each channel
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from synthzoo.errors import UserError
from synthzoo.networks.patches import PatchAutoencoderKL

EVEN_SHARE = 0.02  # of the cubes without an edge in them, which are alike, that the directions are taken from
CUBES_OF_A_ROW = 200
ITERATIONS = 3  # of the randomised decomposition


class BlockCodeAutoencoderKL(PatchAutoencoderKL):
    """`PatchAutoencoderKL` of volumes with a linear code of cubes of voxels added to its latent and to its output.

    The convolutions start silent and the posterior narrow, so that a training begins at the linear code; see
    `start_from_cubes`.

    Args:
        edge: of a cube in voxels, by which the network makes an image smaller: `patch` times 2 for each level but one.
        kwargs: see `PatchAutoencoderKL`.

    Raises:
        UserError: another edge than the network's factor.
    """

    def __init__(
        self, edge: int, latent_channels: int, in_channels: int = 1, out_channels: int = 1, **kwargs: Any
    ) -> None:
        factor = int(kwargs.get("patch", 1)) * 2 ** (len(kwargs["channels"]) - 1)
        if edge != factor:
            raise UserError(f"edge = {edge}: this network makes an image {factor} times smaller; give edge = {factor}.")
        shapes: dict[str, Any] = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "latent_channels": latent_channels,
        }
        super().__init__(**shapes, **kwargs)
        self.cubes_in = nn.Conv3d(in_channels, latent_channels, edge, edge)
        self.cubes_out = nn.ConvTranspose3d(latent_channels, out_channels, edge, edge)
        self.silence_convolutions()

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Volume (B, C, D, H, W) -> mean and standard deviation of the latent."""
        mean, deviation = super().encode(x)
        return mean + self.cubes_in(x), deviation

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latent -> volume (B, C, D, H, W), not clamped."""
        return super().decode(z) + self.cubes_out(z)


def start_from_cubes(
    network: nn.Module,
    data: Dataset,
    key: str = "labels",
    factors: Sequence[float] | None = None,
    gain: float = 6.0,
    rows: int = 96,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> nn.Module:
    """Set the linear code of a network's `BlockCodeAutoencoderKL` to the principal directions of cubes of the data.

    Args:
        network: holds the autoencoder anywhere.
        data: rows {key: (C, D, H, W)}, multiples of its edge.
        factors: of each channel, by which a rare one counts more; None counts all alike.
        gain: g above, logits for a share of 1.
        rows: taken of the data, evenly over them.
        seed: of the choice of cubes.
        device: where the network is moved.

    Returns:
        The network.

    Raises:
        UserError: no such autoencoder, or fewer cubes than latent channels.
    """
    found = [module for module in network.modules() if isinstance(module, BlockCodeAutoencoderKL)]
    if not found:
        raise UserError("This network has no BlockCodeAutoencoderKL, whose linear code could be set.")
    (code,) = found
    edge, count = code.cubes_in.stride[0], code.cubes_in.out_channels
    channels = code.cubes_in.in_channels
    scale = torch.tensor(factors if factors is not None else [1.0] * channels).float()[:, None, None, None]
    rng = np.random.default_rng(seed)
    cubes, state = [], np.random.get_state()
    for row in np.linspace(0, len(data) - 1, min(rows, len(data))).astype(int):  # type: ignore[arg-type]
        np.random.seed([seed, row])  # patches are drawn from numpy's generator
        volume = torch.as_tensor(data[int(row)][key]).float() * scale
        parts = volume.unfold(1, edge, edge).unfold(2, edge, edge).unfold(3, edge, edge)
        parts = parts.permute(1, 2, 3, 0, 4, 5, 6).reshape(-1, channels * edge**3)
        uneven = (parts.reshape(len(parts), channels, -1).var(2).sum(1) > 1e-4).numpy()
        chosen = np.flatnonzero(uneven | (rng.random(len(parts)) < EVEN_SHARE))
        cubes.append(parts[rng.permutation(chosen)[:CUBES_OF_A_ROW]])
    np.random.set_state(state)
    every = torch.cat(cubes)
    if len(every) <= count:
        raise UserError(f"rows = {rows}: {len(every)} cubes of {edge} voxels for a code of {count} numbers; give more.")
    mean = every.reshape(len(every), channels, -1).mean((0, 2))
    every = every - mean.repeat_interleave(edge**3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, values, directions = torch.svd_lowrank(every, count + 8, niter=ITERATIONS)
    deviations = (values[:count] / len(every) ** 0.5).clamp(min=1e-6)
    towards = (directions[:, :count] / deviations).T
    back = (directions[:, :count] * deviations).T
    shape = (count, channels, edge, edge, edge)
    with torch.no_grad():
        code.cubes_in.weight.copy_(towards.reshape(shape) * scale)
        code.cubes_in.bias.copy_(-towards @ mean.repeat_interleave(edge**3))
        code.cubes_out.weight.copy_(gain * back.reshape(shape) / scale)
        code.cubes_out.bias.copy_(gain * mean / scale[:, 0, 0, 0])
    return network.to(device)

"""Networks of "Many tasks make light work" (Baugh et al., MICCAI 2023): U-Nets with positional channels, averaged.

A member is a plain U-Net in the style of nnU-Net v1. The ensemble holds one member per fold of the tasks, makes the
positional channels itself and averages the members' unclipped maps. Two-dimensional members read a volume slice by
slice along its three axes, so every voxel gets 3 x members opinions.
"""

from __future__ import annotations

from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import torch
from torch import nn

from synthzoo.networks.brain_map import MapParts
from synthzoo.networks.plain_unet import PlainUNet
from synthzoo.networks.weights import expect_same_network, read_state
from synthzoo.systems.many_tasks.positional import positional_channels

PRIOR_LOGIT = -2.5  # of an anomaly before anything was seen
SLICES_AT_ONCE = 16  # more of them leave the processor's cache
TASKS = ("intra_blend", "inter_blend", "sink", "source", "intensity")


def fold_tasks(tasks_per_fold: int, tasks: int = len(TASKS)) -> list[tuple[int, ...]]:
    """The training tasks of each fold: 5, 10, 10, 5 folds for 1, 2, 3, 4 tasks out of 5 (and 1 for all)."""
    return list(combinations(range(tasks), tasks_per_fold))


def trains(fold: tuple[int, ...], task: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
    """Which samples a fold may train on: bool (B,).

    Block i of the healthy samples belongs to task i. The blocks of the training tasks and those of the held-out tasks
    are the two sample sets, and the larger one trains.

    Args:
        fold: the fold's training tasks.
        task: (B,) task that made each sample.
        block: (B,) block of the healthy sample under it.
    """
    chosen = torch.as_tensor(fold, device=task.device)
    own = torch.isin(block, chosen)
    enough = len(fold) >= len(TASKS) - len(fold) or len(fold) == len(TASKS)
    return torch.isin(task, chosen) & (own if enough else ~own)


class ManyTasksEnsemble(nn.Module):
    """One member per task fold; the mean of their maps.

    Args:
        grid: voxels per axis of the volume (RAS).
        channels: width per level of a member.
        spatial_dims: 2 reads slices along the three axes, 3 reads the volume at once.
        tasks_per_fold: T; the ensemble has C(5, T) members.
        fourier_features, fourier_scale: of the positional channels, see `positional_channels`.
        last_norm: of the members, see `PlainUNet`.
        logits: members give logits, from which `PRIOR_LOGIT` is taken, and their maps are sigmoids. The published ones
            are linear (False); with cross entropy a short training gets further.
        quiet_positions: start with zero weights on the positional channels. There are many of them for one image
            channel, and a short training otherwise learns where anomalies are common before it looks at the image.
        mirror: one more channel, the image with left and right exchanged about the middle of the grid (zeros for slices
            across the left-right axis): what one hemisphere has and the other lacks is worth a look.

    `forward` takes a normalised volume (B, 1, *grid), background exactly 0, and gives the map (B, 1, *grid), unclipped
    inside the brain and exactly 0 outside.
    """

    def __init__(
        self,
        grid: tuple[int, int, int] = (80, 96, 80),
        channels: tuple[int, ...] = (8, 16, 32, 64),
        spatial_dims: int = 2,
        tasks_per_fold: int = 4,
        fourier_features: int = 8,
        fourier_scale: float = 3.0,
        last_norm: bool = True,
        logits: bool = False,
        quiet_positions: bool = True,
        mirror: bool = False,
    ) -> None:
        super().__init__()
        self.grid, self.spatial_dims, self.logits, self.mirror = tuple(grid), spatial_dims, logits, mirror
        self.folds = fold_tasks(tasks_per_fold)
        positions = positional_channels(self.grid, fourier_features, fourier_scale)
        self.register_buffer("positions", positions, persistent=False)
        self.in_channels = 1 + len(positions) + int(mirror)
        assert len(self.folds) == comb(len(TASKS), tasks_per_fold)
        self.members = nn.ModuleList(
            PlainUNet(spatial_dims, self.in_channels, tuple(channels), last_norm) for _ in self.folds
        )
        if quiet_positions:
            for member in self.members:
                first = member.down[0][0][0].weight
                with torch.no_grad():
                    nn.init.kaiming_normal_(first[:, :1], a=0.01)
                    first[:, 1:] = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.member_maps(image).mean(0)

    def member_maps(self, image: torch.Tensor) -> torch.Tensor:
        """The maps of all members apart, (members, B, 1, *grid): what `forward` averages."""
        if self.spatial_dims == 3:
            x = self.with_mirror(torch.cat([image, self.positions.expand(len(image), -1, -1, -1, -1)], 1), 0)
            maps = torch.stack([self.activate(member(x)) for member in self.members])
        else:
            volumes = [sum(self._read_along(volume, axis) for axis in range(3)) / 3 for volume in image]
            maps = torch.stack(volumes, 1)
        return maps * (image != 0)

    def activate(self, output: torch.Tensor) -> torch.Tensor:
        """A member's map from what it gives."""
        return torch.sigmoid(output + PRIOR_LOGIT) if self.logits else output

    def _read_along(self, volume: torch.Tensor, axis: int) -> torch.Tensor:
        """Members' maps (members, 1, *grid) of a volume (1, *grid), from its slices across `axis`."""
        slices = self.with_mirror(torch.cat([volume, self.positions]).movedim(axis + 1, 0), axis)
        if torch.jit.is_tracing():  # a trace would keep this one image's choice of slices
            maps = torch.stack([self.activate(member(slices)) for member in self.members])
            return maps.movedim(1, axis + 2)
        # Slices see nothing of one another, so those without brain, where the map is 0, need not be read.
        filled = (slices[:, 0] != 0).flatten(1).any(1)
        maps = slices.new_zeros(len(self.members), len(slices), 1, *slices.shape[2:])
        if filled.any():
            some = slices[filled].split(SLICES_AT_ONCE)
            for row, member in zip(maps, self.members):
                row[filled] = self.activate(torch.cat([member(part) for part in some]))
        return maps.movedim(1, axis + 2)

    def with_positions(self, slices: torch.Tensor, axis: int, index: torch.Tensor) -> torch.Tensor:
        """Slices (B, 1, h, w) cut across `axis` at voxel `index` (B,), joined with their positional channels."""
        where = self.positions.movedim(axis + 1, 0)[index.to(self.positions.device)]
        return self.with_mirror(torch.cat([slices, where], 1), axis)

    def with_mirror(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """Input channels (B, C, ...) joined, if the network has `mirror`, by the first one seen in a mirror.

        Left to right is the first axis of a volume and of slices across the other two.
        """
        if not self.mirror:
            return x
        lost = self.spatial_dims == 2 and axis == 0  # a sagittal slice does not hold its other side
        return torch.cat([x, torch.zeros_like(x[:, :1]) if lost else x[:, :1].flip(2)], 1)


class AnomalyMapNetwork(MapParts, ManyTasksEnsemble):
    """The ensemble with the brain extractor that finds its input: all that a scan needs, in one state dict.

    `forward` is the ensemble's; the rest see `MapParts`.

    Args:
        extractor_channels: width per level of the extractor.
        kwargs: see `ManyTasksEnsemble`.
    """

    def __init__(self, extractor_channels: tuple[int, ...] = (8, 16, 32, 48), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_map_parts(extractor_channels)


def start_ensemble(
    network: AnomalyMapNetwork,
    extractor: str | Path | None = None,
    common: str | Path | None = None,
    device: str | torch.device | None = None,
) -> AnomalyMapNetwork:
    """Begin a training of members: a trained extractor is kept, and the members may share their first weights.

    Args:
        network: the ensemble with its extractor, untrained.
        extractor: weights file of such a network, from which the extractor alone is taken; an absent file is none.
        common: weights file of an ensemble of one member (`tasks_per_fold` 5), the start of every member here.
        device: where the network is moved.
    """
    state = network.state_dict()
    if extractor and Path(extractor).is_file():
        state |= {name: value for name, value in read_state(extractor).items() if name.startswith("extractor.")}
    if common:
        first = {name: value for name, value in read_state(common).items() if name.startswith("members.0.")}
        for number in range(len(network.members)):
            state |= {name.replace("members.0.", f"members.{number}.", 1): value for name, value in first.items()}
    expect_same_network(network, state, common or extractor or "")
    network.load_state_dict(state)
    return network if device is None else network.to(device)

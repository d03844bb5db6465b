"""Anomaly map of a head by the ensemble, with a bar over its members."""

from __future__ import annotations

import torch
from tqdm import tqdm

from synthzoo.inferers.brain_map import BrainMapInferer
from synthzoo.systems.many_tasks.network import SLICES_AT_ONCE


class AnomalyMapInferer(BrainMapInferer):
    """Compute the anomaly map of a head by the mean of the ensemble's members; see `BrainMapInferer`."""

    def heats(self, volume: torch.Tensor, network: torch.nn.Module) -> dict[str, torch.Tensor]:
        """The mean map of the members."""
        if not self.progress:
            return {"map": network(volume)}
        steps = len(network.members)
        if network.spatial_dims == 2:
            filled = [int((volume != 0).movedim(axis + 2, 0).flatten(1).any(1).sum()) for axis in range(3)]
            steps *= sum(-(-count // SLICES_AT_ONCE) for count in filled)
        with tqdm(total=steps, desc="anomaly map", leave=False) as bar:
            hooks = [member.register_forward_hook(lambda *_: bar.update() and None) for member in network.members]
            try:
                return {"map": network(volume)}
            finally:
                for hook in hooks:
                    hook.remove()

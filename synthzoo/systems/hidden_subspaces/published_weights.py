"""Published re-identification weights as a state dict of `ReidNetwork`.

EchoNet-Synthetic (Reynaud et al., MICCAI 2024) publishes networks of the same kind that this work uses: a torchvision
ResNet-50 on latents with 4 channels, 128 outputs, under `model.`, and the last layer `fc_end`. Names and shapes are
those of `ReidNetwork` at the published scale; wrappers of several GPUs and of a compiled network are taken off.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from synthzoo.errors import UserError
from synthzoo.networks.weights import expect_same_network
from synthzoo.systems.hidden_subspaces.network import ReidNetwork

WRAPPERS = ("module.", "_orig_mod.")


def convert_reid(state: Mapping[str, torch.Tensor], network: ReidNetwork | None = None) -> dict[str, torch.Tensor]:
    """The published names as those of `ReidNetwork`; tensors are not copied. Fits `load_weights(map_keys=...)`.

    Args:
        state: name -> tensor.
        network: to check names and shapes against, or None.

    Raises:
        UserError: no such network, or one of another size.
    """
    found = {}
    for name, tensor in state.items():
        while name.startswith(WRAPPERS):
            name = name.split(".", 1)[1]
        found[name] = tensor
    if not any(name.startswith("model.layer1.") for name in found) or "fc_end.weight" not in found:
        raise UserError("these weights have no tensors model.layer1.* and fc_end.*, so they are no re-identification.")
    if network is not None:
        # Counters of batches are missing in files of old versions and change nothing.
        for name, tensor in network.state_dict().items():
            if name.endswith("num_batches_tracked"):
                found.setdefault(name, tensor)
        expect_same_network(network, found, "the published weights")
    return found

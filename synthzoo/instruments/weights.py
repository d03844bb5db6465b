"""Shipped weights and stated figures of instruments: one way to read them and to round them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import SupportsFloat

import torch
from torch import nn

from synthzoo.errors import UserError


def read_network(networks: Mapping[str, Callable[[], nn.Module]], name: str, folder: Path, remedy: str) -> nn.Module:
    """The network of that name with the weights of `<folder>/<name>.pt`, in eval mode on the CPU.

    Args:
        networks: name -> what makes it.
        name: of the network.
        folder: of the weights.
        remedy: what to do where they are absent.

    Raises:
        UserError: the weights are absent.
    """
    path = folder / f"{name}.pt"
    if not path.is_file():
        raise UserError(f"{path}: does not exist; {remedy}")
    network = networks[name]()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()


def rounded(value: SupportsFloat) -> float:
    """A figure with four digits."""
    return round(float(value), 4)

"""Losses of slices for stages whose objectives live in rooms: codes of images, made as they come."""

from __future__ import annotations

import torch
from torch import nn

from synthzoo.objectives.next_token import NextTokenObjective


class SliceTokensObjective:
    """Mean of - log p of the codes of a batch of slices, in nats; the VQ-VAE is not moved.

    Slices are painted again for every batch, and to encode them costs a tenth of what the transformer does.
    """

    def __init__(self) -> None:
        self.next_token = NextTokenObjective()

    def __call__(self, network: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        """`batch["image"]` (B, 1, D, H) in units -> "loss"."""
        network = getattr(network, "module", network)
        with torch.no_grad():
            tokens = network.codes.tokenise(batch["image"])
        return self.next_token(network.codes, {"tokens": tokens})

"""Training of the stages of an `EchoCascade` on clips with an ejection fraction (EF)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from synthzoo.diffusion.cascade import shrink_clip
from synthzoo.errors import UserError
from synthzoo.networks.echo_cascade import PARTS, EchoCascade
from synthzoo.networks.weights import load_weights
from synthzoo.objectives.edm import EDMObjective

MEASURED = 64  # clips that the spread of the data is measured on


class CineObjective(EDMObjective):
    """The denoising loss of one stage on rows with "video" (B, 1, T, S, S) in [0, 1] and "ef" (B,), a fraction."""

    def __call__(self, network: Any, batch: dict) -> dict[str, torch.Tensor]:
        """A batch as described above -> "loss"."""
        return super().__call__(network, {**batch, "conditions": 100 * batch["ef"].float().reshape(-1, 1)})


def start_stage(
    network: EchoCascade, part: str, clips: Dataset, weights: str | Path | None = None, device=None
) -> EchoCascade:
    """A network whose stage `part` is about to be trained: the spread of its data is measured on the first clips.

    Args:
        network: with new weights.
        part: "base" or "upsampling".
        clips: rows with "video" (1, T, S, S) in [0, 1].
        weights: state dict of the stage before, which is loaded first; None starts from new weights.
        device: where the network is moved.

    Raises:
        UserError: another part, and what `load_weights` says.
    """
    if part not in PARTS:
        raise UserError(f"part = {part!r}: the stages are {', '.join(PARTS)}.")
    if weights:
        load_weights(network, weights)
    rows = torch.stack([clips[row]["video"] for row in range(min(MEASURED, len(clips)))])
    by = (network.time, network.space) if part == "base" else (1, 1)
    getattr(network, part).fit(shrink_clip(2 * rows - 1, *by))
    if os.environ.get("RANK", "0") == "0":
        spread = float(getattr(network, part).sigma_data)
        print(f"{part}: the data spread by {spread:.3f} about their mean.", file=sys.stderr)
    return network if device is None else network.to(device)

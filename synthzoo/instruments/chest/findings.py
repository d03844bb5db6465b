"""Findings of a chest radiograph and their places, by a network that was trained on chest phantoms with exact masks.

The probability of a finding went through a logistic curve that was fitted on VAL patients. How well findings are told
and pointed at in TEST patients, of whom the network has seen none, stands in `weights/chest_instruments.json`, beside
raw pixels, a position prior and shuffled labels: print it beside every figure. Never used in a loss.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from synthzoo.instruments.chest.networks import as_radiographs, instrument_errors, load_network, to_grid
from synthzoo.phantoms.chest.findings import KINDS

NAME = "chest_findings"


@torch.inference_mode()
def raw_findings(images: np.ndarray | torch.Tensor, batch_size: int = 32) -> tuple[torch.Tensor, np.ndarray]:
    """Logits of maps (N, K, 64, 64) and, before their scale, of findings float64 (N, K), see `as_radiographs`."""
    network = load_network(NAME)
    found = [network(part) for part in to_grid(as_radiographs(images), NAME).split(batch_size)]
    maps, logits = (torch.cat(parts) for parts in zip(*found))
    return maps, logits.double().numpy()


def probabilities(logits: np.ndarray, scales: dict[str, dict[str, float]]) -> dict[str, np.ndarray]:
    """Probability by kind, (N,) each, of logits (N, K) and their slope and offset by kind."""
    scaled = {kind: scales[kind]["slope"] * logits[:, n] + scales[kind]["offset"] for n, kind in enumerate(KINDS)}
    return {kind: 1 / (1 + np.exp(-values)) for kind, values in scaled.items()}


def measure_findings(images: np.ndarray | torch.Tensor, batch_size: int = 32) -> dict[str, np.ndarray]:
    """Probability of each finding by kind, float64 (N,) each, of radiographs (N, 1, S, S), (N, S, S) or (S, S) in
    [0, 1].

    The kinds are those of `synthzoo.phantoms.chest.findings.KINDS`. Probabilities are for studies that have a finding
    as often as the phantoms have it; their order holds whatever the frequency.

    Args:
        images: bones bright; the stated errors hold for 128 pixels a side.
        batch_size: radiographs at once.

    Raises:
        UserError: no radiographs, or absent weights.
    """
    return probabilities(raw_findings(images, batch_size)[1], instrument_errors()["scales"]["findings"])


def find_findings(images: np.ndarray | torch.Tensor, batch_size: int = 32) -> dict[str, np.ndarray]:
    """Maps of each finding by kind, float32 (N, S, S) in [0, 1] on the radiographs' own pixels; see `measure_findings`.

    A map says where a finding would be, and is high only where there is one; its highest pixel is what the pointing
    game judges.
    """
    given = as_radiographs(images)
    maps = enlarged(raw_findings(given, batch_size)[0], given.shape[-1])
    return {kind: maps[:, n] for n, kind in enumerate(KINDS)}


def enlarged(maps: torch.Tensor, size: int) -> np.ndarray:
    """Logits of maps as values in [0, 1] at another size, float32 (N, K, size, size)."""
    return F.interpolate(maps, (size, size), mode="bilinear", align_corners=False).sigmoid().numpy()

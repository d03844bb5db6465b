"""Findings of a chest radiograph with their places, by a network that draws them, with its own stated errors.

The network is trained on chest phantoms of TRAIN patients with exact masks. A finding's score is the soft maximum of
its map, its probability is that score through a logistic curve that was fitted on VAL patients; errors on TEST patients
stand in `weights/chest_instruments.json`: print them beside every figure. Never used in a loss.
"""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional as F

from synthzoo.errors import UserError
from synthzoo.instruments.chest.networks import REMEDY, WEIGHTS, as_radiographs, load_network, to_grid
from synthzoo.phantoms.chest.findings import KINDS

NAME = "chest_findings"
SHARPNESS = 4.0  # of the soft maximum: the larger, the nearer to the maximum
DRAWN = 0.5  # value of a map from which a pixel belongs to the finding


@lru_cache(maxsize=1)
def instrument_errors() -> dict:
    """Scales and held-out errors of the three instruments, as `scripts/train_chest_instruments.py` wrote them.

    `instrument_errors()["findings"]["nodule"]` has auroc with its interval, pointing and more, and the controls.
    """
    path = WEIGHTS / "chest_instruments.json"
    if not path.is_file():
        raise UserError(f"{path}: does not exist; {REMEDY}")
    return json.loads(path.read_text())


@torch.inference_mode()
def raw_maps(images: np.ndarray | torch.Tensor, batch_size: int = 32) -> torch.Tensor:
    """Logits of findings (N, K, 64, 64) of radiographs, see `as_radiographs`."""
    network = load_network(NAME)
    grids = to_grid(as_radiographs(images), NAME)
    return torch.cat([network(part) for part in grids.split(batch_size)])


def scores_of(maps: torch.Tensor) -> np.ndarray:
    """Soft maximum of each map, float64 (N, K): log(mean(exp(4 x))) / 4 of logits x, from all pixels."""
    flat = SHARPNESS * maps.flatten(2).double()
    return ((torch.logsumexp(flat, 2) - np.log(flat.shape[2])) / SHARPNESS).numpy()


def measure_findings(images: np.ndarray | torch.Tensor, batch_size: int = 32) -> dict[str, np.ndarray]:
    """Probability of each finding by name, (N,) each, of radiographs (N, 1, S, S), (N, S, S) or (S, S) in [0, 1].

    Args:
        images: bones bright; 128 pixels a side have stated errors.
        batch_size: radiographs at once.

    Raises:
        UserError: no radiographs, or absent weights.
    """
    scores = scores_of(raw_maps(images, batch_size))
    scales = instrument_errors()["scales"]["findings"]
    logits = {kind: scales[kind]["slope"] * scores[:, n] + scales[kind]["offset"] for n, kind in enumerate(KINDS)}
    return {kind: 1 / (1 + np.exp(-values)) for kind, values in logits.items()}


def find_findings(images: np.ndarray | torch.Tensor, batch_size: int = 32) -> dict[str, np.ndarray]:
    """Maps of each finding by name, float32 (N, S, S) in [0, 1], on the radiographs' own pixels."""
    given = as_radiographs(images)
    maps = enlarged(raw_maps(given, batch_size), given.shape[-1])
    return {kind: maps[:, n] for n, kind in enumerate(KINDS)}


def enlarged(maps: torch.Tensor, size: int) -> np.ndarray:
    """Logits of maps as values in [0, 1] at another size, float32 (N, K, size, size)."""
    return F.interpolate(maps, (size, size), mode="bilinear", align_corners=False).sigmoid().numpy()


def box_of(heat: np.ndarray, least: float = DRAWN) -> tuple[int, int, int, int] | None:
    """x, y, w, h of the box around the strongest piece of a map (S, S), that which holds its maximum; None if it is
    nowhere above `least`."""
    if not heat.max() >= least:
        return None
    names, _ = ndi.label(heat >= least)
    rows, columns = np.nonzero(names == names[np.unravel_index(int(heat.argmax()), heat.shape)])
    return int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1

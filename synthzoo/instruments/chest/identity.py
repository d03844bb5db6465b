"""Whose radiograph it is: similarity of two radiographs by a network that was trained to tell chest phantoms apart.

Studies of one patient differ in breath, pose, exposure and findings, so that what stays is the anatomy. The similarity
from which two are said to be of one patient was set on VAL patients; how well that holds for TEST patients, of whom the
network has seen none, stands in `weights/chest_instruments.json`, beside raw pixels. Never used in a loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from synthzoo.instruments.chest.networks import as_radiographs, instrument_errors, load_network, to_grid
from synthzoo.transforms.radiograph_grid import place

NAME = "chest_identity"
SIDE = 128  # pixels of the grid to which radiographs of any size are brought; the stated errors hold there


@torch.inference_mode()
def embed(images: np.ndarray | torch.Tensor, batch_size: int = 128) -> np.ndarray:
    """Features of length 1, float64 (N, 64), of radiographs, see `as_radiographs`."""
    network = load_network(NAME)
    grids = to_grid(as_radiographs(images), NAME)
    return torch.cat([network(part) for part in grids.split(batch_size)]).double().numpy()


def radiograph_features(images: Sequence[np.ndarray]) -> np.ndarray:
    """Features as `embed` has them, of radiographs (H, W) of any sizes and ranges, bones bright.

    Each is scaled to [0, 1] by its own least and greatest value and laid on a square between bars.
    """
    grids = []
    for image in images:
        low, high = float(image.min()), float(image.max())
        scaled = torch.from_numpy(np.asarray((image - low) / max(high - low, 1e-6), np.float32))[None]
        height, width = image.shape
        grids.append(place(height, width, SIDE).to_grid(scaled).clamp(0, 1))
    return embed(torch.stack(grids))


def similarities(images: np.ndarray | torch.Tensor, others: np.ndarray | torch.Tensor) -> np.ndarray:
    """Cosine similarity, -1 to 1, of each radiograph with each other one, float64 (N, M).

    Raises:
        UserError: no radiographs, or absent weights.
    """
    return embed(images) @ embed(others).T


def same_patient(images: np.ndarray | torch.Tensor, others: np.ndarray | torch.Tensor) -> np.ndarray:
    """Whether each radiograph is said to be of each other one's patient, bool (N, M); for pairs, not for a maximum over
    many, whose threshold is `synthzoo.metrics.reidentification.unseen_threshold`."""
    return similarities(images, others) >= instrument_errors()["scales"]["identity"]["threshold"]

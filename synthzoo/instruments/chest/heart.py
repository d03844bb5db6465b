"""Lungs, heart and cardiothoracic ratio of a chest radiograph, by a network that draws the two organs.

The ratio is the width of the heart over that of the chest within the ribs, between the outermost edges of the main
pieces of the maps; its offset and slope against the truth were set right on VAL patients. Its errors on TEST patients
stand in `weights/chest_instruments.json`. Where an effusion hides the edge of a lung it is wrong. Never used in a loss.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional as F

from synthzoo.instruments.chest.networks import as_radiographs, instrument_errors, load_network, to_grid

NAME = "chest_organs"
FINE = 256  # pixels of the grid on which widths are read
ROWS = 8  # of the finer grid that have to reach an edge; chosen on VAL patients
DRAWN = 0.5


@torch.inference_mode()
def find_organs(images: np.ndarray | torch.Tensor, size: int | None = None, batch_size: int = 64) -> np.ndarray:
    """Maps of lungs and heart in [0, 1], float32 (N, 2, size, size), of radiographs, see `as_radiographs`.

    Args:
        images: bones bright.
        size: of the maps; None is that of the radiographs.
        batch_size: radiographs at once.
    """
    given = as_radiographs(images)
    network = load_network(NAME)
    maps = torch.cat([network(part) for part in to_grid(given, NAME).split(batch_size)])
    size = size or given.shape[-1]
    return F.interpolate(maps, (size, size), mode="bilinear", align_corners=False).sigmoid().numpy()


def raw_ratios(images: np.ndarray | torch.Tensor) -> np.ndarray:
    """As `measure_ctr` before its scale."""
    found = []
    for lungs, heart in find_organs(images, FINE):
        chest, width = (_width(_profile(organ, pieces)) for organ, pieces in ((lungs, 2), (heart, 1)))
        found.append(width / chest if chest and width else np.nan)
    return np.array(found)


def measure_ctr(images: np.ndarray | torch.Tensor) -> np.ndarray:
    """Cardiothoracic ratios (N,) of radiographs (N, 1, S, S), (N, S, S) or (S, S) in [0, 1]; NaN where no organ is
    found.

    Raises:
        UserError: no radiographs, or absent weights.
    """
    scale = instrument_errors()["scales"]["ctr"]
    return (raw_ratios(images) - scale["offset"]) / scale["slope"]


def _profile(organ: np.ndarray, pieces: int) -> np.ndarray:
    """For each column of a map the value that `ROWS` rows reach, in its largest pieces."""
    names, count = ndi.label(organ > DRAWN)
    if count > pieces:
        sizes = np.bincount(names.ravel())[1:]
        organ = np.where(np.isin(names, 1 + np.argsort(-sizes)[:pieces]), organ, 0)
    return np.partition(organ, -ROWS, axis=0)[-ROWS]


def _width(profile: np.ndarray) -> float:
    """Pixels between the outermost places where a profile crosses a half, 0 where it is nowhere above."""
    inside = np.flatnonzero(profile > DRAWN)
    if not len(inside):
        return 0.0
    width = float(inside[-1] - inside[0])
    for edge, beyond in ((inside[0], inside[0] - 1), (inside[-1], inside[-1] + 1)):
        if 0 <= beyond < len(profile):
            width += float((profile[edge] - DRAWN) / (profile[edge] - profile[beyond]))
    return width

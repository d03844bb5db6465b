"""How much a picture looks like a frontal chest radiograph, without a network: its correlation with a drawn pattern.

The pattern is two dark lung fields in a brighter body over a bright abdomen, by formula. Chest phantoms and two public
radiographs reach 0.76 and more at the best of a few sizes and places, photographs, drawings and texts at most 0.5.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from PIL import Image

GRID = 32  # pixels of the pattern
EDGE = 4  # pixels around it that do not count, so that it can be moved
SIZES, MOVES = (28, 32, 36, 40), (-3, 0, 3)  # of the picture on that grid


@lru_cache(maxsize=1)
def pattern() -> np.ndarray:
    """Grey levels (32, 32) of an idealised frontal view."""
    rows, columns = (np.mgrid[:GRID, :GRID] + 0.5) * 2 / GRID - 1
    lungs = np.exp(-0.5 * ((abs(columns) - 0.41 - 0.12 * (rows + 0.2)) / 0.2) ** 2 - 0.5 * ((rows + 0.09) / 0.62) ** 4)
    abdomen = 1 / (1 + np.exp(-8 * (rows - 1.76))) * np.exp(-((columns / 0.75) ** 4))
    return 0.5 - 0.18 * lungs + 0.56 * abdomen - 0.43 * abs(columns) ** 6


def likeness(levels: np.ndarray) -> float:
    """Correlation, -1 to 1, of grey levels (H, W) with `pattern` at the best size and place."""
    height, width = levels.shape
    side = max(height, width)
    inner = slice(EDGE, GRID - EDGE)
    wanted = _unit(pattern()[inner, inner])
    picture = Image.fromarray(np.ascontiguousarray(levels, np.float32))
    best = -1.0
    for size in SIZES:
        # Half a pixel of the pattern's grid is the largest error that whole numbers leave.
        small = picture.resize(
            (max(1, round(width * size / side)), max(1, round(height * size / side))), Image.Resampling.BOX
        )
        placed = _placed(np.asarray(small))
        for down in MOVES:
            for across in MOVES:
                moved = np.roll(placed, (down, across), (0, 1))[inner, inner]
                best = max(best, float((_unit(moved) * wanted).sum()))
    return best


def _placed(small: np.ndarray) -> np.ndarray:
    """A picture in the middle of the pattern's grid, cut or with black around it."""
    square = np.zeros((2 * GRID, 2 * GRID), np.float32)
    top, left = ((2 * GRID - n) // 2 for n in small.shape)
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square[GRID // 2 : GRID // 2 + GRID, GRID // 2 : GRID // 2 + GRID]


def _unit(values: np.ndarray) -> np.ndarray:
    """Values without their mean, of length 1; even ones become 0."""
    centred = values - values.mean()
    return centred / max(math.sqrt(float((centred**2).sum())), 1e-6)

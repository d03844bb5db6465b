"""Random rectangles of background, on which the background's prompt is trained (Dombrowski et al., ICCV 2023)."""

from __future__ import annotations

import numpy as np

TRIES = 100
PUBLISHED = 64  # latents of a side for which the limits are published
SIDE, AREA, LONG, LARGEST = 10, 256, 32, 1024  # latents; limits scale with the grid
SHARE = 2 / 3  # of a rectangle that is background


def draw_rectangle(background: np.ndarray) -> np.ndarray:
    """A mask bool (h, w) of the background within a random rectangle, by numpy's global generator.

    Two random places of the background span it. It has to have both sides above 10 of 64 latents, not both above 32, an
    area from 256 to 1024, and two thirds of it are background; after 100 failures all of the background is taken, and
    where there is none, nothing.

    Args:
        background: bool (h, w).
    """
    places = np.argwhere(background)
    if not len(places):
        return np.zeros_like(background, bool)
    scale = background.shape[0] / PUBLISHED
    for _ in range(TRIES):
        pair = places[np.random.randint(len(places), size=2)]
        (top, left), (bottom, right) = pair.min(0), pair.max(0) + 1
        high, wide = bottom - top, right - left
        if min(high, wide) <= SIDE * scale or min(high, wide) > LONG * scale:
            continue
        box = background[top:bottom, left:right]
        if AREA * scale**2 <= box.size <= LARGEST * scale**2 and box.mean() >= SHARE:
            found = np.zeros_like(background, bool)
            found[top:bottom, left:right] = box
            return found
    return background.astype(bool)

"""Colours of scenes under the names that captions give them."""

from __future__ import annotations

import numpy as np

PAINTS: dict[str, tuple[float, float, float]] = {
    "red": (0.80, 0.12, 0.10),
    "blue": (0.12, 0.27, 0.72),
    "green": (0.13, 0.50, 0.22),
    "yellow": (0.93, 0.78, 0.15),
    "white": (0.93, 0.93, 0.92),
    "black": (0.10, 0.10, 0.12),
    "grey": (0.50, 0.51, 0.53),
    "orange": (0.92, 0.45, 0.10),
    "pink": (0.90, 0.48, 0.62),
    "brown": (0.42, 0.26, 0.14),
    "golden": (0.80, 0.58, 0.28),
}
CLOTHES = ("red", "blue", "green", "yellow", "white", "black", "grey", "orange", "pink")
TROUSERS = ("blue", "black", "grey", "brown", "white")
COATS = ("brown", "golden", "black", "white", "grey")
BODYWORK = ("red", "blue", "green", "yellow", "white", "black", "grey", "orange")
PLUMAGE = ("red", "blue", "yellow", "brown", "white", "black", "green", "orange")
SKINS = ((0.94, 0.77, 0.65), (0.86, 0.66, 0.51), (0.70, 0.49, 0.35), (0.51, 0.34, 0.23), (0.36, 0.23, 0.16))
HAIRS = ((0.10, 0.08, 0.07), (0.28, 0.17, 0.10), (0.48, 0.30, 0.15), (0.78, 0.62, 0.34), (0.60, 0.60, 0.60))


def drawn(rng: np.random.Generator, names: tuple[str, ...]) -> tuple[str, np.ndarray]:
    """A name of `names` and its colour, which varies a little."""
    name = names[rng.integers(len(names))]
    return name, varied(rng, PAINTS[name])


def varied(rng: np.random.Generator, colour: tuple[float, float, float], amount: float = 0.06) -> np.ndarray:
    """A colour as it may look, float32 (3,): lighter or darker by `amount`, its hue by much less."""
    value = np.asarray(colour, np.float64) * (1 + amount * rng.standard_normal()) + amount / 6 * rng.standard_normal(3)
    return value.clip(0.04, 0.97).astype(np.float32)


def shaded(colour: np.ndarray, share: float = 0.7) -> np.ndarray:
    """A colour that is darker, as on the side that lies away."""
    return (np.asarray(colour) * share).astype(np.float32)

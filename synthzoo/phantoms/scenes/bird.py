"""A bird from the side, about one unit long: standing, its feet at the origin, or in flight, its middle there."""

from __future__ import annotations

import numpy as np

from synthzoo.phantoms.scenes.canvas import Layer, Paint, mottled, plain, striped
from synthzoo.phantoms.scenes.colours import PLUMAGE, drawn, shaded, varied

DARK = (0.06, 0.06, 0.07)


def paint_bird(layer: Layer, rng: np.random.Generator, flying: bool = False) -> str:
    """Paint a bird; returns the name of its plumage's colour."""
    name, colour = drawn(rng, PLUMAGE)
    breast = varied(rng, ((0.93, 0.9, 0.85), (0.9, 0.55, 0.25), (0.85, 0.8, 0.4))[rng.integers(3)])
    breast = breast if rng.random() < 0.6 else np.minimum(colour * 1.25, 1)
    beak = varied(rng, ((0.95, 0.62, 0.12), (0.2, 0.2, 0.22), (0.85, 0.3, 0.15))[rng.integers(3)])
    down = mottled(colour, rng, 0.1, 0.02, 2.0)
    wing = (
        striped(shaded(colour, 0.55), shaded(colour, 0.85), 0.05)
        if rng.random() < 0.5
        else mottled(shaded(colour, 0.6), rng, 0.15, 0.02, 2.0)
    )
    if flying:
        _flying(layer, rng, down, wing, mottled(breast, rng, 0.08, 0.02), beak, colour)
    else:
        _standing(layer, rng, down, wing, mottled(breast, rng, 0.08, 0.02), beak, colour)
    return name


def _standing(
    layer: Layer,
    rng: np.random.Generator,
    down: Paint,
    wing: Paint,
    breast: Paint,
    beak: np.ndarray,
    colour: np.ndarray,
) -> None:
    legs = rng.uniform(0.12, 0.22)
    shank = plain(varied(rng, (0.55, 0.38, 0.2)))
    for x in (-0.05, 0.05):
        layer.limb((x, legs + 0.06), (x + 0.01, 0.012), 0.018, 0.014, shank)
        for toe in (-0.05, 0.05, 0.085):
            layer.limb((x + 0.01, 0.014), (x + 0.01 + toe, 0.008), 0.012, 0.008, shank)
    base = np.array([0.0, legs])
    tail = [(-0.2, 0.17), (-0.56, -0.02), (-0.53, -0.08), (-0.48, -0.09), (-0.14, 0.07)]
    layer.outline([base + point for point in tail], mottled(shaded(colour, 0.5), rng, 0.1, 0.02, 3.0), 0.04, False)
    body = [
        (0.27, 0.34),
        (0.3, 0.2),
        (0.2, 0.05),
        (0.02, 0.0),
        (-0.18, 0.05),
        (-0.27, 0.14),
        (-0.18, 0.24),
        (0.02, 0.33),
    ]
    layer.outline([base + point for point in body], down, 0.13)
    layer.outline(
        [base + p for p in [(0.27, 0.32), (0.29, 0.19), (0.19, 0.06), (0.03, 0.02), (0.12, 0.18)]], breast, 0.1
    )
    head = base + np.array([0.23, 0.41])
    layer.ellipse(head, (0.135, 0.125), 0.2, down)
    if rng.random() < 0.3:  # a crest
        layer.outline([head + (-0.11, 0.06), head + (-0.14, 0.24), head + (0.02, 0.11)], down, 0.03, smooth=False)
    folded = [(0.14, 0.27), (0.06, 0.10), (-0.16, 0.05), (-0.40, 0.0), (-0.26, 0.16), (-0.08, 0.27), (0.06, 0.30)]
    layer.outline([base + point for point in folded], wing, 0.07)
    _face(layer, head, beak)


def _face(layer: Layer, head: np.ndarray, beak: np.ndarray) -> None:
    layer.outline([head + (0.105, 0.055), head + (0.27, -0.01), head + (0.11, -0.05)], plain(beak), 0.03, smooth=False)
    layer.limb(head + [0.115, 0.0], head + [0.235, -0.012], 0.006, None, plain(beak * 0.5))
    layer.ellipse(head + [0.055, 0.03], (0.034, 0.034), 0, plain((0.92, 0.9, 0.86)), flat=True)
    layer.ellipse(head + [0.06, 0.03], (0.022, 0.022), 0, plain(DARK), flat=True)


def _flying(
    layer: Layer,
    rng: np.random.Generator,
    down: Paint,
    wing: Paint,
    breast: Paint,
    beak: np.ndarray,
    colour: np.ndarray,
) -> None:
    beat = rng.uniform(0.35, 0.75) * (1 if rng.random() < 0.65 else -1)
    dark = mottled(shaded(colour, 0.42), rng, 0.12, 0.02, 2.0)
    layer.outline(_spread((0.12, 0.0), beat, 0.13), dark, 0.03, smooth=False)
    tail = [(-0.2, 0.05), (-0.5, 0.11), (-0.46, 0.04), (-0.53, 0.0), (-0.46, -0.04), (-0.5, -0.09), (-0.2, -0.05)]
    layer.outline(tail, dark, 0.03, smooth=False)
    layer.outline(
        [(0.3, 0.08), (0.33, -0.02), (0.15, -0.11), (-0.1, -0.09), (-0.28, 0), (-0.1, 0.08), (0.12, 0.11)], down, 0.1
    )
    layer.outline([(0.3, 0.0), (0.15, -0.1), (-0.08, -0.08), (0.08, -0.03)], breast, 0.06)
    head = np.array([0.31, 0.07])
    layer.ellipse(head, (0.105, 0.095), 0.1, down)
    _face(layer, head + [-0.025, 0.0], beak)
    layer.outline(_spread((0.02, 0.03), beat, 0.0), wing, 0.04, smooth=False)


def _spread(root: tuple[float, float], beat: float, ahead: float) -> list[np.ndarray]:
    """The outline of a wing with feathered ends, raised by `beat` units, lowered where that is negative."""
    sign, high = np.sign(beat), abs(beat)
    front = [(0.13, 0.0), (0.14 + ahead, 0.45 * high), (0.03 + ahead, 0.85 * high), (-0.13 + ahead, 1.05 * high)]
    ends = [(-0.2, 0.93), (-0.19, 0.84), (-0.28, 0.78), (-0.24, 0.66), (-0.32, 0.58), (-0.26, 0.46), (-0.31, 0.36)]
    back = [(x + ahead * y, y * high) for x, y in ends] + [(-0.24, 0.2 * high), (-0.17, 0.0)]
    return [np.array(root) + np.array([x, sign * y]) for x, y in [*front, *back]]

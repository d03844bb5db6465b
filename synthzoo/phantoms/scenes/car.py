"""A car from the side or the front; one unit long or half a unit wide, its tyres at the height of the origin."""

from __future__ import annotations

import numpy as np

from synthzoo.phantoms.scenes.canvas import Layer, curve, graded, plain
from synthzoo.phantoms.scenes.colours import BODYWORK, drawn, shaded, varied

# Outlines from the lower rear over the roof to the lower front, and windows of the same cars.
BODIES: dict[str, list[tuple[float, float]]] = {
    "sedan": [
        (-0.49, 0.11),
        (-0.5, 0.25),
        (-0.47, 0.315),
        (-0.31, 0.335),
        (-0.17, 0.445),
        (-0.02, 0.465),
        (0.09, 0.44),
    ],
    "hatchback": [(-0.47, 0.11), (-0.48, 0.29), (-0.42, 0.43), (-0.2, 0.475), (0.0, 0.475), (0.10, 0.445)],
    "van": [(-0.49, 0.11), (-0.5, 0.3), (-0.485, 0.53), (-0.3, 0.56), (0.1, 0.555), (0.22, 0.53)],
    "pickup": [(-0.5, 0.14), (-0.5, 0.32), (-0.16, 0.32), (-0.145, 0.32), (-0.13, 0.49), (0.02, 0.505), (0.11, 0.48)],
}
FRONTS = [(0.245, 0.325), (0.42, 0.295), (0.49, 0.245), (0.5, 0.13), (0.47, 0.1)]
WINDOWS: dict[str, list[list[tuple[float, float]]]] = {
    "sedan": [
        [(-0.25, 0.335), (-0.15, 0.42), (-0.045, 0.435), (-0.045, 0.335)],
        [(-0.02, 0.335), (-0.02, 0.435), (0.075, 0.415), (0.18, 0.335)],
    ],
    "hatchback": [
        [(-0.42, 0.33), (-0.38, 0.415), (-0.28, 0.44), (-0.26, 0.33)],
        [(-0.24, 0.33), (-0.25, 0.445), (-0.06, 0.45), (-0.05, 0.33)],
        [(-0.025, 0.33), (-0.03, 0.45), (0.085, 0.42), (0.19, 0.33)],
    ],
    "van": [
        [(-0.44, 0.38), (-0.44, 0.5), (-0.2, 0.52), (-0.2, 0.38)],
        [(-0.17, 0.38), (-0.17, 0.52), (0.03, 0.52), (0.03, 0.38)],
        [(0.06, 0.37), (0.06, 0.52), (0.19, 0.5), (0.27, 0.37)],
    ],
    "pickup": [
        [(-0.105, 0.345), (-0.1, 0.465), (0.01, 0.475), (0.01, 0.345)],
        [(0.035, 0.345), (0.035, 0.475), (0.1, 0.455), (0.19, 0.345)],
    ],
}
GLASS, TYRE, METAL = (0.20, 0.27, 0.33), (0.07, 0.07, 0.08), (0.72, 0.73, 0.75)


def paint_car(layer: Layer, rng: np.random.Generator) -> str:
    """Paint a car; returns the name of its colour."""
    name, colour = drawn(rng, BODYWORK)
    if rng.random() < 0.3:
        _front(layer, rng, colour)
    else:
        _side(layer, rng, colour)
    return name


def _side(layer: Layer, rng: np.random.Generator, colour: np.ndarray) -> None:
    kind = tuple(BODIES)[rng.choice(4, p=(0.4, 0.3, 0.18, 0.12))]
    wheel, rim = rng.uniform(0.088, 0.102), varied(rng, METAL)
    layer.limb((-0.43, 0.075), (0.43, 0.075), 0.035, None, plain((0.05, 0.05, 0.05)))
    body = _polished(BODIES[kind] + FRONTS)
    layer.outline(body, graded(shaded(colour, 0.72), np.minimum(colour * 1.12, 1), 0.1, 0.36), 0.045, smooth=False)
    layer.limb((-0.47, 0.125), (0.47, 0.125), 0.016, None, plain(shaded(colour, 0.45)))
    layer.limb((-0.44, 0.27), (0.43, 0.262), 0.005, None, plain(np.minimum(colour * 1.4 + 0.05, 1)))
    glass = graded(GLASS, (0.55, 0.66, 0.74), 0.33, 0.5)
    for window in WINDOWS[kind]:
        layer.outline(window, glass, 0.0, smooth=False)
    for x in (-0.245 if kind != "pickup" else -0.12, -0.033, 0.17):
        layer.limb((x, 0.14), (x, 0.325), 0.0035, None, plain(shaded(colour, 0.5)))
    for x in (-0.09, 0.12):
        layer.limb((x - 0.025, 0.30), (x, 0.30), 0.006, None, plain(METAL))
    layer.limb((0.462, 0.235), (0.478, 0.225), 0.021, 0.018, plain((0.98, 0.95, 0.78)))
    layer.limb((-0.487, 0.235), (-0.487, 0.275), 0.013, None, plain((0.75, 0.06, 0.05)))
    for x in (-0.30, 0.305):
        layer.ellipse((x, wheel + 0.008), (wheel + 0.022, wheel + 0.022), 0, plain((0.03, 0.03, 0.03)), flat=True)
        layer.ellipse((x, wheel), (wheel, wheel), 0, plain(TYRE), flat=True)
        layer.ellipse((x, wheel), (wheel * 0.62, wheel * 0.62), 0, plain(rim))
        turn = rng.uniform(0, 1.2)
        for spoke in range(5):
            angle = turn + spoke * 2 * np.pi / 5
            end = (x + wheel * 0.5 * np.cos(angle), wheel + wheel * 0.5 * np.sin(angle))
            layer.limb((x, wheel), end, 0.007, 0.012, plain(shaded(rim, 0.45)))
        layer.ellipse((x, wheel), (wheel * 0.16, wheel * 0.16), 0, plain(rim))


def _front(layer: Layer, rng: np.random.Generator, colour: np.ndarray) -> None:
    high = rng.uniform(0.95, 1.15)
    for x in (-0.235, 0.235):
        layer.limb((x, 0.045), (x, 0.12), 0.05, None, plain(TYRE))
    half = [(0.0, 0.52), (0.16, 0.515), (0.205, 0.48), (0.26, 0.345), (0.305, 0.29), (0.31, 0.16), (0.295, 0.085)]
    outline = [(x, y * high) for x, y in [*half, *[(-x, y) for x, y in half[:0:-1]]]]
    layer.outline(outline, graded(shaded(colour, 0.75), np.minimum(colour * 1.1, 1), 0.1, 0.4), 0.05, smooth=False)
    glass = [(-0.165, 0.485), (0.165, 0.485), (0.225, 0.355), (-0.225, 0.355)]
    layer.outline([(x, y * high) for x, y in glass], graded(GLASS, (0.6, 0.7, 0.78), 0.33, 0.52), 0.0, smooth=False)
    for side in (-1, 1):
        layer.limb((side * 0.27, 0.37 * high), (side * 0.31, 0.375 * high), 0.024, 0.02, plain(shaded(colour, 0.8)))
        layer.ellipse((side * 0.225, 0.25 * high), (0.062, 0.034), side * 0.15, plain((0.98, 0.96, 0.84)))
    grille = [(-0.13, 0.275), (0.13, 0.275), (0.115, 0.2), (-0.115, 0.2)]
    layer.outline([(x, y * high) for x, y in grille], plain((0.1, 0.1, 0.11)), 0.0, smooth=False)
    for y in (0.22, 0.24, 0.26):
        layer.limb((-0.115, y * high), (0.115, y * high), 0.0035, None, plain(METAL))
    layer.limb((-0.28, 0.13), (0.28, 0.13), 0.03, None, plain(shaded(colour, 0.55)))
    layer.outline([(-0.07, 0.155), (0.07, 0.155), (0.07, 0.115), (-0.07, 0.115)], plain((0.9, 0.9, 0.86)), 0.0, False)


def _polished(points: list[tuple[float, float]]) -> np.ndarray:
    """An outline whose upper corners are rounded; the lower edge stays straight."""
    return np.concatenate([curve(points, closed=False), [[0.44, 0.085], [-0.46, 0.085]]])

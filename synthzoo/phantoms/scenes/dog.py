"""A dog from the side, standing, walking or sitting; about one unit long, its paws at the height of the origin."""

from __future__ import annotations

import numpy as np

from synthzoo.phantoms.scenes.canvas import Layer, Paint, mottled, plain
from synthzoo.phantoms.scenes.colours import COATS, drawn, shaded, varied

DARK = (0.07, 0.06, 0.06)


def paint_dog(layer: Layer, rng: np.random.Generator) -> str:
    """Paint a dog; returns the name of its coat's colour."""
    name, coat = drawn(rng, COATS)
    other = varied(rng, ((0.9, 0.88, 0.84), (0.15, 0.11, 0.09), (0.5, 0.33, 0.18))[rng.integers(3)])
    second = other if rng.random() < 0.35 else coat
    fur = mottled(coat, rng, 0.13, 0.012, 3.0, second, 0.3)
    far = mottled(shaded(coat, 0.68), rng, 0.1, 0.012, 3.0)
    legs, depth = rng.uniform(0.8, 1.12), rng.uniform(0.9, 1.15)
    sitting = rng.random() < 0.25
    if sitting:
        _sitting(layer, fur, far, depth)
        neck = np.array([0.19, 0.60])
    else:
        _standing(layer, rng, fur, far, legs, depth)
        neck = np.array([0.27, 0.34 * legs + 0.20])
    _head(layer, rng, neck, fur, coat, second)
    return name


def _standing(layer: Layer, rng: np.random.Generator, fur: Paint, far: Paint, legs: float, depth: float) -> None:
    swing = rng.uniform(-0.10, 0.10)
    base = 0.34 * legs  # of the belly
    _tail(layer, rng, np.array([-0.33, base + 0.20]), fur)
    for shift, paint in ((-1, far), (1, fur)):
        move, side = shift * swing, 0.03 * (shift < 0)
        if shift > 0:
            _body(layer, fur, base, depth)
        hip = np.array([-0.26 + side, base + 0.10])
        knee, hock = hip + [0.055 + move, -0.17 * legs], hip + [-0.065 + move * 1.3, -0.27 * legs]
        paw = np.array([hock[0] + 0.03, 0.03])
        layer.limbs([hip, knee, hock, paw], [0.105 * depth, 0.06, 0.036, 0.032], paint)
        layer.limb(paw, paw + [0.045, -0.004], 0.032, 0.027, paint)
        shoulder = np.array([0.23 + side, base + 0.10])
        elbow, paw = shoulder + [0.0 - move * 0.6, -0.19 * legs], np.array([shoulder[0] + 0.01 - move * 1.4, 0.03])
        layer.limbs([shoulder, elbow, paw], [0.085 * depth, 0.048, 0.034], paint)
        layer.limb(paw, paw + [0.045, -0.004], 0.032, 0.027, paint)


def _body(layer: Layer, fur: Paint, base: float, depth: float) -> None:
    high = 0.24 * depth
    points = [(0.32, 0.62), (0.31, 0.15), (0.18, -0.1), (0.0, 0.02), (-0.17, 0.24), (-0.31, 0.3)]
    points += [(-0.37, 0.62), (-0.32, 0.95), (-0.1, 0.93), (0.1, 0.94), (0.25, 1.04)]
    layer.outline([(x, base + y * high) for x, y in points], fur, 0.12)


def _sitting(layer: Layer, fur: Paint, far: Paint, depth: float) -> None:
    layer.limbs([(-0.24, 0.05), (-0.38, 0.04), (-0.47, 0.12)], [0.045, 0.035, 0.02], fur)
    layer.limbs([(0.2, 0.42), (0.21, 0.2), (0.22, 0.03)], [0.07, 0.042, 0.034], far)
    points = [
        (0.26, 0.58),
        (0.25, 0.36),
        (0.14, 0.2),
        (0.0, 0.06),
        (-0.2, 0.03),
        (-0.3, 0.14),
        (-0.2, 0.36),
        (0.0, 0.56),
    ]
    layer.outline([*points, (0.12, 0.66)], fur, 0.14)
    layer.limbs([(-0.13, 0.17), (0.04, 0.12)], [0.15 * depth, 0.075], fur)
    layer.limb((-0.02, 0.03), (0.13, 0.028), 0.034, 0.03, fur)
    layer.limbs([(0.17, 0.42), (0.16, 0.2), (0.15, 0.03)], [0.085, 0.045, 0.034], fur)
    layer.limb((0.15, 0.03), (0.2, 0.026), 0.034, 0.028, fur)


def _tail(layer: Layer, rng: np.random.Generator, root: np.ndarray, fur: Paint) -> None:
    lift = rng.uniform(-0.8, 1.2)
    points, angle = [root], np.pi - lift
    for _ in range(3):
        points.append(points[-1] + 0.095 * np.array([np.cos(angle), np.sin(angle)]))
        angle -= rng.uniform(0.1, 0.55)
    layer.limbs(points, [0.045, 0.037, 0.03, 0.016], fur)


def _head(
    layer: Layer, rng: np.random.Generator, neck: np.ndarray, fur: Paint, coat: np.ndarray, second: np.ndarray
) -> None:
    skull = neck + np.array([0.17, 0.20]) * rng.uniform(0.85, 1.05)
    snout = rng.uniform(0.11, 0.17)
    layer.limb(neck, skull - [0.02, 0.01], 0.118, 0.085, fur)
    if rng.random() < 0.5:  # a collar
        middle = neck + (skull - neck) * 0.52
        across = np.array([skull[1] - neck[1], neck[0] - skull[0]]) * 0.36
        layer.limb(middle - across, middle + across, 0.017, None, plain(varied(rng, (0.75, 0.1, 0.1), 0.3)))
    pointed = rng.random() < 0.45
    ear = mottled(shaded(second if rng.random() < 0.4 else coat, 0.72), rng, 0.1, 0.012)
    if pointed:
        far = [skull + (0.0, 0.06), skull + (0.03, 0.19), skull + (0.075, 0.06)]
        layer.outline(far, mottled(shaded(coat, 0.5), rng, 0.05), 0.03, smooth=False)
    layer.ellipse(skull, (0.108, 0.094), 0.1, fur)
    tip = skull + np.array([0.06 + snout, -0.055])
    layer.limb(skull + [0.05, -0.03], tip, 0.062, 0.042, fur)
    layer.limb(skull + [0.06, -0.075], tip + [-0.02, -0.027], 0.006, None, plain(DARK))
    layer.ellipse(tip + [0.032, 0.016], (0.026, 0.022), 0, plain(DARK))
    layer.ellipse(skull + [0.058, 0.026], (0.017, 0.016), 0, plain(DARK), flat=True)
    layer.ellipse(skull + [0.063, 0.032], (0.005, 0.005), 0, plain((0.9, 0.9, 0.9)), flat=True)
    if pointed:
        layer.outline([skull + (-0.085, 0.03), skull + (-0.05, 0.20), skull + (0.025, 0.08)], ear, 0.03, smooth=False)
    else:
        shape = [(-0.02, 0.085), (-0.075, 0.06), (-0.105, -0.05), (-0.075, -0.145), (-0.02, -0.10), (0.005, 0.0)]
        layer.outline([skull + point for point in shape], ear, 0.05)

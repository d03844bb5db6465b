"""A person, standing, walking or waving, seen from the front or the side; one unit high, its feet at the origin."""

from __future__ import annotations

import numpy as np

from synthzoo.phantoms.scenes.canvas import Layer, Paint, mottled, plain, striped
from synthzoo.phantoms.scenes.colours import CLOTHES, HAIRS, SKINS, TROUSERS, drawn, shaded, varied

THIGH, SHANK, UPPER, FORE = 0.245, 0.225, 0.155, 0.145
HIP, SHOULDER = 0.50, 0.80


def along(start: np.ndarray, length: float, angle: float) -> np.ndarray:
    """The end of a bone that hangs at an angle (radians) from straight down, to the front."""
    return start + length * np.array([np.sin(angle), -np.cos(angle)])


def paint_person(layer: Layer, rng: np.random.Generator) -> str:
    """Paint a person; returns the name of the shirt's colour."""
    name, shirt = drawn(rng, CLOTHES)
    _, below = drawn(rng, TROUSERS)
    skin, hair = varied(rng, SKINS[rng.integers(5)], 0.04), varied(rng, HAIRS[rng.integers(5)], 0.04)
    shoes = varied(rng, ((0.1, 0.1, 0.1), (0.85, 0.85, 0.85), (0.4, 0.2, 0.1))[rng.integers(3)])
    front, skirt, sleeves, long_hair = rng.random() < 0.55, rng.random() < 0.25, rng.random() < 0.5, rng.random() < 0.45
    cloth = striped(shirt, shaded(shirt, 0.6), 0.03) if rng.random() < 0.2 else mottled(shirt, rng, 0.06, 0.012)
    trousers, bare = mottled(below, rng, 0.08, 0.012), plain(skin)
    arms = _arms(rng, front)
    legs = [rng.normal(0, 0.05), rng.normal(0, 0.05)] if front else [s := rng.uniform(0.12, 0.5), -s * 0.85]
    width = rng.uniform(0.9, 1.12)
    spread = 0.058 * width if front else 0.012
    shoulder = 0.118 * width if front else 0.02

    def leg(side: int, dark: float) -> None:
        hip = np.array([side * spread, HIP])
        bend = 0 if front else max(0.0, -legs[side > 0]) * 0.9
        knee = along(hip, THIGH, legs[side > 0] + (0.06 * side if front else 0))
        ankle = along(knee, SHANK, legs[side > 0] - bend)
        cover: Paint = bare if skirt else _dimmed(trousers, dark)
        layer.limbs([hip, knee, ankle], [0.064 * width, 0.047, 0.03], cover)
        toe = [side * 0.012, -0.018] if front else [0.045, -0.018]
        layer.limb(ankle + [0, -0.012], ankle + toe, 0.028, 0.024, plain(shoes * dark))

    def arm(side: int, dark: float) -> None:
        start = np.array([side * shoulder, SHOULDER - 0.022])
        elbow = along(start, UPPER, arms[side > 0][0])
        hand = along(elbow, FORE, arms[side > 0][1])
        layer.limb(start, elbow, 0.042 * width, 0.034, _dimmed(cloth, dark))
        layer.limb(elbow, hand, 0.032, 0.024, _dimmed(cloth, dark) if sleeves else _dimmed(bare, dark))
        layer.ellipse(hand + 0.012 * (hand - elbow) / FORE, (0.028, 0.028), 0, _dimmed(bare, dark))

    if long_hair:
        layer.outline([(-0.075, 0.95), (0, 1.0), (0.075, 0.95), (0.085, 0.80), (0, 0.77), (-0.085, 0.80)], plain(hair))
    if front:
        leg(-1, 1.0)
        leg(1, 1.0)
    else:
        arm(-1, 0.75)
        leg(-1, 0.75)
        leg(1, 1.0)
    _trunk(layer, front, width, skirt, cloth, mottled(below, rng, 0.08, 0.012))
    if front:
        arm(-1, 1.0)
        arm(1, 1.0)
    layer.limb((0, 0.80), (0.0 if front else 0.008, 0.87), 0.034, 0.032, plain(skin * 0.9))
    _head(layer, front, long_hair, skin, hair, rng)
    if not front:
        arm(1, 1.0)
    return name


def _arms(rng: np.random.Generator, front: bool) -> list[tuple[float, float]]:
    """Angles of upper and lower arm, left and right; the left of a front view hangs to the left."""
    if not front:
        swing = rng.uniform(-0.6, 0.6)
        return [(swing, swing + 0.4), (-swing, -swing + 0.4)]
    found = []
    for side in (-1, 1):
        kind = rng.random()
        if kind < 0.6:
            angles = (rng.uniform(0.1, 0.4), rng.uniform(0.0, 0.3))
        elif kind < 0.75:
            angles = (0.75, -0.7)  # the hand on the hip
        else:
            angles = (rng.uniform(1.7, 2.3), rng.uniform(2.5, 3.1))  # waving
        found.append((side * angles[0], side * angles[1]))
    return found


def _trunk(layer: Layer, front: bool, width: float, skirt: bool, cloth: Paint, below: Paint) -> None:
    half = 1.0 if front else 0.66
    waist, hip, top = 0.082 * width * half, 0.1 * width * half, 0.128 * width * half
    if skirt:
        layer.outline(
            [(-waist, 0.62), (waist, 0.62), (0.16 * width, 0.31), (-0.16 * width, 0.31)], below, 0.05, smooth=False
        )
    else:
        layer.outline(
            [(-waist, 0.58), (waist, 0.58), (hip, 0.50), (hip, 0.46), (-hip, 0.46), (-hip, 0.50)], below, 0.06
        )
    side = [(top, 0.785), (top * 0.9, 0.70), (waist, 0.60), (hip * 1.02, 0.52)]
    whole = [(0.05 * half, 0.838), *side, *[(-x, y) for x, y in side[::-1]], (-0.05 * half, 0.838)]
    layer.outline(whole, cloth, 0.07)


def _head(
    layer: Layer, front: bool, long_hair: bool, skin: np.ndarray, hair: np.ndarray, rng: np.random.Generator
) -> None:
    forward = 0.0 if front else 0.012
    layer.ellipse((forward, 0.915), (0.060, 0.077), 0, plain(skin))
    if front:
        dark = plain((0.12, 0.08, 0.07))
        for x in (-0.024, 0.024):
            layer.ellipse((x, 0.92), (0.0085, 0.0095), 0, dark, flat=True)
        layer.limb((-0.018, 0.876), (0.018, 0.876), 0.006, None, plain(skin * [0.75, 0.5, 0.5]))
        cap = [
            (-0.066, 0.925),
            (-0.055, 0.975),
            (0, 0.998),
            (0.055, 0.975),
            (0.066, 0.925),
            (0.035, 0.955),
            (-0.03, 0.96),
        ]
    else:
        layer.ellipse((0.073, 0.905), (0.012, 0.012), 0, plain(skin))
        layer.ellipse((0.045, 0.925), (0.008, 0.009), 0, plain((0.12, 0.08, 0.07)), flat=True)
        cap = [
            (0.055, 0.958),
            (0.02, 0.998),
            (-0.04, 0.985),
            (-0.068, 0.93),
            (-0.05, 0.865),
            (-0.02, 0.90),
            (0.0, 0.95),
        ]
    layer.outline(cap, plain(hair), 0.04)
    if rng.random() < 0.2:  # a hat
        hat = varied(rng, (0.5, 0.35, 0.2), 0.3)
        layer.outline([(-0.06, 0.965), (-0.05, 1.02), (0.05, 1.02), (0.06, 0.965)], plain(hat), 0.03, smooth=False)
        layer.limb((-0.09 + forward, 0.965), (0.09 + forward, 0.965), 0.012, None, plain(hat * 0.8))


def _dimmed(paint: Paint, share: float) -> Paint:
    return paint if share == 1 else (lambda x, y: paint(x, y) * np.float32(share))

"""Places that objects stand in: sky, ground and what belongs there, all of it textured; none of it is an object.

Trees, bushes, rocks, houses and posts are as coloured and as sharp as the objects, so that what stands out is not yet
what a caption names.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from synthzoo.phantoms.fields import smooth_noise
from synthzoo.phantoms.scenes.canvas import Layer, Pose, mottled
from synthzoo.phantoms.scenes.colours import varied

# Name -> how a caption says it, the words in which it may.
PLACES: dict[str, tuple[str, ...]] = {
    "meadow": ("on grass", "on a green meadow"),
    "street": ("on a street", "on a road"),
    "beach": ("on a beach", "by the sea"),
    "park": ("in a park", "near trees"),
    "snow": ("in the snow",),
    "wall": ("by a brick wall",),
    "yard": ("on gravel", "in a yard"),
}
Field = np.ndarray


def grained(rng: np.random.Generator, colour: np.ndarray, shape: tuple[int, int], amount: float, fine: float) -> Field:
    """A colour with grain of `fine` pixels and broad changes, float32 (*shape, 3)."""
    grain = 0.6 * smooth_noise(rng, shape, fine) + 0.5 * smooth_noise(rng, shape, 5 * fine)
    broad = smooth_noise(rng, shape, max(shape) / 10)
    tint = np.stack([smooth_noise(rng, shape, max(shape) / 14) for _ in range(3)], -1)
    levels = np.asarray(colour, np.float32) * (1 + amount * grain + 0.6 * amount * broad)[..., None]
    return levels * (1 + 0.25 * amount * tint)


def paint_place(name: str, size: int, light: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """A place without objects, float32 (size, size, 3) in [0, 1], and at what share of its height ground begins."""
    horizon = rng.uniform(0.42, 0.60)
    return MAKERS[name](size, horizon, light, rng).clip(0, 1), horizon


def _sky(size: int, rng: np.random.Generator) -> Field:
    top = varied(rng, ((0.35, 0.55, 0.85), (0.62, 0.70, 0.80), (0.75, 0.62, 0.55))[rng.choice(3, p=(0.6, 0.3, 0.1))])
    low = np.minimum(top * 1.25 + 0.12, 1)
    share = np.linspace(0, 1, size)[:, None, None] ** 0.8
    cloud = smooth_noise(rng, (size, size), (size / 28, size / 9)) + 0.4 * smooth_noise(rng, (size, size), size / 60)
    cover = (0.45 * (cloud - rng.uniform(0.0, 1.2))).clip(0, 0.9)[..., None]
    return ((top * (1 - share) + low * share) * (1 - cover) + 0.95 * cover).astype(np.float32)


def _grounded(size: int, horizon: float, ground: Field, rng: np.random.Generator, rough: float = 0.0) -> Field:
    """Sky with a ground from the horizon on, whose edge is as rough as `rough` of the height."""
    picture = _sky(size, rng)
    edge = horizon * size + rough * size * smooth_noise(rng, (size, 4), (size / 16, 1))[:, 0]
    rows = np.arange(size)[:, None]
    below = rows > edge[None, :]
    nearer = (0.86 + 0.22 * ((rows - horizon * size) / (size * (1 - horizon))).clip(0, 1))[..., None]
    return np.where(below[..., None], ground * nearer, picture)


def _added(picture: Field, layer: Layer) -> Field:
    return np.where(layer.covered[..., None], layer.colour, picture)


def _plants(
    picture: Field, size: int, horizon: float, light: np.ndarray, rng: np.random.Generator, trees: int, bushes: int
) -> Field:
    for number in range(trees + bushes):
        place = Pose(rng.uniform(0, size), (horizon + rng.uniform(0.0, 0.1)) * size, size * rng.uniform(0.3, 0.55))
        layer = Layer(size, place, light, rng)
        leaf = varied(
            rng, ((0.16, 0.36, 0.12), (0.30, 0.42, 0.14), (0.52, 0.36, 0.12))[rng.choice(3, p=(0.5, 0.35, 0.15))]
        )
        leaves = mottled(leaf, rng, 0.25, 0.02, 1.0, leaf * 0.6, 0.4)
        is_tree = number < trees
        if is_tree:
            bark = mottled(varied(rng, (0.30, 0.21, 0.13)), rng, 0.2, 0.02)
            layer.limb((0, -0.02), (rng.normal(0, 0.03), 0.55), 0.05, 0.035, bark)
        high = 0.62 if is_tree else 0.06
        for _ in range(7):
            centre = (rng.normal(0, 0.13), high + rng.normal(0.08, 0.09) * (1 if is_tree else 0.5))
            radius = rng.uniform(0.1, 0.2) * (1 if is_tree else 0.6)
            layer.ellipse(centre, (radius * 1.15, radius), 0, leaves)
        picture = _added(picture, layer)
    return picture


def _rocks(picture: Field, size: int, horizon: float, light: np.ndarray, rng: np.random.Generator, count: int) -> Field:
    for _ in range(count):
        place = Pose(rng.uniform(0, size), rng.uniform(horizon + 0.04, 0.98) * size, size * rng.uniform(0.06, 0.16))
        layer = Layer(size, place, light, rng)
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        radii = rng.uniform(0.55, 1.0, 9)
        corners = np.stack([radii * np.cos(angles), 0.3 + 0.6 * radii * np.sin(angles)], 1)
        layer.outline(corners, mottled(varied(rng, (0.5, 0.48, 0.45), 0.15), rng, 0.15, 0.06), 0.3)
        picture = _added(picture, layer)
    return picture


def _meadow(size: int, horizon: float, light: np.ndarray, rng: np.random.Generator) -> Field:
    grass = grained(rng, varied(rng, (0.34, 0.50, 0.18), 0.1), (size, size), 0.18, size / 220)
    picture = _grounded(size, horizon, grass, rng, 0.015)
    picture = _plants(picture, size, horizon, light, rng, int(rng.integers(0, 2)), int(rng.integers(1, 4)))
    return _rocks(picture, size, horizon, light, rng, int(rng.integers(0, 3)))


def _park(size: int, horizon: float, light: np.ndarray, rng: np.random.Generator) -> Field:
    grass = grained(rng, varied(rng, (0.30, 0.44, 0.17), 0.1), (size, size), 0.2, size / 200)
    picture = _grounded(size, horizon, grass, rng, 0.01)
    return _plants(picture, size, horizon, light, rng, int(rng.integers(2, 5)), int(rng.integers(2, 5)))


def _snow(size: int, horizon: float, light: np.ndarray, rng: np.random.Generator) -> Field:
    snow = grained(rng, varied(rng, (0.84, 0.87, 0.92), 0.03), (size, size), 0.035, size / 70)
    picture = _grounded(size, horizon, snow, rng, 0.02)
    return _plants(picture, size, horizon, light, rng, int(rng.integers(0, 3)), int(rng.integers(0, 2)))


def _beach(size: int, horizon: float, light: np.ndarray, rng: np.random.Generator) -> Field:
    sand = grained(rng, varied(rng, (0.82, 0.70, 0.50), 0.06), (size, size), 0.07, size / 200)
    picture = _grounded(size, horizon, sand, rng)
    first, last = int(horizon * size), int((horizon + rng.uniform(0.06, 0.14)) * size)
    waves = smooth_noise(rng, (last - first, size), (size / 150, size / 25))[..., None]
    picture[first:last] = varied(rng, (0.12, 0.40, 0.55), 0.1) * (1 + 0.18 * waves)
    foam = (smooth_noise(rng, (max(size // 60, 2), size), (1, size / 40)) > -0.4)[..., None]
    strip = picture[last : last + len(foam)]
    picture[last : last + len(foam)] = np.where(foam, 0.93, strip)
    return _rocks(picture, size, horizon + 0.14, light, rng, int(rng.integers(0, 4)))


def _street(size: int, horizon: float, light: np.ndarray, rng: np.random.Generator) -> Field:
    asphalt = grained(rng, varied(rng, (0.36, 0.36, 0.38), 0.1), (size, size), 0.10, size / 240)
    picture = _grounded(size, horizon, asphalt, rng)
    left = 0.0
    while left < size:  # houses
        wide, high = size * rng.uniform(0.16, 0.34), size * horizon * rng.uniform(0.45, 0.95)
        wall = varied(
            rng, ((0.70, 0.60, 0.48), (0.62, 0.36, 0.28), (0.75, 0.74, 0.70), (0.45, 0.48, 0.52))[rng.integers(4)]
        )
        _house(picture, int(left), int(left + wide), int(horizon * size - high), int(horizon * size), wall, rng)
        left += wide
    kerb, first = int(size * 0.02), int(horizon * size)
    picture[first : first + 3 * kerb] = grained(rng, np.array([0.6, 0.58, 0.55]), (size, size), 0.08, 1.0)[: 3 * kerb]
    picture[first + 3 * kerb : first + 4 * kerb] *= 0.55
    line, dash = int(size * rng.uniform(0.72, 0.92)), size * 0.16
    columns = (np.arange(size) + rng.uniform(0, dash)) % (2 * dash) < dash
    picture[line : line + int(size * 0.015)][:, columns] = (0.85, 0.85, 0.80)
    return picture


def _house(
    picture: Field, left: int, right: int, top: int, bottom: int, wall: np.ndarray, rng: np.random.Generator
) -> None:
    part = picture[top:bottom, left:right]
    if not part.size:
        return
    part[:] = grained(rng, wall, (part.shape[0], part.shape[1]), 0.06, 1.5)
    cell = max(int(picture.shape[0] * 0.07), 6)
    glass = varied(rng, (0.22, 0.28, 0.36), 0.15)
    for row in range(cell // 2, part.shape[0] - cell // 2, int(cell * 1.4)):
        for column in range(cell // 2, part.shape[1] - cell // 2, int(cell * 1.3)):
            window = part[row : row + int(cell * 0.8), column : column + int(cell * 0.6)]
            window[:] = glass * (1.6 if rng.random() < 0.15 else 1)


def _wall(size: int, horizon: float, light: np.ndarray, rng: np.random.Generator) -> Field:
    floor = grained(rng, varied(rng, (0.52, 0.48, 0.44), 0.12), (size, size), 0.08, size / 160)
    picture = _grounded(size, horizon, floor, rng)
    first, high = int(horizon * size), max(int(size * rng.uniform(0.035, 0.055)), 4)
    clay = varied(rng, ((0.58, 0.28, 0.20), (0.62, 0.55, 0.45), (0.48, 0.24, 0.20))[rng.integers(3)], 0.1)
    rows, columns = np.mgrid[:first, :size]
    course = (first - rows) // high
    shifted = columns + (course % 2) * high
    brick = shifted // (2 * high)
    joint = ((first - rows) % high < max(high // 6, 1)) | (shifted % (2 * high) < max(high // 6, 1))
    tone = rng.normal(1, 0.13, (int(course.max()) + 1, int(brick.max()) + 1))[course, brick]
    grain = 1 + 0.07 * smooth_noise(rng, (first, size), 1.2)
    bricks = clay * (tone * grain)[..., None]
    picture[:first] = np.where(joint[..., None], np.array([0.70, 0.67, 0.62]) * grain[..., None], bricks)
    picture[first : first + 2] *= 0.6
    return picture


def _yard(size: int, horizon: float, light: np.ndarray, rng: np.random.Generator) -> Field:
    gravel = grained(rng, varied(rng, (0.58, 0.54, 0.48), 0.08), (size, size), 0.16, size / 130)
    picture = _grounded(size, horizon, gravel, rng)
    layer = Layer(size, Pose(0, horizon * size, size), light, rng)
    wood = varied(rng, ((0.50, 0.36, 0.22), (0.72, 0.70, 0.66), (0.30, 0.38, 0.30))[rng.integers(3)], 0.1)
    wide, high = rng.uniform(0.035, 0.06), rng.uniform(0.2, 0.32)
    for number in range(int(1 / wide) + 1):
        left, tone = number * wide, varied(rng, tuple(wood), 0.08)
        slat = [
            (left, -0.02),
            (left, high),
            (left + wide / 2, high + 0.025),
            (left + wide * 0.9, high),
            (left + wide * 0.9, -0.02),
        ]
        layer.outline(slat, mottled(tone, rng, 0.1, 0.01, 0.2), 0.006, smooth=False)
    picture = _added(picture, layer)
    picture = _plants(picture, size, horizon, light, rng, 0, int(rng.integers(0, 3)))
    return _rocks(picture, size, horizon, light, rng, int(rng.integers(0, 3)))


MAKERS: dict[str, Callable[[int, float, np.ndarray, np.random.Generator], Field]] = {
    "meadow": _meadow,
    "street": _street,
    "beach": _beach,
    "park": _park,
    "snow": _snow,
    "wall": _wall,
    "yard": _yard,
}

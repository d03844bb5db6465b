"""A picture of a garment from its parameters: parts drawn over each other, folds, light, shadow and a camera.

The class, the masks of the parts and the parameters are exact; what a picture of a shop shows besides (fabric, folds,
pose, background, light, noise) varies and says nothing of the class.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage as ndi

from synthzoo.errors import UserError
from synthzoo.phantoms.fields import smooth_noise
from synthzoo.phantoms.garments.fabric import background_colour, fabric_colour, soft_step
from synthzoo.phantoms.garments.params import GarmentParams, draw_params
from synthzoo.phantoms.garments.shapes import BACK, TOP, body, opening, polygon_distance, shoulder_line, sleeve

VERSION = 1  # of the pictures; a pool is named by it
SMALLEST, LARGEST = 32, 1024  # pixels of a side
FINE = 192  # pixels; smaller pictures are drawn at twice their size and averaged
PARTS = ("body", "left sleeve", "right sleeve", "inside", "placket")
NOISE = 602  # salt
BAND = 0.035  # width of the ribbed band around the opening
DARK = 0.62  # of the inside, seen through the opening


class Garment(NamedTuple):
    """A picture and its truth.

    Attributes:
        image: RGB float32 (3, S, S) in [0, 1].
        parts: uint8 (S, S), 0 the background, then `PARTS` from 1.
        params: what it was drawn from; its class is `params.label`.
    """

    image: np.ndarray
    parts: np.ndarray
    params: GarmentParams


def make_garment(params: GarmentParams | int, size: int = 64, **fixed: Any) -> Garment:
    """The picture of a garment.

    Args:
        params: of the garment, or a seed.
        size: side of the picture in pixels, 32 to 1024.
        fixed: with a seed, see `draw_params`.

    Raises:
        UserError: another size, and what `draw_params` refuses.
    """
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or not SMALLEST <= size <= LARGEST:
        raise UserError(f"size = {size!r}: a picture of a garment has {SMALLEST} to {LARGEST} pixels a side.")
    if not isinstance(params, GarmentParams):
        params = draw_params(params, **fixed)
    finer = 2 if size < FINE else 1
    fine = int(size) * finer
    rng = np.random.default_rng([NOISE, params.seed])
    pixel = 2 / fine
    line = (np.arange(fine, dtype=np.float32) + 0.5) * pixel - 1
    across, down = np.meshgrid(line, line)
    image = background_colour(params, across, down, rng)
    x, y = _own_coordinates(params, across, down, rng, pixel)
    image, parts = _draw(params, image, x, y, pixel, rng)
    if finer == 2:
        image = image.reshape(3, size, 2, size, 2).mean((2, 4))
        parts = parts[::2, ::2]
    return Garment(_photograph(params, image, rng), np.ascontiguousarray(parts), params)


def _own_coordinates(
    params: GarmentParams, across: np.ndarray, down: np.ndarray, rng: np.random.Generator, pixel: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel lies on the garment: moved, turned, sheared, and a little out of shape."""
    x, y = across - params.shift[0], down - params.shift[1]
    turn = np.deg2rad(params.turn)
    x, y = np.cos(turn) * x + np.sin(turn) * y, -np.sin(turn) * x + np.cos(turn) * y
    x = (x + params.shear * y) / params.zoom
    y = y / params.zoom
    bent = [0.012 * params.crumple * smooth_noise(rng, x.shape, 0.16 / pixel) for _ in range(2)]
    return (x + bent[0]).astype(np.float32), (y + bent[1]).astype(np.float32)


def _draw(
    params: GarmentParams, image: np.ndarray, x: np.ndarray, y: np.ndarray, pixel: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The garment over its background, and the parts."""
    pixel = pixel / params.zoom
    torso = body(params, x, y)
    arms = [sleeve(params, side, x, y) for side in (-1, 1)]
    hole = polygon_distance(x, y, opening(params))
    front = np.maximum(torso.distance, -hole)
    back_edge = float(shoulder_line(params, params.neck_width)) - 0.02
    back_edge = back_edge + BACK * (1 - np.clip(x / params.neck_width, -1, 1) ** 2)
    inside = np.maximum(np.maximum(hole, torso.distance - 0.01), back_edge - y)
    whole = np.minimum.reduce([front, inside, arms[0].distance, arms[1].distance])

    # A soft shadow away from the light.
    cover = soft_step(whole, pixel)
    away = [0.045 / pixel * part for part in (-params.light[1], -params.light[0])]
    shadow = ndi.shift(ndi.gaussian_filter(cover, 0.03 / pixel), away, order=1, mode="nearest")
    image = image * (1 - 0.45 * shadow * (1 - cover))
    parts = np.zeros(x.shape, np.uint8)
    folds = _folds(params, x, y, pixel, rng)

    def paint(distance: np.ndarray, colour: np.ndarray, value: int) -> None:
        nonlocal image
        share = soft_step(distance, pixel)
        image = image + share * (np.clip(colour, 0, 1) - image)
        parts[distance < 0] = value

    inner = fabric_colour(params, torso.along, torso.across, pixel, rng) * DARK
    paint(inside, inner * (1 + 0.3 * folds), PARTS.index("inside") + 1)
    colour = fabric_colour(params, torso.along, torso.across, pixel, rng)
    light = _tube(params, torso.round, np.array([1.0, 0.0])) + folds
    seam = 1 - 0.25 * soft_step(np.abs(y - (TOP + params.length - 0.06)) - 0.006, pixel)
    colour = colour * light * seam
    band = soft_step(hole - BAND, pixel)
    ribs = 0.90 + 0.06 * np.sin(x * 2 * np.pi / max(0.022, 4 * pixel))
    edge = 1 - 0.35 * soft_step(np.abs(hole - BAND) - 0.005, pixel)
    colour = (colour * (1 - band) + band * ribs * _own(params) * light) * edge
    paint(front, colour, PARTS.index("body") + 1)
    if params.neckline == "placket":
        image, parts = _placket(params, image, parts, x, y, front, pixel, light)
    for number, (side, arm) in enumerate(zip((-1, 1), arms)):
        badge = params.fabric == "print"  # on the chest alone
        colour = _own(params) if badge else fabric_colour(params, arm.along, arm.across, pixel, rng)
        angle = np.deg2rad(params.arms[number])
        light = _tube(params, arm.round, np.array([-np.cos(angle), side * np.sin(angle)])) + folds
        cuff = 1 - 0.25 * soft_step(np.abs(arm.along - (params.sleeve_length - 0.045)) - 0.006, pixel)
        # The seam at the shoulder, and the side that lies on the body, are a little darker.
        rim = 1 - 0.35 * np.exp(-np.clip(-arm.distance, 0, None) / 0.018) * (torso.distance < 0)
        paint(arm.distance, colour * light * cuff * rim, PARTS.index("left sleeve") + 1 + number)
    return image, parts


def _own(params: GarmentParams) -> np.ndarray:
    return np.array(params.colour, np.float32)[:, None, None]


def _tube(params: GarmentParams, place: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Brightness of a tube's surface, 1 on average: bright to the light, dark at its far side and its edges."""
    toward = float(np.dot(across, params.light))
    return (1.02 + 0.16 * toward * place - 0.22 * place**4).astype(np.float32)


def _folds(params: GarmentParams, x: np.ndarray, y: np.ndarray, pixel: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness that folds add: long ones down the body, and creases that run from the armpits."""
    long = smooth_noise(rng, x.shape, (0.16 / pixel, 0.035 / pixel)) * 0.07
    fine = smooth_noise(rng, x.shape, (0.03 / pixel, 0.05 / pixel)) * 0.025
    found = long + fine
    for side in (-1, 1):
        px, py = x - side * 0.9 * params.shoulder, y - (TOP + 0.36)
        angle, away = np.arctan2(py, -side * px), np.hypot(px, py)
        found = found + 0.10 * np.sin(7 * angle + params.seed % 7) * np.exp(-away / 0.16)
    return (params.crumple * found).astype(np.float32)


def _placket(
    params: GarmentParams,
    image: np.ndarray,
    parts: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    front: np.ndarray,
    pixel: float,
    light: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """A slit below the opening with a strip of fabric on it and three buttons."""
    top = float(shoulder_line(params, params.neck_width)) + params.neck_depth
    strip = np.maximum(np.maximum(np.abs(x) - 0.040, np.abs(y - (top + params.slit / 2)) - params.slit / 2), front)
    line = np.minimum(np.abs(np.abs(x) - 0.040), np.where(y > top, np.abs(y - top - params.slit), 1.0)) - 0.006
    share = soft_step(strip, pixel)
    image = image + share * (np.clip(0.93 * _own(params) * light, 0, 1) - image)
    image = image * (1 - 0.5 * soft_step(np.maximum(line, strip - 0.008), pixel))
    parts[strip < 0] = PARTS.index("placket") + 1
    bright = np.mean(params.colour) > 0.5
    button = np.full((3, 1, 1), 0.18 if bright else 0.88, np.float32)
    for place in (0.18, 0.5, 0.82):
        away = np.hypot(x, y - (top + place * params.slit)) - 0.018
        image = image + soft_step(np.maximum(away, front), pixel) * (button - image)
    return image, parts


def _photograph(params: GarmentParams, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a camera makes of it: colour cast, contrast, blur, noise; float32 (3, S, S) in [0, 1]."""
    size = image.shape[-1]
    image = np.clip(image, 0, 1) ** params.gamma * np.array(params.cast, np.float32)[:, None, None]
    if params.blur * size > 0.15:
        image = ndi.gaussian_filter(image, (0, params.blur * size, params.blur * size))
    image = image + params.noise * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image, 0, 1).astype(np.float32)

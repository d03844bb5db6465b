"""Colours of fabrics and of what lies behind a garment, in the fabric's own coordinates."""

from __future__ import annotations

import numpy as np

from synthzoo.phantoms.fields import smooth_noise
from synthzoo.phantoms.garments.params import GarmentParams

PALE = 0.82  # of the background's second shade


def soft_step(distance: np.ndarray, pixel: float) -> np.ndarray:
    """1 where a signed distance is negative, 0 where it is positive, a ramp over one pixel between."""
    return np.clip(0.5 - distance / pixel, 0, 1).astype(np.float32)


def fabric_colour(
    params: GarmentParams, along: np.ndarray, across: np.ndarray, pixel: float, rng: np.random.Generator
) -> np.ndarray:
    """RGB float32 (3, H, W) in [0, 1] of the fabric at coordinates (H, W).

    Args:
        params: of the garment.
        along, across: of the fabric, in half widths of the picture.
        pixel: side of a pixel, for soft edges.
        rng: of the heather.
    """
    share = pattern_share(params, along, across, pixel, rng)
    base, second = (np.array(colour, np.float32)[:, None, None] for colour in (params.colour, params.second))
    return base + share * (second - base)


def pattern_share(
    params: GarmentParams, along: np.ndarray, across: np.ndarray, pixel: float, rng: np.random.Generator
) -> np.ndarray:
    """Share of the second colour at coordinates, float32 (H, W) in [0, 1]."""
    shape, period = along.shape, params.period
    turn = np.deg2rad(params.angle)
    first = np.cos(turn) * along + np.sin(turn) * across
    other = -np.sin(turn) * along + np.cos(turn) * across
    if params.fabric == "heather":
        grain = smooth_noise(rng, shape, (0.6 / pixel * 0.012, 0.6 / pixel * 0.03))
        return np.clip(0.25 + 0.18 * grain, 0, 1).astype(np.float32)
    if params.fabric == "stripes":
        return soft_step(np.abs(first % period - period / 2) - period / 5, pixel)
    if params.fabric == "checks":
        lines = [soft_step(np.abs(one % period - period / 2) - period / 6, pixel) for one in (first, other)]
        return 0.5 * (lines[0] + lines[1])
    if params.fabric == "dots":
        row = np.floor(first / period)
        away = np.hypot(first % period - period / 2, (other + 0.5 * period * (row % 2)) % period - period / 2)
        return soft_step(away - period / 4, pixel)
    if params.fabric == "print":  # a badge on the chest, below every opening
        away = np.hypot(1.1 * (along + 0.02), across)
        ring = np.abs(away - period * 0.75) - period * 0.16
        return np.maximum(
            soft_step(ring, pixel), soft_step(np.abs(along + 0.02) + np.abs(across) - 0.4 * period, pixel)
        )
    return np.zeros(shape, np.float32)


def background_colour(params: GarmentParams, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """RGB float32 (3, H, W) in [0, 1] of what lies behind the garment."""
    base = np.array(params.back, np.float32)[:, None, None]
    pixel = float(x[0, 1] - x[0, 0])
    tilt = 1 + 0.10 * (params.light[0] * x + params.light[1] * y)
    shade = np.ones(x.shape, np.float32)
    if params.background == "boards":
        width = 0.36
        board = np.floor((x + 10) / width).astype(int)
        tones = 1 + 0.10 * rng.standard_normal(64)
        grain = smooth_noise(rng, x.shape, (0.25 / pixel, 0.008 / pixel + 0.3))
        seam = soft_step(np.abs((x + 10) % width - width / 2) - (width / 2 - 0.008), pixel)
        shade = tones[board % 64] * (1 + 0.05 * grain) * (0.65 + 0.35 * seam)
    elif params.background == "tiles":
        side = 0.42
        dark = (np.floor((x + 10) / side) + np.floor((y + 10) / side)) % 2
        shade = PALE + (1 - PALE) * dark
    elif params.background == "cloth":
        shade = 1 + 0.09 * smooth_noise(rng, x.shape, 0.12 / pixel) + 0.03 * smooth_noise(rng, x.shape, 0.7)
    return np.clip(base * (tilt * shade).astype(np.float32), 0, 1)

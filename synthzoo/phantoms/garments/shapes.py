"""Outlines of a garment's parts and signed distances to them; x to the right, y down, the neck at the top."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from synthzoo.phantoms.garments.params import GarmentParams

TOP = -0.62  # y of the neck's base
DROP = 0.09  # from there to the shoulders' ends
BACK = 0.035  # depth of the back's own opening
NECK = 0.125  # half width where the shoulders begin
SAMPLES = 25  # points of a curve


class Part(NamedTuple):
    """A part of a garment, each array of the shape of the grid.

    Attributes:
        distance: to its outline, negative inside.
        along, across: coordinates of its fabric.
        round: how far from its middle line, -1 to 1, for the shading of a tube.
    """

    distance: np.ndarray
    along: np.ndarray
    across: np.ndarray
    round: np.ndarray


def polygon_distance(x: np.ndarray, y: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Signed distance of points to a closed polygon, negative inside.

    Args:
        x, y: of the points, any shape.
        corners: float (N, 2), in order; N at least 3.
    """
    nearest = np.full(x.shape, np.inf, np.float32)
    inside = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0)):
        ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
        share = np.clip((px * ex + py * ey) / max(ex * ex + ey * ey, 1e-12), 0, 1)
        nearest = np.minimum(nearest, (px - share * ex) ** 2 + (py - share * ey) ** 2)
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (px < ex * py / ey)
    return np.where(inside, -1, 1) * np.sqrt(nearest)


def shoulder_line(params: GarmentParams, across: float | np.ndarray) -> np.ndarray:
    """y of the shoulders at a distance from the middle."""
    share = np.clip((np.abs(across) - NECK) / (params.shoulder - NECK), 0, 1)
    return TOP + DROP * share


def body(params: GarmentParams, x: np.ndarray, y: np.ndarray) -> Part:
    """The body without its opening."""
    low = TOP + params.length
    armpit = TOP + DROP + 0.27
    side = [
        (NECK, TOP),
        (params.shoulder, TOP + DROP),
        (0.985 * params.shoulder, TOP + DROP + 0.10),
        (0.94 * params.shoulder, armpit),
        (0.5 * (0.94 * params.shoulder + params.waist), 0.5 * (armpit + 0.1)),
        (params.waist, 0.12),
        (0.5 * (params.waist + params.hem), 0.5 * (0.12 + low)),
        (params.hem, low - 0.02),
        (0.6 * params.hem, low + 0.005),
    ]
    corners = np.array([*side, *[(-a, b) for a, b in side[::-1]]], np.float32)
    reach = np.interp(y, [TOP, armpit, 0.12, low], [params.shoulder, params.shoulder, params.waist, params.hem])
    return Part(polygon_distance(x, y, corners), y, x, np.clip(x / reach, -1, 1))


def opening(params: GarmentParams) -> np.ndarray:
    """Corners of the opening at the front, float (N, 2); it is open to above."""
    share = np.linspace(-1, 1, SAMPLES)
    profile = {
        "v": 1 - np.abs(share),
        "square": (1 - np.abs(share) ** 9) ** (1 / 9),
    }.get(params.neckline, np.sqrt(1 - share**2))
    top = float(shoulder_line(params, params.neck_width))
    edge = np.stack([params.neck_width * share, top + params.neck_depth * profile], axis=1)
    return np.concatenate([edge, [(params.neck_width, TOP - 0.5), (-params.neck_width, TOP - 0.5)]]).astype(np.float32)


def sleeve(params: GarmentParams, side: int, x: np.ndarray, y: np.ndarray) -> Part:
    """The sleeve of one side, -1 left and 1 right, as a tube that bends at the elbow."""
    start = np.array([side * (params.shoulder - 0.085), TOP + DROP + 0.115])
    angle, bend = (np.deg2rad(pair[(side + 1) // 2]) for pair in (params.arms, params.bends))
    wide, narrow = params.sleeve_width
    elbow_at = 0.40
    pieces, length = [], params.sleeve_length
    for first, last, turn in ((0.0, min(length, elbow_at), angle), (elbow_at, length, angle - bend)):
        if last > first:
            direction = np.array([side * np.sin(turn), np.cos(turn)])
            pieces.append((first, last, direction))
    found: Part | None = None
    joint = start
    for first, last, direction in pieces:
        dx, dy = x - joint[0], y - joint[1]
        along = dx * direction[0] + dy * direction[1] + first
        across = -dx * direction[1] + dy * direction[0]
        width = wide + (narrow - wide) * np.clip(along / length, 0, 1)
        tube = np.maximum(np.abs(across) - width, along - last)
        distance = np.where(along < first, np.hypot(along - first, across) - width, tube)  # joints are round
        piece = Part(distance, along, across, np.clip(across / width, -1, 1))
        joint = joint + direction * (last - first)
        if found is None:
            found = piece
        else:  # the lower arm lies over the upper one
            lower = piece.distance < np.minimum(0, found.distance) + 1e-6
            lower |= (piece.distance < found.distance) & (found.distance > 0)
            best = [np.where(lower, new, old) for new, old in zip(piece[1:], found[1:])]
            found = Part(np.minimum(piece.distance, found.distance), *best)
    assert found is not None  # the upper arm is always there
    return found

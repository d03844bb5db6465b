"""An object's layer: round limbs, ellipses and outlines, shaded as solids under one light, painted over each other.

Coordinates are the object's own, x to its front and y up, and a `Pose` places them in the picture. A part is shaded by
the normal of the solid that its outline stands for: n = (d / r, sqrt(1 - |d / r|^2)) for limbs and ellipses, and the
slope of a bevelled plate for outlines; shade = ambient + (1 - ambient) max(0, n . light) / light_z.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage as ndi
from skimage.draw import polygon

from synthzoo.phantoms.fields import smooth_noise

Paint = Callable[[np.ndarray, np.ndarray], np.ndarray]  # own coordinates x, y of N pixels -> colours (N, 3)
AMBIENT = 0.5


@dataclass(frozen=True)
class Pose:
    """Where an object stands: `x`, `y` of its origin and `scale` in pixels a unit, all of the finer grid.

    Attributes:
        mirrored: it faces left.
        lean: radians by which it is turned about its origin, to its front.
    """

    x: float
    y: float
    scale: float
    mirrored: bool = False
    lean: float = 0.0

    def place(self, points: np.ndarray) -> np.ndarray:
        """Own coordinates (N, 2) -> columns and rows (N, 2)."""
        cos, sin = np.cos(self.lean), np.sin(self.lean)
        x = points[:, 0] * cos + points[:, 1] * sin
        y = points[:, 1] * cos - points[:, 0] * sin
        return np.stack([self.x + self.scale * x * (-1 if self.mirrored else 1), self.y - self.scale * y], 1)

    def unplace(self, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Columns and rows -> own coordinates."""
        u = (columns - self.x) / self.scale * (-1 if self.mirrored else 1)
        v = (self.y - rows) / self.scale
        cos, sin = np.cos(self.lean), np.sin(self.lean)
        return u * cos - v * sin, v * cos + u * sin


def curve(points: Sequence[ArrayLike] | np.ndarray, closed: bool = True, steps: int = 8) -> np.ndarray:
    """Points (N, 2) on a Catmull-Rom curve through control points; an open one ends at its own ends."""
    p = np.asarray(points, np.float64)
    p = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    found = []
    for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:]):
        found.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate(found if closed else [*found, p[-2:-1]])


class Layer:
    """The finer grid on which one object is painted.

    Args:
        size: of the finer grid in pixels.
        pose: of the object.
        light: direction to the light, (3,), x to the right, y down, z to the viewer; of unit length.
        rng: of the texture.
    """

    def __init__(self, size: int, pose: Pose, light: np.ndarray, rng: np.random.Generator) -> None:
        self.pose, self.light, self.rng = pose, light, rng
        self.colour = np.zeros((size, size, 3), np.float32)
        self.covered = np.zeros((size, size), bool)

    def limb(
        self, start: ArrayLike, end: ArrayLike, radius: float, last: float | None = None, paint: Paint | None = None
    ) -> None:
        """Paint a round cone from `start` to `end`, whose radius goes from `radius` to `last`."""
        a, b = self.pose.place(np.array([start, end], np.float64))
        first, last = self.pose.scale * radius, self.pose.scale * (radius if last is None else last)
        window = self._window(np.array([a, b]), max(first, last))
        if window is None:
            return
        rows, columns, where = window
        along, across = b - a, np.stack([columns - a[0], rows - a[1]])
        t = ((across * along[:, None, None]).sum(0) / max(float(along @ along), 1e-9)).clip(0, 1)
        offset = across - along[:, None, None] * t
        reach = np.maximum(first + (last - first) * t, 1e-6)
        self._paint(where, rows, columns, offset / reach, paint)

    def limbs(self, points: Sequence[ArrayLike], radii: Sequence[float], paint: Paint | None = None) -> None:
        """Paint a chain of limbs through points, one radius a point."""
        for start, end, first, last in zip(points, points[1:], radii, radii[1:]):
            self.limb(start, end, first, last, paint)

    def ellipse(
        self,
        centre: ArrayLike,
        half: tuple[float, float],
        turn: float = 0.0,
        paint: Paint | None = None,
        flat: bool = False,
    ) -> None:
        """Paint an ellipse of half axes `half`, turned by radians against the clock; a flat one has no relief."""
        x0, y0 = (float(n) for n in np.asarray(centre, np.float64))
        middle = self.pose.place(np.array([[x0, y0]]))
        window = self._window(middle, self.pose.scale * max(half))
        if window is None:
            return
        rows, columns, where = window
        x, y = self.pose.unplace(columns, rows)
        u, v = x - x0, y - y0
        cos, sin = np.cos(turn), np.sin(turn)
        q = np.stack([(u * cos + v * sin) / half[0], (v * cos - u * sin) / half[1]])
        own = np.stack([q[0] * cos - q[1] * sin, q[0] * sin + q[1] * cos])
        screen = np.stack([own[0] * (-1 if self.pose.mirrored else 1), -own[1]])
        self._paint(where, rows, columns, screen, paint, flat)

    def outline(
        self, points: Sequence[ArrayLike] | np.ndarray, paint: Paint, bevel: float = 0.06, smooth: bool = True
    ) -> None:
        """Paint a closed outline as a plate whose edge is rounded over `bevel` own units; 0 leaves it flat.

        Args:
            points: corners, or control points of a smooth curve.
            smooth: whether a curve goes through them.
        """
        placed = self.pose.place(np.asarray(curve(points) if smooth else points, np.float64))
        window = self._window(placed, 1.0)
        if window is None:
            return
        rows, columns, where = window
        inside = np.zeros(rows.shape, bool)
        at = polygon(placed[:, 1] - rows[0, 0], placed[:, 0] - columns[0, 0], inside.shape)
        inside[at] = True
        slope = np.zeros((2, *inside.shape))
        if bevel:
            depth = ndi.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1] / max(self.pose.scale * bevel, 1e-6)
            height = np.sqrt(1 - (1 - depth.clip(0, 1)) ** 2)
            height = ndi.gaussian_filter(height, 0.2 * self.pose.scale * bevel)
            slope = -np.stack(np.gradient(height)[::-1]) * self.pose.scale * bevel
            slope /= np.sqrt(1 + (slope**2).sum(0))
        slope[:, ~inside] = 2.0  # outside of the unit disc: nothing is painted there
        self._paint(where, rows, columns, slope, paint)

    def _window(self, points: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray, tuple[slice, slice]] | None:
        size = self.covered.shape[0]
        low = np.floor(points.min(0) - reach - 1).astype(int).clip(0, size)
        high = np.ceil(points.max(0) + reach + 2).astype(int).clip(0, size)
        if (high <= low).any():
            return None
        where = (slice(low[1], high[1]), slice(low[0], high[0]))
        rows, columns = np.mgrid[where].astype(np.float64)
        return rows, columns, where

    def _paint(
        self,
        where: tuple[slice, slice],
        rows: np.ndarray,
        columns: np.ndarray,
        normal: np.ndarray,
        paint: Paint | None,
        flat: bool = False,
    ) -> None:
        """Paint where |normal| < 1; None for the paint shades what is there already."""
        away = (normal**2).sum(0)
        inside = away < 1
        if not inside.any():
            return
        n = normal[:, inside]
        facing = n[0] * self.light[0] + n[1] * self.light[1] + np.sqrt(1 - away[inside]) * self.light[2]
        shade = np.ones_like(facing) if flat else AMBIENT + (1 - AMBIENT) * facing.clip(0) / self.light[2]
        own = self.pose.unplace(columns[inside], rows[inside])
        colours = self.colour[where][inside] if paint is None else paint(*own)
        self.colour[where][inside] = (colours * shade[:, None]).clip(0, 1)
        self.covered[where] |= inside


def plain(colour: ArrayLike) -> Paint:
    """One colour, red, green and blue in [0, 1]."""
    held = np.asarray(colour, np.float32)
    return lambda x, y: np.broadcast_to(held, (len(x), 3))


def mottled(
    colour: ArrayLike,
    rng: np.random.Generator,
    amount: float = 0.12,
    fine: float = 0.03,
    stretch: float = 1.0,
    other: ArrayLike | None = None,
    share: float = 0.4,
) -> Paint:
    """A colour with grain of about `fine` own units, and patches of another colour over about `share` of it.

    Args:
        amount: standard deviation of the grain, as a share of the colour.
        stretch: the grain is so much longer than it is high, as fur and cloth are.
    """
    cells = 96
    grain = smooth_noise(rng, (cells, cells), 1.0)
    patches = smooth_noise(rng, (cells, cells), 6.0)
    held, second = np.asarray(colour, np.float32), np.asarray(colour if other is None else other, np.float32)
    cut = float(np.quantile(patches, 1 - share))

    def paint(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        column, row = (np.floor(v).astype(int) % cells for v in (x / (fine * stretch), y / fine))
        wide, high = (np.floor(v).astype(int) % cells for v in (x / 0.03, y / 0.03))
        base = np.where((patches[high, wide] > cut)[:, None], second, held)
        return base * (1 + amount * grain[row, column])[:, None]

    return paint


def striped(colour: ArrayLike, other: ArrayLike, width: float, upright: bool = False) -> Paint:
    """Stripes of two colours, each `width` own units wide."""
    pair = np.asarray([colour, other], np.float32)
    return lambda x, y: pair[np.floor((x if upright else y) / width).astype(int) % 2]


def graded(below: ArrayLike, above: ArrayLike, low: float, high: float) -> Paint:
    """A colour that goes over from `below` at y = `low` to `above` at y = `high`."""
    first, second = np.asarray(below, np.float32), np.asarray(above, np.float32)

    def paint(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        share = ((y - low) / (high - low)).clip(0, 1)[:, None]
        return (first * (1 - share) + second * share).astype(np.float32)

    return paint

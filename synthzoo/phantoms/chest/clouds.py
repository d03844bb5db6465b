"""Bones, vessels and devices as clouds of points that carry excess mass, the integral of HU over volume, HU mm3.

A cloud is added to the solid tissue: splatted bilinearly on a detector, or trilinearly into voxels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage as ndi

Cloud = tuple[np.ndarray, np.ndarray]  # float32 (N, 3) in mm, float32 (N,) in HU mm3
SHELLS = (1.0, 0.72, 0.36)  # of a bone's section: cortex, and two that carry the marrow


def join(clouds: Sequence[Cloud]) -> Cloud:
    """One cloud of several, float32."""
    points, mass = zip(*clouds)
    return np.concatenate(points).astype(np.float32), np.concatenate(mass).astype(np.float32)


def tube(
    path: np.ndarray | Sequence[Sequence[float]],
    half_up: float,
    half_across: float,
    cortex_mm: float,
    cortex_hu: float,
    marrow_hu: float,
    step_mm: float = 1.1,
    up: Sequence[float] = (0, 0, 1),
    taper: Sequence[float] | None = None,
    smooth_mm: float = 3.3,
    fade: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Cloud:
    """Cloud of a bone along a path: elliptic section, a cortical shell that is thicker below, marrow within.

    Args:
        path: (N, 3) in mm.
        half_up, half_across: half axes of the section along `up` and across it.
        cortex_mm, cortex_hu: thickness and HU of the shell.
        marrow_hu: HU of what it holds.
        step_mm: distance of the points.
        taper: factors on the half axes, spread evenly over the path.
        smooth_mm: standard deviation by which the path's corners are rounded.
        fade: distances in mm from the path's end, and factors on the mass there.
    """
    path, upward = np.asarray(path, float), np.asarray(up, float)
    along = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
    n = max(2, int(along[-1] / step_mm) + 1)
    step = along[-1] / (n - 1)
    centre = np.stack([np.interp(np.linspace(0, along[-1], n), along, path[:, k]) for k in range(3)], 1)
    if smooth_mm:
        centre = ndi.gaussian_filter1d(centre, smooth_mm / step, axis=0, mode="nearest")
    tangent = _unit(np.gradient(centre, axis=0))
    v = _unit(upward - (tangent @ upward)[:, None] * tangent)
    u = np.cross(tangent, v)
    size = np.ones(n) if taper is None else np.interp(np.linspace(0, 1, n), np.linspace(0, 1, len(taper)), taper)
    weight = np.full(n, step) if fade is None else step * np.interp(np.arange(n)[::-1] * step, *fade)
    clouds = []
    for shell in SHELLS:
        m = max(8, int(2 * np.pi * shell * max(half_up, half_across) / step_mm))
        angle = (np.arange(m) + 0.5) * 2 * np.pi / m
        c, d = shell * half_up * np.cos(angle), shell * half_across * np.sin(angle)
        spread = c[None, :, None] * v[:, None] + d[None, :, None] * u[:, None]
        points = centre[:, None] + size[:, None, None] * spread
        if shell == 1:
            arc = np.hypot(half_up * np.sin(angle), half_across * np.cos(angle)) * 2 * np.pi / m
            mass = (size * weight)[:, None] * arc * cortex_mm * cortex_hu * (1 + 0.35 * (np.cos(angle) < -0.6))
        else:
            mass = np.repeat((size**2 * weight * np.pi * half_up * half_across / 2 / m * marrow_hu)[:, None], m, 1)
        clouds.append((points.reshape(-1, 3), mass.reshape(-1)))
    return join(clouds)


def plate(
    corner: np.ndarray, first: np.ndarray, second: np.ndarray, area_hu: float, spacing_mm: float, bow_mm: float
) -> Cloud:
    """Cloud of a triangular blade of `area_hu` HU mm, bowed backward by `bow_mm` in its middle."""
    area = float(np.linalg.norm(np.cross(first, second))) / 2
    n = max(4, int(np.sqrt(2 * area) / spacing_mm))
    a, b = ((v.ravel() + 0.5) / n for v in np.meshgrid(np.arange(n), np.arange(n)))
    inside = a + b < 1
    a, b = a[inside, None], b[inside, None]
    bow = np.array([0, -bow_mm, 0]) * np.sin(4 * np.pi * a * b)
    points = corner + a * first + b * second + bow
    return points, np.full(len(points), area / len(points) * area_hu)


def ball(centre: np.ndarray, radius_mm: float, shell_hu: float, inner_hu: float, spacing_mm: float) -> Cloud:
    """Cloud of a ball with a shell of `shell_hu` HU mm, filled evenly with `inner_hu`."""
    n = max(50, int(4 * np.pi * (radius_mm / spacing_mm) ** 2))
    k = np.arange(n) + 0.5
    polar, turn = np.arccos(1 - 2 * k / n), np.pi * (1 + 5**0.5) * k
    sphere = radius_mm * np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], 1)
    layers = max(2, int(radius_mm / spacing_mm / 3))
    depth = ((np.arange(n)[:, None] * 0.618 + np.arange(layers) / layers) % 1) ** (1 / 3)
    inner = np.repeat(sphere, layers, 0) * depth.reshape(-1, 1)
    points = np.concatenate([centre + sphere, centre + inner])
    shell = 4 * np.pi * radius_mm**2 / n * shell_hu
    filling = 4 / 3 * np.pi * radius_mm**3 / (n * layers) * inner_hu
    return points, np.r_[np.full(n, shell), np.full(n * layers, filling)]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9)

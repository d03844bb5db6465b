"""Foreign images for synthetic anomalies: procedural textures and the photographs that scikit-image installs.

They stand in for the published foreign sets (abdominal CT, ImageNet), which need agreements.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import ndimage as ndi

PHOTOGRAPHS = ("brick.png", "camera.png", "coins.png", "grass.png", "gravel.png", "moon.png", "page.png", "cell.png")


@lru_cache(maxsize=1)
def photographs() -> list[np.ndarray]:
    """Grey photographs as float32 (h, w) in [0, 1], about 256 pixels wide; an empty list without the files."""
    import skimage
    from skimage.io import imread

    found = []
    for name in PHOTOGRAPHS:
        path = Path(skimage.__file__).parent / "data" / name
        if path.is_file():
            image = imread(path).astype(np.float32)
            image = image[..., :3].mean(-1) if image.ndim == 3 else image
            step = max(1, min(image.shape) // 256)
            found.append(image[::step, ::step] / 255)
    return found


def _noise(rng: np.random.RandomState, shape: Sequence[int], sigma: float | Sequence[float]) -> np.ndarray:
    field = ndi.gaussian_filter(rng.standard_normal(shape).astype(np.float32), sigma, mode="wrap")
    return field / max(float(field.std()), 1e-6)


def procedural_texture(shape: tuple[int, ...], rng: np.random.RandomState) -> np.ndarray:
    """One of: multi-scale noise, blobs with sharp edges, stripes, cells with walls, rings; float32 `shape`."""
    kind = rng.randint(5)
    fine, coarse = rng.uniform(0.6, 2.0), rng.uniform(2.0, 8.0)
    if kind == 0:
        return _noise(rng, shape, fine) + rng.uniform(0.5, 2) * _noise(rng, shape, coarse)
    if kind == 1:
        edges = np.tanh(rng.uniform(2, 8) * (_noise(rng, shape, coarse) - rng.uniform(-0.5, 1)))
        return edges + 0.3 * _noise(rng, shape, fine)
    axes = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij")
    if kind == 2:
        direction = rng.standard_normal(len(shape))
        direction /= np.linalg.norm(direction)
        phase = sum(d * a for d, a in zip(direction, axes)) * 2 * np.pi / rng.uniform(3, 14)
        return np.sin(phase + rng.uniform(0, 2) * _noise(rng, shape, coarse)).astype(np.float32)
    if kind == 3:
        points = np.ones(shape, bool)
        count = max(4, int(np.prod(shape) / rng.uniform(4, 14) ** len(shape)))
        points[tuple(rng.randint(0, n, count) for n in shape)] = False
        distance, nearest = ndi.distance_transform_edt(points, return_indices=True)
        levels = rng.standard_normal(shape).astype(np.float32)[tuple(nearest)]
        return levels - rng.uniform(-0.3, 0.3) * distance.astype(np.float32)
    centre = [rng.uniform(0, n) for n in shape]
    radius = np.sqrt(sum((a - c) ** 2 for a, c in zip(axes, centre))) + rng.uniform(0, 3) * _noise(rng, shape, coarse)
    return np.cos(radius * 2 * np.pi / rng.uniform(5, 16)).astype(np.float32)


def foreign_image(shape: tuple[int, ...], rng: np.random.RandomState, photograph: float = 0.5) -> np.ndarray:
    """A foreign image of `shape`, z-scored float32: a crop of a photograph (two axes only) or a procedural texture."""
    shown = photographs() if len(shape) == 2 and rng.rand() < photograph else []
    if shown:
        image = shown[rng.randint(len(shown))]
        crop = [int(n * rng.uniform(1.0, min(2.0, s / n))) for n, s in zip(shape, image.shape)]
        start = [rng.randint(0, s - c + 1) for s, c in zip(image.shape, crop)]
        image = image[start[0] : start[0] + crop[0], start[1] : start[1] + crop[1]]
        image = ndi.zoom(image, [n / c for n, c in zip(shape, crop)], order=1)[: shape[0], : shape[1]]
    else:
        image = procedural_texture(shape, rng)
    return ((image - image.mean()) / max(float(image.std()), 1e-3)).astype(np.float32)

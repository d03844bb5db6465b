"""Spaces in which images are compared: pixels, edges, and what a re-identification network sees.

None but the last is trained, so none needs a download or fits one generator better than another.

    pixels  every image on one small grid, mean 0, standard deviation 1: brightness and contrast change nothing
    edges   energy of the image's slope along the axes and the diagonals, relative to its surroundings, pooled in cells:
            a small shift, a curve laid over the grey values and their inversion change little
    identity  embeddings of a network that was trained to tell patients apart
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from synthzoo.evaluation.privacy.rows import Compare, root_mean_square

# Largest common grid, grid of the pixels' space, and cells of the edges' space, per axis, by kind.
GRIDS = {"image": (64, 64), "volume": (32, 32, 32), "video": (16, 32, 32)}
SMALL = {"image": (32, 32), "volume": (16, 16, 16), "video": (8, 16, 16)}
CELLS = {"image": (16, 16), "volume": (6, 6, 6), "video": (4, 8, 8)}
# Mirror images of a sample that count as that sample: axes that are turned.
MIRRORED: dict[str, tuple[tuple[int, ...], ...]] = {
    "image": ((), (0,), (1,), (0, 1)),
    "volume": ((), (0,), (1,), (2,)),
    "video": ((), (1,), (2,), (1, 2)),
}
FLAT = 1e-6
IDENTITY = "identity"


def on_grid(image: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    """An image averaged to a grid, or repeated where the grid is finer, float32 of mean 0 and standard deviation 1."""
    if image.shape != tuple(grid):
        image = F.interpolate(torch.from_numpy(image)[None, None], tuple(grid), mode="area")[0, 0].numpy()
    image = image - image.mean()
    return image / max(float(image.std()), FLAT)


class PixelSpace:
    """Pixels on a small grid."""

    name, title = "pixels", "the image itself"
    compare: Compare = staticmethod(root_mean_square)

    def __init__(self, kind: str, grid: Sequence[int]) -> None:
        self.small = tuple(min(a, b) for a, b in zip(SMALL[kind], grid, strict=True))

    def embed(self, grids: np.ndarray, images: Sequence[np.ndarray], axes: tuple[int, ...]) -> np.ndarray:
        """Rows (n, K) of images, mirrored along `axes`, from their grids (n, ...)."""
        small = F.interpolate(torch.from_numpy(mirrored(grids, axes))[:, None], self.small, mode="area")
        rows = small.flatten(1).numpy()
        rows = rows - rows.mean(1, keepdims=True)
        return rows / np.maximum(rows.std(1, keepdims=True), FLAT)


class EdgeSpace:
    """Energy of the slope in each direction, relative to the surroundings, in cells."""

    name, title = "edges", "its outlines"
    compare: Compare = staticmethod(root_mean_square)

    def __init__(self, kind: str, grid: Sequence[int]) -> None:
        self.cells = tuple(min(a, b) for a, b in zip(CELLS[kind], grid, strict=True))

    def embed(self, grids: np.ndarray, images: Sequence[np.ndarray], axes: tuple[int, ...]) -> np.ndarray:
        """Rows (n, K) of images, mirrored along `axes`, from their grids (n, ...)."""
        grids = mirrored(grids, axes)
        slopes = np.gradient(grids, axis=tuple(range(1, grids.ndim)))
        diagonal = [one + sign * two for one, two in combinations(slopes, 2) for sign in (1, -1)]
        energy = np.stack([*slopes, *diagonal], 1) ** 2
        pooled = F.interpolate(torch.from_numpy(energy), self.cells, mode="area").numpy()
        around = pooled.sum(1, keepdims=True)
        found = np.sqrt(pooled / (around + 0.1 * around.mean(axis=tuple(range(2, around.ndim)), keepdims=True) + FLAT))
        rows = found.reshape(len(grids), -1)
        return rows / np.maximum(np.sqrt((rows**2).mean(1, keepdims=True)), FLAT)


class IdentitySpace:
    """Embeddings of a re-identification network; the distance is how far its logit is from that of equal images.

    Args:
        network: has `logits(queries, references)` and takes frames (N, 1, S, S), see
            `synthzoo.systems.hidden_subspaces.network.ReidNetwork`.
        size: S.
        instrument: name of the bundle that it comes from.
        frames: of a video, over which its embedding is averaged.
    """

    name, title, kinds = IDENTITY, "who is shown, as a re-identification network sees it", ("image", "video")

    def __init__(self, network: Any, size: int, instrument: str, frames: int = 4) -> None:
        self.network, self.size, self.instrument, self.frames = network.eval(), int(size), instrument, int(frames)
        self.device = next(network.parameters()).device
        with torch.no_grad():
            nothing = network(torch.zeros(1, 1, self.size, self.size, device=self.device))
            self.equal = float(network.logits(nothing, nothing))

    def embed(self, grids: np.ndarray, images: Sequence[np.ndarray], axes: tuple[int, ...]) -> np.ndarray:
        """Rows (n, K) of images, mirrored along `axes`."""
        parts = [self._frames(mirrored(image[None], axes)[0]) for image in images]
        with torch.no_grad():
            found = self.network(torch.cat(parts).to(self.device)).float().cpu()
        return torch.stack([part.mean(0) for part in found.split([len(part) for part in parts])]).numpy()

    def compare(self, queries: np.ndarray, references: np.ndarray) -> np.ndarray:
        """Distances of all pairs of rows (N, K) and (M, K), at least 0, (N, M)."""
        with torch.no_grad():
            one, two = (torch.from_numpy(part).to(self.device) for part in (queries, references))
            return (self.equal - self.network.logits(one, two)).clamp_min(FLAT).cpu().numpy()

    def _frames(self, image: np.ndarray) -> torch.Tensor:
        video = image[None] if image.ndim == 2 else image
        numbers = np.unique(np.linspace(0, len(video) - 1, self.frames).round().astype(int))
        frames = torch.from_numpy(np.ascontiguousarray(video[numbers]))[:, None]
        if tuple(frames.shape[-2:]) == (self.size, self.size):
            return frames
        return F.interpolate(frames, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)


class FeatureSpace:
    """Features of one of the library's own instruments; the distance is how far their cosine is from 1.

    Args:
        features: of images, any sizes and ranges, float (n, K) of length 1.
        instrument: what it is called.
        kind: of the images that it takes.
    """

    name, title = IDENTITY, IdentitySpace.title

    def __init__(self, features: Callable[[Sequence[np.ndarray]], np.ndarray], instrument: str, kind: str) -> None:
        self.features, self.instrument, self.kinds = features, instrument, (kind,)

    def embed(self, grids: np.ndarray, images: Sequence[np.ndarray], axes: tuple[int, ...]) -> np.ndarray:
        """Rows (n, K) of images, mirrored along `axes`."""
        return self.features([mirrored(image[None], axes)[0] for image in images]).astype(np.float32)

    def compare(self, queries: np.ndarray, references: np.ndarray) -> np.ndarray:
        """Distances of all pairs of rows (N, K) and (M, K), at least 0, (N, M)."""
        return np.maximum(1 - queries @ references.T, FLAT)


Space = PixelSpace | EdgeSpace | IdentitySpace | FeatureSpace


def mirrored(grids: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Images (n, ...) mirrored along axes of each."""
    return np.ascontiguousarray(np.flip(grids, [axis + 1 for axis in axes])) if axes else grids

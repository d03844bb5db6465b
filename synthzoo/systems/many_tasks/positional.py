"""Positional channels: coordinates in [-1, 1] and random Fourier features (Tancik et al., NeurIPS 2020)."""

from __future__ import annotations

import math

import numpy as np
import torch


def positional_channels(
    shape: tuple[int, ...], features: int = 32, scale: float = 12.0, seed: int = 42
) -> torch.Tensor:
    """Positional channels for a grid: coordinates and random Fourier features.

    Coordinates are linspace(-1, 1) per axis; Fourier channels are sin(2 pi B x) then cos(2 pi B x), with
    B ~ N(0, 1) scale of shape (features, n) and x in [0, 1) per axis.

    Args:
        shape: voxels per axis, n axes.
        features: rows of B; 0 gives the coordinates alone.
        scale: standard deviation of B, in cycles per field of view.
        seed: B is constant for a seed.

    Returns:
        (n + 2 features, *shape) float32.
    """
    n = len(shape)
    coordinates = np.stack(np.meshgrid(*[np.linspace(-1, 1, d) for d in shape], indexing="ij"))
    if features:
        x = np.stack(np.meshgrid(*[np.arange(d) / d for d in shape], indexing="ij"))
        b = np.random.RandomState(seed).standard_normal((features, n)) * scale
        phase = 2 * math.pi * np.tensordot(b, x, axes=1)
        coordinates = np.concatenate([coordinates, np.sin(phase), np.cos(phase)])
    return torch.from_numpy(coordinates.astype(np.float32))

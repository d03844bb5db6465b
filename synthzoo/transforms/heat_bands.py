"""A heat map as a label map of bands, for viewers that show segments only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

EDGES = (0.1, 0.25, 0.5, 0.75, 0.9)


def heat_bands(heat: np.ndarray, edges: Sequence[float] = EDGES) -> np.ndarray:
    """Label 1 from the first edge up to the second, 2 from the second on, ...; 0 below the first.

    Args:
        heat: map of any shape, in [0, 1].
        edges: lower ends of the bands, ascending.

    Returns:
        uint8 of the same shape; its values are consecutive, as viewers that number segments need them.
    """
    if list(edges) != sorted(set(edges)) or not 0 < len(edges) < 256:
        raise ValueError(f"edges = {list(edges)}: from 1 to 255 different numbers in ascending order are needed.")
    return np.digitize(heat, np.asarray(edges, dtype=heat.dtype)).astype(np.uint8)


def band_names(word: str = "anomaly", edges: Sequence[float] = EDGES) -> dict[str, int]:
    """Name -> label of the bands.

    >>> band_names("anomaly", edges=(0.1, 0.25))
    {'anomaly > 0.1': 1, 'anomaly > 0.25': 2}
    """
    return {f"{word} > {edge:g}": label for label, edge in enumerate(edges, start=1)}

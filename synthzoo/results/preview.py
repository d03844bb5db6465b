"""A PNG montage of volumes, three planes each, with what was requested printed above."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.io.files import write_bytes
from synthzoo.io.marks import Mark, with_mark


def planes(volume: np.ndarray, at: Sequence[Any] | None = None) -> np.ndarray:
    """Axial, coronal and sagittal slice of a RAS volume side by side, as a radiologist's screen shows them.

    Args:
        volume: [D, H, W] in RAS order.
        at: voxel (x, y, z) to cut through; None takes the middle.

    Returns:
        [height, width] array of the volume's type; the patient's right is on the left of the axial and coronal slice.
    """
    x, y, z = [int(n) // 2 for n in volume.shape] if at is None else [int(n) for n in at]
    cuts = [np.flip(cut.T, (0, 1)) for cut in (volume[:, :, z], volume[:, y, :])] + [np.flip(volume[x].T, (0, 1))]
    height = max(cut.shape[0] for cut in cuts)
    padded = []
    for cut in cuts:
        above = (height - cut.shape[0]) // 2
        padded.append(np.pad(cut, ((above, height - cut.shape[0] - above), (0, 0))))
    return np.concatenate(padded, axis=1)


def montage(
    volumes: Sequence[Any],
    titles: Sequence[str],
    path: str | Path,
    overlays: Sequence[Any] | None = None,
    columns: int = 2,
    threshold: float = 0.05,
    mark: Mark | None = None,
) -> None:
    """Write volumes or images as one PNG, a volume with three planes, each with its title.

    Args:
        volumes: list of [D, H, W] or [1, D, H, W] arrays in RAS order; grey from 0 to each volume's 99.8 percentile.
            Or images [H, W], or [H, W, 3] uint8, which are shown as they are.
        titles: one text per volume.
        path: the PNG, written whole or not at all.
        overlays: None, or one heat map in [0, 1] (or None) per volume, drawn in colour where above `threshold`; the
            planes then go through its maximum.
        columns: volumes side by side; three of them stand below each other where two columns leave a quarter empty.
        threshold: heat below it stays transparent.
        mark: what the PNG says of its content, see `synthzoo.io.marks`.
    """
    # The figure is made without pyplot: no global state, no display, nothing kept in memory after it is written.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    volumes = [_three_d(volume) for volume in volumes]
    overlays = [None] * len(volumes) if overlays is None else [o if o is None else _three_d(o) for o in overlays]
    columns = 1 if columns == 2 and len(volumes) == 3 else max(1, min(columns, len(volumes)))
    rows = -(-len(volumes) // columns)
    figure = Figure(figsize=(6.4 * columns, 2.6 * rows), facecolor="black")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, volume, heat, title in zip(axes, volumes, overlays, titles):
        at = None if heat is None or not heat.max() > 0 else np.unravel_index(int(np.argmax(heat)), heat.shape)
        top = float(np.percentile(volume, 99.8)) or 1.0
        flat = planes(volume, at) if volume.ndim == 3 and volume.shape[-1] != 3 else volume
        axis.imshow(flat / 255 if flat.ndim == 3 else flat, cmap="gray", vmin=min(0.0, float(volume.min())), vmax=top)
        if heat is not None:
            shown = planes(heat, at)
            axis.imshow(np.ma.masked_less(shown, threshold), cmap="inferno", vmin=0, vmax=1, alpha=0.55)
        axis.set_title(title, color="white", fontsize=9)
    edge = 0.26 / (2.6 * rows)  # room for the first row's titles
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=1 - edge, wspace=0.02, hspace=0.14)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor="black", metadata={"Software": None})
    write_bytes(path, with_mark(buffer.getvalue(), mark))


def heat_colours(heat: np.ndarray) -> np.ndarray:
    """Colours [3, H, W] in [0, 1] of a map [H, W] in [0, 1]: black over red and yellow to white, as heated iron."""
    return np.stack([np.clip(3 * heat - n, 0, 1) for n in range(3)])


def _three_d(volume: np.ndarray | torch.Tensor) -> np.ndarray:
    array = np.asarray(volume.detach().cpu() if hasattr(volume, "detach") else volume, dtype=np.float32)
    return array[0] if array.ndim == 4 else array

"""A PNG of test volumes beside their truth and the maps of several methods, one volume a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from synthzoo.evaluation.pictures import new_figure, save_figure


def draw_rows(
    volumes: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    maps: list[dict[str, np.ndarray]],
    titles: list[str],
    path: str | Path,
) -> None:
    """Write one axial plane of each volume, through the largest cut of its truth.

    Args:
        volumes: z-scores (D, H, W) in RAS order, 0 outside.
        truths: bool (D, H, W); drawn as an outline on the image and on every map.
        maps: per volume, name -> heat map (D, H, W); each map's colours end at its 99.8 percentile in the brain.
        titles: one text per volume.
        path: the PNG.
    """
    names = list(maps[0])
    figure = new_figure(2.2 * (1 + len(names)), 2.7 * len(volumes), facecolor="black")
    axes = np.atleast_2d(figure.subplots(len(volumes), 1 + len(names)))
    for row, volume, truth, heats, title in zip(axes, volumes, truths, maps, titles):
        plane = int(np.argmax(truth.sum((0, 1)))) if truth.any() else volume.shape[2] // 2
        row[0].imshow(_axial(volume, plane), cmap="gray", vmin=-3, vmax=4)
        row[0].set_title(title, color="white", fontsize=8)
        for axis, name in zip(row[1:], names):
            heat = heats[name]
            top = float(np.percentile(heat[volume != 0], 99.8)) or 1.0
            axis.imshow(_axial(heat, plane), cmap="inferno", vmin=0, vmax=top)
            axis.set_title(name, color="white", fontsize=7)
        for axis in row:
            axis.set_axis_off()
            if truth[:, :, plane].any():
                axis.contour(_axial(truth.astype(np.float32), plane), [0.5], colors="cyan", linewidths=0.7)
    save_figure(figure, path, pad=0.3)


def _axial(volume: np.ndarray, plane: int) -> np.ndarray:
    """An axial plane with the patient's right on the left."""
    return np.flip(volume[:, :, plane].T, (0, 1))

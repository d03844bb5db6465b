"""Pictures of a distillation: samples of each set above their nearest training images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from synthzoo.evaluation.pictures import new_figure, save_figure


def draw_sets(sets: Mapping[str, tuple[torch.Tensor, torch.Tensor]], path: str | Path) -> None:
    """Write a PNG with two rows a set.

    Args:
        sets: title -> images (N, 1, S, S) and their nearest training images (N, 1, S, S), in [0, 1].
        path: the file.
    """
    columns = max(len(images) for images, _ in sets.values())
    figure = new_figure(1.5 * columns, 3.2 * len(sets))
    for place, (title, pair) in enumerate(sets.items()):
        for row, (images, what) in enumerate(zip(pair, (title, "nearest training images"))):
            for column, image in enumerate(images):
                axes = figure.add_subplot(2 * len(sets), columns, (2 * place + row) * columns + column + 1)
                axes.imshow(image[0], cmap="gray", vmin=0, vmax=1)
                axes.set_axis_off()
                if column == 0:
                    axes.set_title(what, fontsize=8, loc="left")
    save_figure(figure, path, dpi=80, pad=0.3)

"""The picture of the card: test images, their masks stage by stage, the truth, and the image without the object."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from synthzoo.evaluation.pictures import new_figure, save_figure

if TYPE_CHECKING:
    from synthzoo.systems.foreground_background.evaluation import ConceptEvaluation

EACH = 2  # images of each concept
TITLES = ("image", "attention", "weak mask", "removed", "refined mask", "segmenter", "truth")


def draw(evaluation: ConceptEvaluation, path: str | Path) -> None:
    """PNG of `EACH` test images of each concept, a row each."""
    pairs = evaluation.pairs("test")
    chosen = [
        p for k in range(len(evaluation.concepts)) for p in [p for p, (_, c) in enumerate(pairs) if c == k][:EACH]
    ]
    heats, weak, refined = evaluation.maps("test"), evaluation.made("test", "weak"), evaluation.made("test", "refined")
    trained = evaluation.segmented("test", evaluation.network.segmenter) >= evaluation.inferer.threshold
    figure = new_figure(1.5 * len(TITLES), 1.55 * len(chosen))
    for row, pair in enumerate(chosen):
        n, k = pairs[pair]
        one = evaluation.splits["test"][n]
        image = one["image"]
        removed = evaluation.removed(image[None], torch.from_numpy(weak[pair])[None, None].float())
        shown = [image, heats[pair], weak[pair], removed, refined[pair], trained[n, k], one["mask"][k]]
        for column, (title, picture) in enumerate(zip(TITLES, shown)):
            axes = figure.add_subplot(len(chosen), len(TITLES), row * len(TITLES) + column + 1)
            axes.axis("off")
            axes.imshow(_picture(picture), cmap="inferno" if column == 1 else "gray", vmin=0, vmax=1)
            word = evaluation.concepts[k]
            axes.set_title(f"{title}: {word}" if column in (0, 1) else title, fontsize=7)
    save_figure(figure, path, dpi=100, pad=0.3)


def _picture(value: np.ndarray | torch.Tensor) -> np.ndarray:
    """Levels (H, W) or (H, W, 3) of an image or a mask."""
    array = np.asarray(value, np.float32)
    if array.ndim == 3:
        array = array.transpose(1, 2, 0) if array.shape[0] == 3 else array[0]
    return array.clip(0, 1)

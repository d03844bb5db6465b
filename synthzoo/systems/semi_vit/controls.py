"""What needs no network: the classes guessed from pixels or colours alone, with the same labels."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from synthzoo.systems.semi_vit.dataset import ClassImages

SIDE = 16  # pixels of the thumbnails that are compared
BINS = 8  # of each channel's histogram
CONTROLS = ("nearest labelled image", "mean of each class", "colours alone", "most frequent class")


def control_accuracies(labelled: ClassImages, tested: ClassImages) -> dict[str, float]:
    """Accuracy of each of `CONTROLS` on `tested` with the labels of `labelled`.

    The nearest labelled image and the nearest mean of a class are those of thumbnails of 16 pixels a side with the mean
    taken off; colours are compared by the histogram of each channel.
    """
    rows = labelled.labelled()
    labels = labelled.labels[rows]
    classes = np.unique(labels)
    small, colours = _features(labelled, rows)
    test_small, test_colours = _features(tested, np.arange(len(tested)))
    means = torch.stack([small[labels == one].mean(0) for one in classes])
    most = classes[np.argmax([np.sum(labels == one) for one in classes])]
    found = (
        labels[_nearest(test_small, small)],
        classes[_nearest(test_small, means)],
        labels[_nearest(test_colours, colours)],
        np.full(len(tested), most),
    )
    return {name: float(np.mean(guess == tested.truth)) for name, guess in zip(CONTROLS, found)}


def _nearest(these: torch.Tensor, those: torch.Tensor) -> np.ndarray:
    return torch.cdist(these, those).argmin(1).numpy()


def _features(images: ClassImages, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    small, colours = [], []
    for row in rows:
        image = images.image(row)
        pool = F.adaptive_avg_pool2d if image.ndim == 3 else F.adaptive_avg_pool3d
        thumbnail = pool(image[None], SIDE).flatten()
        small.append(thumbnail - thumbnail.mean())
        colours.append(torch.cat([torch.histc(band, BINS, 0, 1) for band in image]) / image[0].numel())
    return torch.stack(small), torch.stack(colours)

"""Scores of the evaluation on images whose answer is known, and the segmenter of the paper's claim."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthzoo.evaluation.label_scores import (
    class_statistics,
    dice_by_class,
    fitted_means,
    mean_painter,
    resegmentation_dice,
    tissue_means,
)
from synthzoo.evaluation.label_segmenters import segment, train_segmenter
from synthzoo.phantoms.brain.label_maps import CLASSES
from synthzoo.systems.brainspade.network import small_unet

BANDS = {"CSF": 0.1, "GM": 0.5, "WM": 0.8}


@pytest.fixture
def banded():
    """Label maps of three bands of tissue in a background, and their image."""
    numbers = np.zeros((24, 30), int)
    for column, name in enumerate(BANDS):
        numbers[2:-2, 8 * column + 3 : 8 * column + 11] = CLASSES.index(name)
    maps = np.eye(len(CLASSES), dtype=np.float32)[numbers].transpose(2, 0, 1)
    return maps, sum(value * maps[CLASSES.index(name)] for name, value in BANDS.items())


def test_a_class_that_neither_map_shows_counts_in_no_mean():
    truth = np.array([[1, 1, 2, 2]])
    scores = dice_by_class(np.array([[1, 2, 2, 2]]), truth, [1, 2, 3])
    assert scores[1] == pytest.approx(2 / 3) and scores[2] == pytest.approx(0.8) and np.isnan(scores[3])


def test_a_faithful_image_is_segmented_into_its_labels_and_a_flat_one_is_not(banded):
    maps, image = banded
    means = tissue_means(image, maps)
    assert means == pytest.approx(list(BANDS.values()), abs=1e-6)
    assert resegmentation_dice(image, maps, means) == 1
    assert resegmentation_dice(np.full_like(image, 0.5), maps, means) < 0.5
    assert resegmentation_dice(image[:, ::-1], maps, means) < 0.7


def test_a_tissue_without_a_mean_is_no_miss(banded):
    maps, image = banded
    unknown = np.array([np.nan, BANDS["GM"], BANDS["WM"]])
    assert resegmentation_dice(image, maps, unknown) == 1
    assert np.isnan(resegmentation_dice(image, maps, np.full(3, np.nan)))


def test_means_of_tissues_that_are_mixed_everywhere_are_known(banded):
    maps, _ = banded
    rows, mixed = [CLASSES.index(name) for name in BANDS], maps.copy()
    mixed[rows] = 0.8 * maps[rows] + 0.2 * maps[np.roll(rows, 1)]
    image = sum(value * mixed[row] for row, value in zip(rows, BANDS.values()))
    assert np.isnan(tissue_means(image, mixed)).all()
    assert fitted_means(image, mixed) == pytest.approx(list(BANDS.values()), abs=1e-5)
    without = maps.copy()
    without[0] += without[CLASSES.index("CSF")]
    without[CLASSES.index("CSF")] = 0
    assert np.isnan(fitted_means(image, without)).tolist() == [True, False, False]


def test_the_shortcut_paints_each_class_as_the_style_has_it(banded):
    maps, image = banded
    values, deviations = class_statistics(image, maps)
    painted = mean_painter(maps, values, deviations, seed=0)
    assert np.allclose(painted, image, atol=1e-5)
    assert mean_painter(maps, values, deviations + 0.1, seed=0)[maps[0] < 0.5].std() > image[maps[0] < 0.5].std() / 2


def test_a_segmenter_learns_bands(banded):
    maps, image = banded
    images = torch.from_numpy(np.stack([image] * 8)).float()[:, None]
    truth = torch.from_numpy(np.stack([maps.argmax(0)] * 8))
    images = torch.nn.functional.pad(images, (1, 1))
    truth = torch.nn.functional.pad(truth, (1, 1))
    network = train_segmenter(small_unet, images, truth, 40, batch_size=4)
    found = segment(network, images[:2])
    assert (found == truth[:2].numpy()).mean() > 0.9

"""Masks as COCO annotations."""

import numpy as np
import pytest

from synthzoo.results.coco import annotations_of, mask_of, run_lengths


@pytest.mark.parametrize("seed", range(3))
def test_run_lengths_go_down_the_columns_and_give_the_mask_back(seed):
    mask = np.random.default_rng(seed).random((5, 7)) > 0.5
    counts = run_lengths(mask)
    assert sum(counts) == mask.size and np.array_equal(mask_of(counts, mask.shape), mask)
    assert run_lengths(np.ones((2, 3))) == [0, 6] and run_lengths(np.zeros((2, 3))) == [6]
    assert run_lengths(np.array([[0, 1], [0, 1]])) == [2, 2]


def test_each_region_has_an_annotation_of_its_own():
    mask = np.zeros((20, 30), bool)
    mask[2:5, 3:9] = True
    mask[10:18, 20:22] = mask[18, 22] = True  # touches by a corner
    mask[0, 29] = True
    large, small = annotations_of(mask, least=2)
    assert (large["area"], large["bbox"]) == (18, [3, 2, 6, 3])
    assert (small["area"], small["bbox"]) == (17, [20, 10, 3, 9])
    assert mask_of(large["segmentation"]["counts"], (20, 30)).sum() == large["area"] == 18
    assert len(annotations_of(mask)) == 3 and annotations_of(np.zeros((4, 4), bool)) == []

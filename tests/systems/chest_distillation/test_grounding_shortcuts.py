"""What could find the findings of a phrase alone, on pictures whose answers are known."""

import numpy as np
import pytest

from synthzoo.systems.chest_distillation.scores import box_mask
from synthzoo.systems.chest_distillation.shortcuts import TITLES, Boxes, centre_map, elsewhere, tabled, without_network

SIZE = 32
NODULES, EFFUSIONS = [[4, 4, 6, 6], [20, 6, 6, 6]], [[2, 22, 10, 8], [2, 22, 10, 8]]
FINDINGS = [
    {"kind": kind, "box": box} for kind, boxes in (("nodule", NODULES), ("effusion", EFFUSIONS)) for box in boxes
]
KINDS, TRUTHS = [one["kind"] for one in FINDINGS], [box_mask([one["box"]], SIZE) for one in FINDINGS]
GROUPS = {"nodule": [0, 1], "effusion": [2, 3]}


def test_mean_boxes_know_the_kind_or_nothing_at_all():
    boxes = Boxes(FINDINGS, SIZE)
    assert np.array_equal(boxes.of("effusion"), TRUTHS[2]) and boxes.of("nodule").max() == 0.5
    assert boxes.of_all() == pytest.approx(np.mean(TRUTHS, 0))
    middle = np.unravel_index(centre_map(SIZE).argmax(), (SIZE, SIZE))
    assert max(abs(np.array(middle) - SIZE / 2)) <= 1


def test_a_map_from_elsewhere_leaves_the_own_radiograph_out():
    heats = np.arange(4.0)[:, None, None] * np.ones((4, 2, 2))
    found = elsewhere(heats, ["nodule", "nodule", "nodule", "effusion"], [0, 0, 1, 2])
    assert found[:, 0, 0].tolist() == [2.0, 2.0, 0.5, 0.0]


def test_what_always_lies_at_one_place_needs_no_reading_and_what_varies_does():
    rng = np.random.default_rng(0)
    images = 0.3 + 0.05 * rng.random((4, SIZE, SIZE)) + 0.5 * np.stack(TRUTHS)
    heats = np.stack(TRUTHS).astype(float)
    maps = {"noun": heats, "shuffled": heats[::-1], **without_network(images, KINDS, Boxes(FINDINGS, SIZE))}
    found = tabled(maps, TRUTHS, GROUPS, "nodule")
    pointing, area = ({row[0]: row[1:] for row in table["rows"]} for table in found.tables)
    assert pointing[TITLES["noun"]] == area[TITLES["noun"]] == [1.0, 1.0] and pointing[TITLES["shuffled"]] == [0, 0]
    assert pointing[TITLES["place"]] == [0.5, 1.0] and pointing[TITLES["centre"]] == [0.0, 0.0]
    assert pointing[TITLES["bright"]] == [1.0, 1.0], "these findings are bright, so that brightness finds them"
    assert found.figures["shortcut_place_pointing_free"] == 0.5
    assert found.figures["shortcut_highest_pointing_free"] == 1.0, "the highest of all but the network's own"
    assert found.tables[0]["columns"] == ["map", "nodule (2)", "effusion (2)"]

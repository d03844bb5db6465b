"""Garment phantoms: exact classes and parts, pictures that follow from their seeds alone, and their data set."""

from __future__ import annotations

import re

import numpy as np
import pytest

from synthzoo.datasets.garments.phantoms import GarmentPhantoms
from synthzoo.errors import UserError
from synthzoo.phantoms.garments.params import CLASSES, FABRICS, NECKLINES, SLEEVES, draw_params
from synthzoo.phantoms.garments.phantom import PARTS, make_garment


def share(parts: np.ndarray, *names: str) -> float:
    return float(np.isin(parts, [PARTS.index(name) + 1 for name in names]).mean())


def test_a_picture_follows_from_its_seed_and_shows_its_class():
    first, again = make_garment(7, 64), make_garment(draw_params(7), 64)
    assert np.array_equal(first.image, again.image) and np.array_equal(first.parts, again.parts)
    assert first.image.shape == (3, 64, 64) and first.image.dtype == np.float32
    assert first.image.min() >= 0 and first.image.max() <= 1 and first.image.std() > 0.05
    assert CLASSES[first.params.label].startswith(first.params.neckline)
    assert not np.array_equal(first.image, make_garment(8, 64).image)


def test_every_class_is_drawn_as_often_and_a_class_can_be_requested():
    labels = [draw_params(seed).label for seed in range(2000)]
    counts = np.bincount(labels, minlength=10)
    assert len(CLASSES) == len(NECKLINES) * len(SLEEVES) == 10
    assert counts.min() > 150 and counts.max() < 250
    for label in range(10):
        assert draw_params(3, label=label).label == label
    fixed = [draw_params(5, label=label) for label in range(10)]
    assert len({one.colour for one in fixed}) == 1, "what is no part of the class must not tell it"
    assert {draw_params(seed).fabric for seed in range(100)} == set(FABRICS)


def test_long_sleeves_are_longer_and_the_opening_is_that_of_the_neckline():
    sleeves, inside, width = {}, {}, {}
    for label in range(10):
        made = [make_garment(seed, 96, label=label) for seed in range(6)]
        sleeves[label] = np.mean([share(one.parts, "left sleeve", "right sleeve") for one in made])
        inside[label] = np.mean([share(one.parts, "inside") for one in made])
        width[label] = np.mean([np.ptp(np.nonzero(one.parts == PARTS.index("inside") + 1)[1]) for one in made])
        placket = np.mean([share(one.parts, "placket") for one in made])
        assert (placket > 0) == (NECKLINES[label // 2] == "placket")
    for neckline in range(5):
        assert sleeves[2 * neckline + 1] > 1.5 * sleeves[2 * neckline]
    v, round_, square, boat, _ = (inside[2 * number] for number in range(5))
    assert v > 0 and square > round_ * 1.05 and boat < round_
    assert width[6] > 1.2 * width[2], "a boat neck is wide"


def test_the_fabric_changes_the_picture_and_not_the_parts():
    plain, striped = (make_garment(11, 64, fabric=fabric) for fabric in ("plain", "stripes"))
    assert np.array_equal(plain.parts, striped.parts)
    inside = plain.parts == PARTS.index("body") + 1
    assert striped.image[:, inside].std() > 1.1 * plain.image[:, inside].std()


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: make_garment(0, 16), "size = 16: a picture of a garment has 32 to 1024 pixels a side."),
        (lambda: draw_params(0, label=10), "label = 10: a garment's class is 0 to 9"),
        (lambda: draw_params(0, fabric="silk"), "fabric = 'silk': a garment is plain, heather"),
        (lambda: draw_params(0, collar=1), "a garment has no 'collar'"),
        (lambda: GarmentPhantoms(4, "exam"), "split = 'exam': garment phantoms have the splits train, validation"),
        (lambda: GarmentPhantoms(0), "count = 0, first = 0: a split of garment phantoms has 1 to 1000000 pictures."),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(call, part):
    with pytest.raises(UserError, match=re.escape(part)):
        call()


def test_a_set_is_drawn_once_and_its_splits_share_no_garment(tmp_path):
    first = GarmentPhantoms(6, "train", 32, cache_dir=tmp_path)
    (folder,) = tmp_path.iterdir()
    before = (folder / "pixels.npy").stat().st_mtime_ns
    again = GarmentPhantoms(6, "train", 32, cache_dir=tmp_path)
    assert (folder / "pixels.npy").stat().st_mtime_ns == before and [file.name for file in folder.iterdir()] == [
        "pixels.npy"
    ]
    row = again[2]
    assert row["image"].shape == (3, 32, 32) and int(row["label"]) == first.labels[2] == draw_params(2).label
    assert abs(row["image"].numpy() - make_garment(2, 32).image).max() <= 0.5 / 255 + 1e-6
    other = GarmentPhantoms(6, "validation", 32, cache_dir=tmp_path)
    assert not set(first.seeds) & set(other.seeds)
    with pytest.raises(IndexError):
        again[6]

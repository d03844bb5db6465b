"""Rows of training: which images have labels, where unlabelled ones come from, and the table that comes out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from synthzoo.errors import UserError
from synthzoo.phantoms.garments.params import FABRICS
from synthzoo.systems.semi_vit.chest import CHEST_CLASSES, chest_radiographs
from synthzoo.systems.semi_vit.dataset import AllRows, ClassImages, LabelledRows, class_images
from synthzoo.systems.semi_vit.inferer import ClassScoresInferer, RankClasses


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("phantoms"))


@pytest.fixture(scope="module")
def garments(cache):
    return class_images(count=60, size=32, labelled_share=0.2, cache_dir=cache)


def test_a_share_of_the_garments_has_a_label_and_the_truth_is_kept_apart(garments):
    rows = garments.labelled()
    assert 10 <= len(rows) <= 20 and (garments.labels[rows] == garments.truth[rows]).all()
    assert set(garments.labels[rows]) == set(range(10)) and (garments.truth >= 0).all()
    assert garments[0]["image"].shape == (3, 32, 32) and garments[0]["image"].max() <= 1


def test_a_larger_share_has_the_labels_of_a_smaller_one(cache, garments):
    more = class_images(count=60, size=32, labelled_share=0.5, cache_dir=cache)
    assert set(garments.labelled()) < set(more.labelled())
    every = class_images(count=60, size=32, labelled_share=1.0, cache_dir=cache)
    assert len(every.labelled()) == 60


def test_with_the_shift_only_plain_garments_have_labels(cache):
    shifted = class_images(count=500, size=32, labelled_share=0.05, shift=True, cache_dir=cache)
    from synthzoo.datasets.garments.phantoms import GarmentPhantoms

    fabrics = GarmentPhantoms(500, "train", 32, cache_dir=cache).fabrics
    assert {FABRICS[one] for one in fabrics[shifted.labelled()]} == {"plain"}


def test_a_row_of_training_has_a_labelled_image_and_others_without_labels(garments):
    rows = LabelledRows(garments, others=3)
    np.random.seed(0)
    item = rows[2]
    assert len(rows) == len(garments.labelled()) and item["others"].shape == (3, 3, 32, 32)
    assert int(item["label"]) == garments.labels[garments.labelled()[2]] and "truth" not in item
    assert set(LabelledRows(garments)[0]) == {"image", "label"} and set(AllRows(garments)[0]) == {"image"}
    np.random.seed(0)
    assert torch.equal(rows[2]["others"], item["others"]), "drawn from the seed of the row"


def test_a_training_without_labels_is_refused_and_a_skewed_one_is_told(garments, capsys):
    with pytest.raises(UserError, match="not one of 60 training images has a label"):
        LabelledRows(ClassImages(garments.images, np.full(60, -1), garments.truth, garments.classes, "none"))
    LabelledRows(garments, told=True)
    assert "fewer than 5 labelled images" in capsys.readouterr().err


def test_a_csv_of_ones_own_is_read_onto_the_grid(tmp_path):
    for number, shade in enumerate((10, 120, 240, 60)):
        picture = np.full((20, 30, 3), shade, np.uint8)
        picture[:, :15] //= 2
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    lines = ["path,label,split", "0.png,dark,train", "1.png,,train", "2.png,light,train", "3.png,dark,test"]
    (tmp_path / "shop.csv").write_text("\n".join(lines))
    found = class_images("csv", str(tmp_path / "shop.csv"), size=32)
    assert found.classes == ("dark", "light") and found.labels.tolist() == [0, -1, 1]
    image = found[1]["image"]
    assert image.shape == (3, 32, 32) and float(image[:, 0].max()) == 0.0, "a bar above"
    assert len(class_images("csv", str(tmp_path / "shop.csv"), "test", size=32)) == 1


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"data_format": "zip"}, "data_format = 'zip'"),
        ({"data_format": "csv"}, "name the CSV or the folder by --dataset_dir"),
        ({"dataset_dir": "/shop"}, "say --data_format csv or folders"),
        ({"data_format": "chest", "shift": True}, "only garment phantoms have fabrics"),
        ({"labelled_share": 0.0, "count": 20, "size": 32}, "labelled_share = 0.0"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(settings, part, cache):
    with pytest.raises(UserError, match=part):
        class_images(**settings, cache_dir=cache)


def test_radiographs_have_one_finding_or_none_and_patients_of_their_own(cache):
    images, labels = chest_radiographs(5, "test", 32, cache)
    assert images.shape == (5, 1, 32, 32) and labels.tolist() == [0, 1, 2, 3, 4]
    assert len(CHEST_CLASSES) == 5
    other, _ = chest_radiographs(5, "validation", 32, cache)
    assert not np.array_equal(images, other)
    with pytest.raises(UserError, match="split = 'exam'"):
        chest_radiographs(5, "exam", 32, cache)


def test_probabilities_become_a_table_with_the_likeliest_class_first():
    class Two(torch.nn.Module):
        def forward(self, image):
            left = image[..., :2].mean((1, 2, 3))
            return torch.stack([left, 1 - left], 1)

    image = torch.zeros(1, 1, 4, 4)
    image[..., :2] = 1
    once, mirrored = (ClassScoresInferer(mirror)(image, Two()) for mirror in (False, True))
    assert torch.allclose(once[0], torch.tensor([1.0, 0.0]).softmax(0)) and torch.allclose(mirrored, torch.tensor(0.5))
    ranked = RankClasses(["left", "right"])({"pred": once[0].flip(0), "case": "x"})
    assert ranked["pred"] == {"class": ["right", "left"], "probability": [0.7311, 0.2689]}
    assert ranked["class"] == "right" and ranked["probability"] == 0.7311 and ranked["case"] == "x"
    with pytest.raises(UserError, match="classes has 3 names, but the network tells 2"):
        RankClasses(["a", "b", "c"])({"pred": once[0]})

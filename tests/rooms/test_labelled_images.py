"""Images of classes of which some have a label: the CSV, the folders, the shares, and what is said of the balance."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from synthzoo.datasets.labelled_images import (
    UNLABELLED,
    describe_balance,
    hide_labels,
    hold_back,
    read_image_csv,
    read_image_folders,
)
from synthzoo.errors import UserError

GOOD = [
    "path,label,split",
    "a.png,boat,train",
    "b.png,,train",
    "c.png,round,train",
    "d.png,boat,val",
    "e.png,round,test",
]


def shop(folder, lines):
    for name in "abcde":
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / f"{name}.png")
    path = folder / "shop.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_csv_gives_each_split_and_an_empty_label_is_none(tmp_path):
    path = shop(tmp_path, GOOD)
    train = read_image_csv(path)
    assert [one.name for one in train.paths] == ["a.png", "b.png", "c.png"] and train.classes == ("boat", "round")
    assert train.labels.tolist() == [0, UNLABELLED, 1]
    assert read_image_csv(path, "validation").labels.tolist() == [0]
    assert read_image_csv(path, "test", classes=("round", "boat")).labels.tolist() == [0]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ((0, "path,label"), "has no column split; it has the columns path, label and split"),
        ((1, "z.png,boat,train"), "line 2: z.png is not there; paths are relative to"),
        ((1, ",boat,train"), "line 2: path is empty; name an image or remove the line."),
        ((2, "a.png,,train"), "line 3: a.png stands already in line 2; keep one."),
        ((4, "d.png,,val"), "line 5: a validation image has no label"),
        ((5, "e.png,square,test"), "class 'square' has no labelled training image"),
        ((5, "e.png,round,exam"), "line 6: split 'exam' must be train, validation, test."),
        ((1, "a.png,round,train"), "class 'boat' has no labelled training image"),
    ],
)
def test_a_csv_that_cannot_be_used_is_one_sentence(tmp_path, change, part):
    lines = list(GOOD)
    lines[change[0]] = change[1]
    if change[0] == 0:
        lines = [line.rsplit(",", 1)[0] for line in GOOD]
    with pytest.raises(UserError) as caught:
        read_image_csv(shop(tmp_path, lines))
    assert part in str(caught.value)


def test_a_label_that_the_network_does_not_know_and_an_empty_split_are_named(tmp_path):
    path = shop(tmp_path, GOOD)
    with pytest.raises(UserError, match="line 2: label 'boat' is none of round, v; correct the cell"):
        read_image_csv(path, classes=("round", "v"))
    shop(tmp_path, GOOD[:-1])
    with pytest.raises(UserError, match="has no image of the split test; write test into the column split"):
        read_image_csv(path, "test")
    shop(tmp_path, [GOOD[0], "a.png,boat,train"])
    with pytest.raises(UserError, match="has 1 class, at least 2 are needed"):
        read_image_csv(path)


def folders(root, counts):
    for part, names in counts.items():
        for name, count in names.items():
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(root / part / name / f"{number}.png")


def test_folders_count_as_torchvision_does_and_an_index_says_which_have_labels(tmp_path):
    from torchvision.datasets import ImageFolder

    folders(tmp_path, {"train": {"v": 6, "boat": 5}, "val": {"v": 2, "boat": 1}})
    ours = read_image_folders(tmp_path, "test")
    assert [(str(path), int(label)) for path, label in zip(ours.paths, ours.labels)] == ImageFolder(
        tmp_path / "val"
    ).samples
    (tmp_path / "indexes").mkdir()
    (tmp_path / "indexes" / "some.csv").write_text("Index\n0\n1\n5\n6\n7\n")
    train, validation = (read_image_folders(tmp_path, split, "some.csv") for split in ("train", "validation"))
    assert len(train) + len(validation) == 11 and not set(train.paths) & set(validation.paths)
    assert sorted(validation.labels.tolist()) == [0, 1] and (train.labels != UNLABELLED).sum() == 3
    every = dict(ImageFolder(tmp_path / "train").samples)
    assert all(every[str(path)] == label for path, label in zip(train.paths, train.labels) if label != UNLABELLED)
    (tmp_path / "indexes" / "some.csv").write_text("Index\n11\n")
    with pytest.raises(UserError, match="line 2: Index: 11 does not lie between 0 and 10"):
        read_image_folders(tmp_path, "train", "some.csv")
    with pytest.raises(UserError, match="is no folder: .* must have train/<class>"):
        read_image_folders(tmp_path / "nowhere")


def test_shares_of_labels_are_stratified_nested_and_never_empty():
    labels = np.repeat(np.arange(4), [100, 100, 100, 3])
    small, large, every = (hide_labels(labels, share, seed=1) for share in (0.05, 0.25, 1.0))
    assert [int((small == number).sum()) for number in range(4)] == [5, 5, 5, 1]
    assert (every == labels).all() and ((small == UNLABELLED) | (small == large)).all()
    assert (small != hide_labels(labels, 0.05, seed=2)).any()
    allowed = np.arange(len(labels)) % 2 == 0
    shifted = hide_labels(labels, 0.25, 1, allowed)
    assert not (shifted[~allowed] != UNLABELLED).any() and (shifted == 0).sum() == 25
    for share in (0, 1.5):
        with pytest.raises(UserError, match="labelled_share = "):
            hide_labels(labels, share, 0)


def test_what_validates_is_labelled_and_leaves_every_class_something():
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 2, UNLABELLED])
    chosen = hold_back(labels, 0.2, 0)
    assert chosen.sum() == 2 and not chosen[8] and not chosen[7]


def test_the_balance_is_told_with_warnings():
    labels = np.array([0] * 60 + [1] * 2 + [UNLABELLED] * 38)
    said = describe_balance(labels, ("round", "boat"), "shop.csv").splitlines()
    assert said[0] == (
        "shop.csv: 100 training images of 2 classes, 62 labelled (62.0 %), 2 (boat) to 60 (round) a class."
    )
    assert said[1].startswith("warning: fewer than 5 labelled images of boat")
    assert said[2].startswith("warning: round has 30 times the labels of boat: pseudo-labels will favour it")
    with pytest.raises(UserError, match="not one of 3 training images has a label"):
        describe_balance(np.full(3, UNLABELLED), ("a", "b"), "shop.csv")

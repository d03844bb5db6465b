"""The published layouts of label maps and of pairs are read as they are, and what is wrong in them is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthzoo.datasets.brain.spade_layouts import PublishedPairs, PublishedVolumes, training_labels, training_pairs
from synthzoo.errors import UserError
from synthzoo.io.nifti import write_nifti


def shares(*shape: int, classes: int = 9) -> np.ndarray:
    """Channels first, sum 1, a square of tissue in a background."""
    maps = np.zeros((classes, *shape), np.float32)
    maps[0] = 1
    box = (slice(None), *(slice(2, -2) for _ in shape))
    maps[box] = 0
    maps[(3, *box[1:])] = 0.75
    maps[(2, *box[1:])] = 0.25
    return maps


@pytest.fixture
def labels(tmp_path):
    (tmp_path / "train").mkdir()
    for name in ("a", "b"):
        np.save(tmp_path / "train" / f"{name}.npy", shares(16, 12))
    rows = ["label\twmh\ttumour\tedema\tslice_no", "a.npy\t1\t0\t0\t0.4", "train/b.npy\t0\tn/a\t1\t0.3"]
    (tmp_path / "train.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_label_slices_and_their_table(labels):
    rows = training_labels("published", labels)
    assert len(rows) == 2 and rows[0]["labels"].shape == (9, 16, 12)
    assert torch.allclose(rows[0]["labels"].sum(0), torch.ones(16, 12))
    assert rows[0]["conditions"].tolist() == pytest.approx([1, 0, 0, 0.4])
    assert torch.isnan(rows[1]["conditions"][1])


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda text: text.replace("wmh\t", ""), "has no column wmh"),
        (lambda text: text.replace("a.npy\t1", "a.npy\t7"), "line 2: wmh: 7"),
        (lambda text: text.replace("a.npy", "lost.npy"), "line 2: lost.npy is no file"),
    ],
)
def test_a_wrong_line_of_the_table_is_named(labels, change, words):
    table = labels / "train.tsv"
    table.write_text(change(table.read_text()))
    with pytest.raises(UserError) as caught:
        training_labels("published", labels)
    assert words in str(caught.value) and "train.tsv" in str(caught.value)


def test_shares_that_do_not_sum_to_one_are_refused(labels):
    np.save(labels / "train" / "a.npy", 3 * shares(16, 12))
    with pytest.raises(UserError, match=r"a\.npy.*whose sum is 1"):
        training_labels("published", labels)[0]
    (labels / "train" / "a.npy").write_bytes(b"no array")
    with pytest.raises(UserError, match=r"cannot be read as \.npy"):
        training_labels("published", labels)[0]


def test_pairs_take_other_slices_of_the_subject_for_style(tmp_path):
    for split in ("images_train", "labels_train"):
        (tmp_path / split).mkdir()
    for number, level in enumerate((100.0, 200.0)):
        name, maps = f"FLAIR_SABRE_s1_{number}_wmh", shares(16, 12)
        image = np.where(maps[0] > 0.5, -1, level + np.arange(12) * 10.0)[..., None]
        np.savez(tmp_path / "images_train" / f"{name}.npz", img=image, modality="FLAIR")
        np.savez(tmp_path / "labels_train" / f"{name}.npz", label=np.moveaxis(maps, 0, -1)[:, :, None])
    row = training_pairs("published", tmp_path)[0]
    assert row["labels"].shape == (9, 16, 12) and row["image"].shape == row["style"].shape == (1, 16, 12)
    assert float(row["image"][0, 0, 0]) == 0 and 0.7 < float(row["image"].max()) <= 1
    (tmp_path / "labels_train" / "FLAIR_SABRE_s1_0_wmh.npz").unlink()
    with pytest.raises(UserError, match="has no labels"):
        PublishedPairs(tmp_path, "train")
    with pytest.raises(UserError, match=r"holds no \.npz"):
        PublishedPairs(tmp_path, "test")


def test_volumes_and_their_sequences(tmp_path):
    maps = shares(12, 10, 8, classes=10)
    write_nifti(tmp_path / "lab.nii.gz", np.moveaxis(maps, 0, -1), np.eye(4))
    write_nifti(tmp_path / "t1.nii.gz", np.where(maps[0] > 0.5, 0, 40.0 + np.arange(8)).astype(np.float32), np.eye(4))
    (tmp_path / "train.tsv").write_text("label\tT1\tFLAIR\tT2\nlab.nii.gz\tt1.nii.gz\tnone\tnone\n")
    rows = PublishedVolumes(tmp_path, "train")
    assert len(rows) == 1 and rows[0]["labels"].shape == (10, 12, 10, 8)
    assert rows[0]["image"].shape == (1, 12, 10, 8) and rows[0]["style"].shape == (1, 12, 10)
    (tmp_path / "train.tsv").write_text("label\tT1\tFLAIR\tT2\nlab.nii.gz\tnone\tnone\tnone\n")
    with pytest.raises(UserError, match="line 2: has no image"):
        PublishedVolumes(tmp_path, "train")
    (tmp_path / "labels.tsv").write_text("")
    columns = ("wmh", "tumour", "edema", "gdtumour")
    (tmp_path / "train.tsv").write_text("label\twmh\ttumour\tedema\tgdtumour\nlab.nii.gz\t0.1\t0\t0\t0.5\n")
    found = training_labels("published", tmp_path, columns=columns, classes=10)[0]
    assert found["labels"].shape == (10, 12, 10, 8) and found["conditions"].tolist() == pytest.approx([0.1, 0, 0, 0.5])


@pytest.mark.parametrize(
    "data_format, folder, words",
    [("nifti", "", "data_format"), ("published", "", "give the folder"), ("phantom", "x", "add")],
)
def test_a_format_and_its_folder_belong_together(data_format, folder, words):
    with pytest.raises(UserError, match=words):
        training_labels(data_format, folder)

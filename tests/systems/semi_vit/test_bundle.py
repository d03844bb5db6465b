"""What the classifier of garments claims, a sentence a test; its stages; the published scale."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from synthzoo.bundle.compose import load_config
from synthzoo.cases.examples import write_example
from synthzoo.phantoms.garments.params import CLASSES
from synthzoo.phantoms.garments.phantom import make_garment
from synthzoo.systems.semi_vit.objective import SemiSupervisedLoss

NAME = "garments_rgb_classification_semivit"
UNSEEN = range(2_800_000, 2_800_060)  # garments of the test split that no evaluation uses


@pytest.fixture(scope="module")
def bundle(root):
    return root / "bundles" / NAME


@pytest.fixture(scope="module")
def scores(bundle):
    """Probabilities (60, 10) and classes (60,) of garments that nobody has seen."""
    config = load_config(bundle, overrides={"device": "cpu"})
    network, inferer = (config.get_parsed_content(part) for part in ("network", "inferer"))
    garments = [make_garment(seed, 64) for seed in UNSEEN]
    with torch.inference_mode():
        found = inferer(torch.from_numpy(np.stack([one.image for one in garments])), network)
    return found.numpy(), np.array([one.params.label for one in garments])


def test_unseen_garments_are_told_apart_far_better_than_by_chance(scores):
    found, truth = scores
    accuracy = float((found.argmax(1) == truth).mean())
    print(accuracy)
    assert accuracy > 0.25, "chance is 0.1"
    assert np.allclose(found.sum(1), 1, atol=1e-5)


def test_sure_answers_are_right_more_often(scores):
    found, truth = scores
    order = np.argsort(-found.max(1))
    right = (found.argmax(1) == truth)[order]
    assert right[:30].mean() >= right[30:].mean()


def test_the_classes_are_those_of_the_phantoms(bundle):
    config = load_config(bundle)
    assert tuple(config["classes"]) == CLASSES
    stated = json.loads((bundle / "configs" / "metadata.json").read_text())
    named = stated["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert tuple(named.values()) == CLASSES


def test_a_run_writes_every_class_with_the_likeliest_first(bundle, tmp_path):
    picture = write_example("garment_photograph", tmp_path / "in", 2)
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    command += ["--images", str(picture), "--output_dir", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    [table] = (tmp_path / "out").rglob("*_classes.tsv")
    rows = list(csv.DictReader(table.open(), delimiter="\t"))
    shares = [float(row["probability"]) for row in rows]
    assert {row["class"] for row in rows} == set(CLASSES)
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1, abs=2e-3)
    sidecar = json.loads(table.with_suffix(".json").read_text())
    assert sidecar["class"] == rows[0]["class"] and sidecar["probability"] == shares[0]


STAGES = {"train_mae": ["train", "train_mae"], "train": ["train"], "train_semi": ["train", "train_semi"]}


def test_the_three_stages_go_on_from_one_another_and_ship_the_teacher(bundle, tmp_path):
    small = {
        "device": "cpu",
        "cache_dir": str(tmp_path / "cache"),
        "image_size": 32,
        "train_size": 60,
        "labelled_share": 0.2,
        "epoch_length": 2,
        "batch_size": 2,
        "log_dir": None,
        "network_def#settings#embed_dim": 16,
        "network_def#settings#depth": 1,
    }
    before = None
    for name, overlays in STAGES.items():
        files = {"checkpoint_dir": str(tmp_path / name), "save_to": str(tmp_path / f"{name}.pt"), "init_from": before}
        own = {"student_to": str(tmp_path / "student.pt"), "threshold": 0.05} if name == "train_semi" else {}
        config = load_config(bundle, overlays, {**small, **files, **own})
        config.get_parsed_content("train#trainer").run()
        before = str(tmp_path / f"{name}.pt")
        if name == "train_semi":
            objective = config.get_parsed_content("train#objective")
            assert isinstance(objective, SemiSupervisedLoss)
            objective.save_teacher(before)
    teacher, student = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("train_semi", "student"))
    assert set(teacher) == set(student) and any(
        not torch.equal(value, student[name]) for name, value in teacher.items()
    )


@pytest.mark.parametrize(("data_format", "share"), [("phantom", 0.05), ("chest", 0.05), ("csv", 1.0), ("folders", 1.0)])
def test_labels_of_a_users_own_images_all_count(bundle, data_format, share):
    assert load_config(bundle, ["train"], {"data_format": data_format}).get_parsed_content("labelled_share") == share


def test_layers_learn_alike_from_first_weights_and_more_slowly_below_after_others(bundle):
    for before, decay in ((None, 1.0), ("mae.pt", 0.75)):
        assert load_config(bundle, ["train"], {"init_from": before}).get_parsed_content("layer_decay") == decay


def test_the_published_scale_has_its_parameters(bundle):
    config = load_config(bundle, ["train", "train_semi", "paper"], {"device": "cpu"})
    with torch.device("meta"):
        from timm import create_model

        reference = create_model("vit_base_patch16_224", pretrained=False, global_pool="avg", num_classes=10)
    network = config.get_parsed_content("network_def")
    parts = sum(value.numel() for value in network.parameters())
    assert parts == sum(value.numel() for value in reference.parameters())
    assert config["teacher_decay"] == 0.9999 and config["unlabelled_weight"] == 5.0 and config["others"] == 5

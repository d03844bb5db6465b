"""Pools of chest phantoms: made once, resumed, split by patient, exposed again; and the data set that reads them."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from synthzoo.datasets.chest.chestxray14 import read_chestxray14
from synthzoo.datasets.chest.phantoms import ChestPhantomDataset
from synthzoo.errors import UserError
from synthzoo.io.images import read_picture
from synthzoo.io.marks import read_mark
from synthzoo.phantoms.chest import pool as pools
from synthzoo.phantoms.chest.findings import KINDS
from synthzoo.phantoms.chest.phantom import chest_study
from synthzoo.phantoms.chest.pool import PoolSettings, load_pool
from synthzoo.phantoms.chest.truth import tight_box
from synthzoo.results.chestxray14 import image_name, label_of, write_chestxray14

SMALL = {"patients": 8, "studies": 2, "size": 32}


@pytest.fixture(autouse=True, scope="module")
def small_parts():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "SHARD", 4)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pool")


@pytest.fixture(scope="module")
def pool(folder):
    return load_pool(folder=folder, **SMALL)


def test_no_patient_is_in_two_splits_and_the_shares_are_75_and_twice_12_and_a_half(pool):
    patients = {split: {pool.records[row]["patient"] for row in pool.indices(split)} for split in pools.SPLITS}
    assert [len(patients[split]) for split in ("TRAIN", "VAL", "TEST")] == [6, 1, 1]
    assert len(set.union(*patients.values())) == 8
    larger = PoolSettings(patients=100)
    for split in pools.SPLITS:  # and none of a larger pool's training patients is in a smaller one's test
        for other in pools.SPLITS:
            assert split == other or not set(larger.seeds(split)) & patients[other]


def test_a_row_is_the_study_of_its_seeds(pool):
    record = pool.records[5]
    study = chest_study(record["patient"], record["study"], size=32)
    assert np.abs(pool.mu[5] - study.projection.mu).max() < 0.01
    assert record["report"] == study.report and record["ctr"] == study.ctr
    assert [tuple(found["box"]) for found in record["findings"]] == [found.box for found in study.findings]
    masks = pool.masks(5)
    assert np.array_equal(masks["lungs"], study.lungs) and np.array_equal(masks["heart"], study.heart)
    for found in record["findings"]:
        assert tight_box(masks[found["kind"]]) == tuple(found["box"])


def test_a_pool_that_was_interrupted_is_completed_and_not_made_twice(folder, tmp_path, pool, monkeypatch):
    made, whole = [], pools._make_shard

    def once_then_killed(*args):
        if made:
            raise KeyboardInterrupt
        made.append(args[-1])
        whole(*args)

    monkeypatch.setattr(pools, "_make_shard", once_then_killed)
    with pytest.raises(KeyboardInterrupt):
        load_pool(folder=tmp_path, **SMALL)
    monkeypatch.setattr(pools, "_make_shard", lambda *args: (made.append(args[-1]), whole(*args)))
    again = load_pool(folder=tmp_path, **SMALL)
    assert sorted(made) == [0, 1], "the first part is made once"
    assert np.array_equal(again.mu, pool.mu) and again.records == pool.records
    monkeypatch.setattr(pools, "_make", None)
    assert len(load_pool(folder=folder, **SMALL)) == 16


def test_who_wants_a_pool_that_another_makes_waits_for_it(tmp_path, pool, monkeypatch):
    made, whole = [], pools._make_shard
    monkeypatch.setattr(pools, "_make_shard", lambda *args: (made.append(args[-1]), whole(*args)))
    with ThreadPoolExecutor(3) as both:
        found = list(both.map(lambda _: load_pool(folder=tmp_path, **SMALL), range(3)))
    assert sorted(made) == [0, 1]
    assert all(np.array_equal(one.mu, pool.mu) and one.records == pool.records for one in found)


def test_two_processes_make_the_same_pool(tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "SHARD", 1)
    pool = load_pool(folder=tmp_path, processes=2, patients=2, studies=1, size=16)
    for row, key in enumerate(pool.settings.rows()):
        mu, planes, record = pools.make_row(pool.settings, *key)
        assert np.allclose(pool.mu[row], mu, atol=4e-3) and np.array_equal(pool.planes[row], planes)
        assert pool.records[row]["report"] == record["report"]


def test_rows_of_the_data_set_have_truth_and_fresh_or_fixed_exposures(pool):
    fixed = ChestPhantomDataset("TRAIN", pool, exposures="fixed", copies=2, masks=True)
    assert len(fixed) == 24 and torch.equal(fixed[3]["image"], fixed[3]["image"])
    assert fixed[2]["row"] == fixed[3]["row"] and not torch.equal(fixed[2]["image"], fixed[3]["image"])
    for row in range(0, 24, 2):
        item, record = fixed[row], fixed.record(row)
        assert item["image"].shape == (1, 32, 32) and item["mask"].shape == (2 + len(KINDS), 32, 32)
        kinds = {found["kind"] for found in record["findings"]}
        assert {kind for kind, label in zip(KINDS, item["labels"]) if label} == kinds
        for number, kind in enumerate(KINDS):
            assert bool(item["boxes"][number].any()) == bool(item["phrases"][number]) == (kind in kinds)
            assert bool(item["mask"][2 + number].any()) == (kind in kinds)
    fresh = ChestPhantomDataset("VAL", pool)
    np.random.seed(0)
    first, second = fresh[0]["image"], fresh[0]["image"]
    np.random.seed(0)
    assert torch.equal(first, fresh[0]["image"]) and not torch.equal(first, second)


def test_healthy_pools_and_pools_of_one_kind(tmp_path):
    healthy = load_pool(folder=tmp_path, patients=4, studies=1, size=24, findings="none")
    assert not any(record["findings"] for record in healthy.records)
    ill = load_pool(folder=tmp_path, patients=4, studies=1, size=24, findings=["effusion", "nodule"])
    kinds = [{found["kind"] for found in record["findings"]} for record in ill.records]
    assert sum("effusion" in some for some in kinds) >= 3
    json.dumps(ill.records)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"patients": 0}, "patients = 0"),
        ({"patients": 2.5}, "patients = 2.5"),
        ({"first": "a"}, "first = 'a'"),
        ({"studies": 0}, "studies = 0"),
        ({"studies": "many"}, "studies = 'many'"),
        ({"studies": (1, 2, 3)}, "studies = "),
        ({"studies": 101}, "100 at most"),
        ({"size": 4}, "size = 4"),
        ({"view": "LAT"}, "view = 'LAT'"),
        ({"spread": 2}, "spread = 2"),
        ({"studies": (4, 2)}, "studies = "),
        ({"findings": "mass"}, "findings = 'mass'"),
        ({"findings": ("draw", "nodule")}, "findings = "),
        ({"first": 99_999, "patients": 2}, "first = 99999"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        PoolSettings(**settings)


def test_wrong_words_of_the_data_set_are_named(pool, tmp_path):
    with pytest.raises(UserError, match="exposures = 'new'"):
        ChestPhantomDataset("TRAIN", pool, exposures="new")
    with pytest.raises(UserError, match="split = 'train'"):
        ChestPhantomDataset("train", pool)
    tiny = load_pool(folder=tmp_path, patients=1, studies=1, size=16)
    with pytest.raises(UserError, match="split = TEST: a pool of 1 patients"):
        ChestPhantomDataset("TEST", tiny)


def test_the_set_in_chestxray14s_layout_reads_back_with_its_boxes_and_splits(pool, tmp_path, capsys):
    folder = write_chestxray14(tmp_path / "set", pool)
    before = {path: path.stat().st_mtime_ns for path in (folder / "images").iterdir()}
    write_chestxray14(folder, pool)
    assert {path: path.stat().st_mtime_ns for path in before} == before and len(before) == len(pool)
    rows = {row["case"]: row for row in read_chestxray14(folder, validation_share=0)}
    assert len(rows) == len(pool)
    for number, record in enumerate(pool.records):
        row = rows[image_name(record).removesuffix(".png")]
        assert row["split"] == ("test" if record["split"] == "TEST" else "train")
        labels = {label_of(found) for found in record["findings"]} - {None}
        assert {name for name, value in row["labels"].items() if value} == labels
        boxes = sorted(tuple(box.corners) for box in row["boxes"])
        found = [found["box"] for found in record["findings"] if label_of(found)]
        assert boxes == sorted((x, y, x + w, y + h) for x, y, w, h in found)
        assert row["spacing_mm"] == pytest.approx((record["pixel_mm"],) * 2, abs=1e-3)
        assert read_picture(row["path"])[0][0] == pytest.approx(pool.expose(number, number), abs=0.51 / 255)
        assert read_mark(row["path"]).synthetic
    with pytest.raises(UserError, match="holds another set"):
        write_chestxray14(folder, pool, "random")


def test_the_script_writes_a_set(tmp_path):
    script = Path(__file__).resolve().parents[2] / "scripts" / "generate_phantoms.py"
    options = ["--out", tmp_path / "set", "--cache_dir", tmp_path / "cache", "--patients", "1", "--studies", "1"]
    done = subprocess.run(
        [sys.executable, script, *options, "--size", "16", "--findings", "nodule"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "1 radiographs" in done.stdout and len(list((tmp_path / "set" / "images").iterdir())) == 1
    wrong = subprocess.run([sys.executable, script, *options, "--size", "4"], capture_output=True, text=True)
    assert wrong.returncode == 1 and "size = 4" in wrong.stderr

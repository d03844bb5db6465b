"""The Train button of an anomaly map: the scans of the datastore are what it learns as healthy."""

from __future__ import annotations

import json

import pytest
import torch
from small_zoo import ANOMALY

from synthzoo.networks.weights import read_state
from synthzoo.serving.fine_tuning import Scan, fine_tune, training_stages


@pytest.fixture(scope="module")
def bundle(zoo):
    return zoo.parent / "bundles" / ANOMALY


def test_the_members_learn_on_the_extractor_stays_and_the_best_epoch_is_kept(bundle, scans, tmp_path):
    assert training_stages(bundle) == ["train"]
    weights = bundle / "models" / "model.pt"
    found = [Scan(path.name.removesuffix(".nii.gz"), path) for path in scans[:1]]
    record = fine_tune(bundle, "train", found, tmp_path, weights, epochs=2, learning_rate=1e-3)
    assert record["scans"] == 1 and len(record["losses"]) == 2
    assert record["best"] == min(record["losses"]) < record["before"] and record["improved"]
    assert json.loads((tmp_path / "0001" / "version.json").read_text())["best_epoch"] == record["best_epoch"]
    before, after = read_state(weights), read_state(tmp_path / "0001" / "model.pt")
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name].float(), after[name].float())}
    assert changed == {"members"}

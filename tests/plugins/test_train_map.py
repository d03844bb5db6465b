"""The Train button of an anomaly map: the scans of the datastore are what it learns as healthy.

In the end the new weights are calibrated; a stop before that loses none of the training.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from small_zoo import ANOMALY, SYNTHESIS

from synthzoo.networks.weights import read_state
from synthzoo.serving.calibrating import calibration_subjects
from synthzoo.serving.fine_tuning import Scan, fine_tune, training_stages
from synthzoo.serving.served import ServedBundle

PATIENCE_S = 240
CALIBRATION = {"calibrated", "usual"}


@pytest.fixture(scope="module")
def bundle(zoo):
    return zoo.parent / "bundles" / ANOMALY


def scans_of(paths) -> list[Scan]:
    return [Scan(path.name.removesuffix(".nii.gz"), path) for path in paths]


def changed(before: dict, after: dict) -> set[str]:
    """The parts of the network whose numbers differ."""
    return {name.split(".")[0] for name in before if not torch.equal(before[name].float(), after[name].float())}


def test_the_members_learn_on_the_extractor_stays_and_the_best_epoch_is_kept(bundle, scans, tmp_path):
    assert training_stages(bundle) == ["train"]
    # Members that answer far too loudly: what a few steps can mend for certain.
    worn = read_state(bundle / "models" / "model.pt")
    worn |= {name: value * 3 for name, value in worn.items() if name.endswith("head.weight")}
    weights = tmp_path / "worn.pt"
    torch.save(worn, weights)
    found = scans_of(scans[:1])
    record = fine_tune(bundle, "train", found, tmp_path, weights, epochs=2, learning_rate=1e-3, calibration=0)
    assert record["scans"] == 1 and len(record["losses"]) == 2
    assert record["best"] == min(record["losses"]) < record["before"] and record["improved"]
    assert json.loads((tmp_path / "0001" / "version.json").read_text())["best_epoch"] == record["best_epoch"]
    assert changed(read_state(weights), read_state(tmp_path / "0001" / "model.pt")) == {"members"}
    assert record["calibrated"] is False and record["settings"] == {}


def test_the_new_weights_are_calibrated_and_bring_their_threshold(bundle, scans, tmp_path):
    weights = bundle / "models" / "model.pt"
    record = fine_tune(bundle, "train", scans_of(scans[:1]), tmp_path, weights, epochs=1, calibration=2)
    assert changed(read_state(weights), read_state(tmp_path / "0001" / "model.pt")) == {"members"} | CALIBRATION
    assert json.loads((tmp_path / "0001" / "version.json").read_text()) == record
    assert sorted(path.name for path in (tmp_path / "0001").iterdir()) == ["data", "model.pt", "version.json"]
    threshold = record["settings"]["threshold"]
    assert record["calibrated"] and 0 < threshold < 1
    served = ServedBundle(bundle, versions=tmp_path)
    released = served.options_of("released")["threshold"].default
    assert threshold != released and served.options_of("0001")["threshold"].default == threshold
    for requested, used in (({}, threshold), ({"threshold": 0.9}, 0.9)):
        (case,) = served.run(requested, tmp_path / f"out{used}", scans[2], "0001")
        assert case.sidecar["threshold"]["value"] == used
    (case,) = served.run({}, tmp_path / "out", scans[2], "released")
    assert case.sidecar["threshold"]["value"] == released


def test_a_version_that_is_not_calibrated_keeps_the_threshold_that_it_started_from(bundle, scans, tmp_path):
    start = tmp_path / "0001"
    start.mkdir()
    shutil.copy(bundle / "models" / "model.pt", start)
    (start / "version.json").write_text(json.dumps({"settings": {"threshold": 0.44}}))
    fine_tune(bundle, "train", scans_of(scans[:1]), tmp_path, start / "model.pt", epochs=1, calibration=0)
    assert ServedBundle(bundle, versions=tmp_path).options_of("0002")["threshold"].default == 0.44


def test_a_bundle_without_a_calibration_says_nothing_of_one(zoo):
    assert calibration_subjects(zoo.parent / "bundles" / SYNTHESIS) is None
    assert calibration_subjects(zoo.parent / "bundles" / ANOMALY) == 4


TRAIN = """
import sys
from pathlib import Path
from synthzoo.serving.fine_tuning import Scan, fine_tune
bundle, scan, versions = map(Path, sys.argv[1:])
fine_tune(bundle, "train", [Scan("a", scan)], versions, bundle / "models" / "model.pt", 1, calibration=64)
"""


def test_a_sigterm_while_calibrating_leaves_the_best_weights_uncalibrated(bundle, scans, tmp_path):
    command = [sys.executable, "-c", TRAIN, str(bundle), str(scans[0]), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert any(line.startswith("calibrating on 64") for line in process.stdout)
        trained = (tmp_path / "0001" / "model.pt").read_bytes()
        time.sleep(3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM
    record = json.loads((tmp_path / "0001" / "version.json").read_text())
    assert record["calibrated"] is False and record["best_epoch"] == 1 and record["settings"] == {}
    kept = tmp_path / "0001" / "model.pt"
    assert kept.read_bytes() == trained
    assert changed(read_state(bundle / "models" / "model.pt"), read_state(kept)) == {"members"}


@pytest.fixture
def one_scan(zoo, scans, tmp_path_factory):
    """A server over one scan, since it reads each before it trains."""
    pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")
    from conftest import Server

    studies = tmp_path_factory.mktemp("one_scan")
    shutil.copy(scans[2], studies)
    made = Server(zoo, studies, tmp_path_factory.mktemp("one_scan_server"), models=f"{ANOMALY},{SYNTHESIS}")
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_train_on_the_server_calibrates_and_stop_keeps_what_was_learnt(one_scan, tmp_path):
    from monailabel.client import MONAILabelClient

    client = MONAILabelClient(one_scan.url, str(tmp_path))
    assert client.info()["trainers"][ANOMALY]["config"]["calibrate"] == 4
    assert "calibrate" not in client.info()["trainers"][SYNTHESIS]["config"]
    client.train_start(ANOMALY, {"epochs": 1, "calibrate": 64})
    end, task = time.monotonic() + PATIENCE_S, {}
    while not any("calibrating on 64" in line for line in task.get("details", ())) and time.monotonic() < end:
        task = client.train_status()
        assert task["status"] in ("SUBMITTED", "RUNNING"), "\n".join(task["details"])
        time.sleep(0.1)
    client.train_stop()
    assert client.train_status()["status"] == "STOPPED"
    versions = one_scan.folder / "versions" / ANOMALY
    record = json.loads((versions / "0001" / "version.json").read_text())
    assert record["calibrated"] is False and len(record["losses"]) == 1
    released = client.infer(ANOMALY, "scan_2", {"model_version": "released"})[1]["threshold"]["value"]
    assert client.infer(ANOMALY, "scan_2", {"model_version": "0001"})[1]["threshold"]["value"] == released
    # One that was calibrated is served with its threshold, and panels show that.
    shutil.copytree(versions / "0001", versions / "0002", symlinks=True)
    calibrated = {**record, "calibrated": True, "improved": True, "settings": {"threshold": 0.44}}
    (versions / "0002" / "version.json").write_text(json.dumps(calibrated))
    assert client.infer(ANOMALY, "scan_2", {})[1]["threshold"]["value"] == 0.44 != released
    offered = client.info()["models"][ANOMALY]
    assert offered["config"]["threshold"] == offered["synthzoo"]["options"]["threshold"]["default"] == 0.44

"""The MONAI Label app over a kill, and the Train button: what was done stays, what was begun goes on."""

from __future__ import annotations

import json
import time

import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

import nibabel as nib
import numpy as np
import requests

SYNTHESIS, MAP = "brain_mr_synthesis_ldm", "phantom_mr_anomaly_map_tiny"
PATIENCE_S = 280


def wait_for(look, what: str):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited in vain for {what}")


def test_a_killed_batch_goes_on_when_the_server_starts_again(server, client):
    for seed in range(300, 306):
        client.infer(SYNTHESIS, "", {"seed": seed, "steps": 1})
    url = f"{server.url}/batch/infer/{MAP}"
    requests.post(url, json={"threshold": 0.2}, timeout=60).raise_for_status()
    status = f"{server.url}/batch/infer"
    before = wait_for(lambda: (task := requests.get(status, timeout=60).json())["done"] >= 2 and task, "two results")
    assert before["status"] == "RUNNING"
    server.kill()
    table = json.loads((server.studies / "datastore_v2.json").read_text())
    done = [key for key, item in table["objects"].items() if "heatmap" in item["labels"]]
    assert len(done) >= 2
    server.start()
    task = wait_for(lambda: (task := requests.get(status, timeout=60).json())["status"] == "DONE" and task, "the end")
    assert task["skipped"] >= 2 and not task["failed"]
    assert task["done"] + task["skipped"] == task["total"] == len(server.get("/datastore/?output=all")["objects"])
    objects = client.datastore()["objects"]
    assert all({"heatmap", "original"} <= set(item["labels"]) for item in objects.values())
    assert all(item["labels"]["heatmap"]["info"]["sidecar"]["bundle"] == MAP for item in objects.values())
    assert not (server.studies / ".synthzoo_batch.json").exists()


def test_the_train_button_keeps_the_best_epoch_and_stop_works(server, client):
    trainer = client.info()["trainers"][SYNTHESIS]["config"]
    assert {"stage", "epochs", "learning_rate", "device"} <= set(trainer)
    requested = {key: value[0] if isinstance(value, list) else value for key, value in trainer.items()}
    client.train_start(SYNTHESIS, {**requested, "epochs": 10_000, "learning_rate": 0.001})
    version = server.folder / "versions" / SYNTHESIS / "0001"

    def epochs() -> dict | None:
        task = client.train_status()
        assert task["status"] in ("SUBMITTED", "RUNNING"), "\n".join(task["details"])
        record = version / "version.json"
        found = json.loads(record.read_text()) if record.is_file() else {}
        return found if len(found.get("losses", [])) >= 3 else None

    record = wait_for(epochs, "three epochs")
    assert record["scans"] >= 3 and record["before"] > 0 and min(record["losses"]) == record["best"]
    client.train_stop()
    assert client.train_status()["status"] == "STOPPED"
    assert (version / "model.pt").is_file()
    tuned, params = client.infer(SYNTHESIS, "", {"model_version": "0001", "seed": 5, "store": False})
    released, other = client.infer(SYNTHESIS, "", {"model_version": "released", "seed": 5, "store": False})
    one, two = (params["studies"][0]["sidecar"]["weights_sha256"], other["studies"][0]["sidecar"]["weights_sha256"])
    assert one != two
    assert not np.array_equal(np.asarray(nib.load(tuned).dataobj), np.asarray(nib.load(released).dataobj))
    assert client.info()["train_stats"][SYNTHESIS]["version"] == "0001"

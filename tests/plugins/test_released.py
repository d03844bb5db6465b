"""The bundles as they are released: downloaded by the app from a web server, verified, and served as commanded."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

import psutil
import requests
from asking import voxels
from bundle_runs import ROOT
from conftest import APP
from monailabel.client.client import MONAILabelClient

from synthzoo.errors import UserError
from synthzoo.serving.tasks import task_names

SYNTHESIS, REAL_MAP = "brain_mr_synthesis_ldm", "brain_mr_anomaly_map_manytasks"


@pytest.fixture(scope="module")
def released_client(released, tmp_path_factory):
    return MONAILabelClient(released.url, str(tmp_path_factory.mktemp("released_client")))


@pytest.fixture
def find_folders(monkeypatch):
    """The app's search for bundles, which runs before it serves."""
    monkeypatch.syspath_prepend(str(APP))
    for name in [name for name in sys.modules if name.split(".")[0] == "lib"]:
        monkeypatch.delitem(sys.modules, name)
    from lib.service import find_folders

    return find_folders


def test_absent_bundles_come_from_the_zoo_and_are_those_of_the_release(released, released_client):
    bundles = {SYNTHESIS, REAL_MAP}
    tasks = {f"{name}_{task}" for name in bundles for task in task_names(ROOT / "bundles" / name)}
    assert set(released_client.info()["models"]) == bundles | tasks
    for name in (SYNTHESIS, REAL_MAP):
        for file in ("configs/inference.json", "models/model.pt"):
            here = released.folder / "bundles" / name / file
            assert here.read_bytes() == (ROOT / "bundles" / name / file).read_bytes()
    assert "sha256 verified" in (released.folder / "server.log").read_text()


def test_a_bundle_with_another_hash_is_refused_and_nothing_is_left(release, serve, find_folders, tmp_path):
    spoilt = shutil.copytree(release[0], tmp_path / "dist")
    item = json.loads((spoilt / "bundle_index.json").read_text())["bundles"][SYNTHESIS]["zip"]
    content = bytearray((spoilt / item["file"]).read_bytes())
    content[len(content) // 2] ^= 1
    (spoilt / item["file"]).unlink()  # it may be a second name of another file
    (spoilt / item["file"]).write_bytes(bytes(content))
    conf = {"zoo": serve(spoilt), "index": str(tmp_path / "none.json"), "bundle_dir": str(tmp_path / "bundles")}
    with pytest.raises(UserError, match="sha256") as caught:
        find_folders(APP, {**conf, "models": SYNTHESIS})
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "bundles").iterdir())
    (folder,) = find_folders(APP, {**conf, "zoo": release[1], "models": SYNTHESIS})
    assert (folder / "models" / "model.pt").is_file()


@pytest.mark.parametrize("name", [SYNTHESIS, REAL_MAP])
def test_what_is_served_equals_the_command_bit_for_bit(name, released_client, scans, command_run):
    takes = name == REAL_MAP
    requested = {"threshold": 0.3} if takes else {"age": 70, "sex": "F", "seed": 11, "num_samples": 2}
    out = command_run(ROOT / "bundles" / name, scans[2] if takes else None, **requested)
    path, params = released_client.infer(name, "scan_2" if takes else "", {**requested, "store": False})
    command = sorted(out.glob("*/*_heatmap.nii.gz" if takes else "*/*_T1w.nii.gz"))[0]
    assert Path(path).read_bytes() == command.read_bytes()
    sidecar = command.with_name(command.name.replace(".nii.gz", ".json"))
    assert params["studies"][0]["sidecar"] == json.loads(sidecar.read_text())


def test_32_requests_of_8_clients_within_the_memory_limit(released, tmp_path):
    answers, failures, most = {}, [], [0]
    process = psutil.Process(released.process.pid)
    before = process.memory_info().rss
    limit = float(released.conf["memory_gb"]) * 1e9

    def work(number: int) -> None:
        own = MONAILabelClient(released.url, str(tmp_path))
        for turn in range(4):
            seed = 100 + number * 4 + turn
            try:
                if number == 0 and turn == 1:  # another model in between, which does not fit beside the first
                    path, params = own.infer(REAL_MAP, "scan_2", {"smooth_voxels": 2})
                    answers[seed] = (voxels(path), params["studies"][0]["sidecar"]["input"]["name"])
                else:
                    requested = {"seed": seed, "steps": 1, "ventricle_ml": 10 + 3 * turn, "store": False}
                    path, params = own.infer(SYNTHESIS, "", requested)
                    answers[seed] = (voxels(path), params["studies"][0]["sidecar"]["seed"])
            except Exception as error:
                failures.append(error)
            most[0] = max(most[0], process.memory_info().rss)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and len(answers) == 32
    assert answers[101][1] == "scan_2.nii.gz" and all(
        seed == said for seed, (_, said) in answers.items() if seed != 101
    )
    assert len({image.tobytes() for image, _ in answers.values()}) == 32
    alone, _ = MONAILabelClient(released.url, str(tmp_path)).infer(
        SYNTHESIS, "", {"seed": 117, "steps": 1, "ventricle_ml": 13, "store": False}
    )
    assert np.array_equal(answers[117][0], voxels(alone))
    assert most[0] - before < limit


def test_what_is_larger_than_the_limit_is_refused_and_the_server_lives_on(released):
    def endless(megabytes):
        for _ in range(megabytes):
            yield b"x" * 1_000_000

    boundary = {"Content-Type": "multipart/form-data; boundary=b"}
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.nii.gz"\r\n\r\n'
    for data in ({"files": {"file": ("a.nii.gz", b"x" * 9_000_000)}}, {"data": (p for p in (head, *endless(12)))}):
        headers = boundary if "data" in data else {}
        answer = requests.put(f"{released.url}/datastore/image?image=big", headers=headers, timeout=60, **data)
        assert answer.status_code == 413 and "8 MB" in answer.json()["detail"]
    assert "big" not in released.get("/datastore/?output=all")["objects"]


def test_a_bundle_that_writes_tables_alone_is_left_to_the_command_line(find_folders):
    index = json.loads((ROOT / "bundle_index.json").read_text())["bundles"]
    audits = [name for name, entry in index.items() if set(entry["outputs"]) == {"table"}]
    assert audits and not set(audits) & {folder.name for folder in find_folders(APP, {})}
    with pytest.raises(UserError, match=f"{audits[0]} writes tables alone"):
        find_folders(APP, {"models": audits[0]})

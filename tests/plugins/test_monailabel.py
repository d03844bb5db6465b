"""The MONAI Label app over HTTP: a real server process, and MONAI Label's own client."""

from __future__ import annotations

import importlib.util
import json
import threading
import time

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

import nibabel as nib
import psutil
import requests
from asking import ask, refused, voxels
from bundle_runs import ROOT
from monailabel.client.client import MONAILabelClient, MONAILabelClientException

SYNTHESIS, REAL_MAP = "brain_mr_synthesis_ldm", "brain_mr_anomaly_map_manytasks"
MAP, TRANSLATION = "phantom_mr_anomaly_map_tiny", "phantom_mr_translation_tiny"
REQUEST = {"age": 70, "sex": "F", "seed": 11, "steps": 3}


# --- what a client sees ----------------------------------------------------------------------------------------------


def test_every_bundle_of_the_index_is_offered_with_its_options(client, zoo):
    info = client.info()
    config = json.loads((zoo.parent / "bundles" / SYNTHESIS / "configs" / "inference.json").read_text())
    assert {SYNTHESIS, REAL_MAP, MAP, TRANSLATION} <= set(info["models"])
    assert info["models"][MAP]["type"] == "segmentation", "else the stock Slicer module does not offer it"
    assert info["models"][SYNTHESIS]["type"] == "others"
    panel = info["models"][SYNTHESIS]["config"]
    assert panel["sex"] == ["", "F", "M"] and panel["steps"] == 2 and panel["sampler"][0] == config["sampler"]
    age = info["models"][SYNTHESIS]["synthzoo"]["options"]["age"]
    assert (age["minimum"], age["maximum"]) == (20, 90) and age["unit"] == "years" and age["condition"]
    assert {"most_anomalous_first", f"generate_{SYNTHESIS}"} <= set(info["strategies"])
    assert info["strategies"][f"generate_{SYNTHESIS}"]["config"]["sex"] == ["", "F", "M"]
    assert {SYNTHESIS, REAL_MAP} <= set(info["trainers"])


def test_the_openapi_schema_is_whole_and_each_address_has_one_owner(server):
    from openapi_spec_validator import validate

    schema = server.get("/openapi.json")
    validate(schema)
    assert schema["openapi"].startswith("3.") and "/zoo/jobs" in schema["paths"]
    names = [op["operationId"] for path in schema["paths"].values() for op in path.values() if "operationId" in op]
    assert len(names) == len(set(names))
    for path in ("/infer/{model}", "/train/{model}", "/activelearning/{strategy}", "/datastore/image"):
        assert path in schema["paths"], sorted(schema["paths"])


def test_the_server_listens_on_the_loopback_only(server):
    found = [c.laddr for c in psutil.Process(server.process.pid).net_connections() if c.status == "LISTEN"]
    assert [address.ip for address in found if address.port == server.port] == ["127.0.0.1"]


# --- generation ------------------------------------------------------------------------------------------------------


def test_a_study_is_generated_without_an_image_and_stored(client):
    path, params = client.infer(SYNTHESIS, "", REQUEST)
    image = voxels(path)
    assert image.dtype == np.float32 and image.shape == (48, 56, 48)
    (study,) = params["studies"]
    assert study["sidecar"]["requested"] == {"age": 70.0, "sex": "F", "ventricle_ml": None, "brain_ml": None}
    stored = client.datastore()["objects"][study["id"]]
    assert stored["image"]["info"]["sidecar"]["seed"] == 11
    again = client.infer(SYNTHESIS, "", REQUEST)
    assert again[1]["studies"][0]["id"] == study["id"]
    assert np.array_equal(voxels(again[0]), image)


def test_several_at_once_are_stored_each_with_its_seed(client):
    _, params = client.infer(SYNTHESIS, "", {"num_samples": 3, "seed": 40, "steps": 1})
    assert [study["sidecar"]["seed"] for study in params["studies"]] == [40, 41, 42]
    assert {study["id"] for study in params["studies"]} <= set(client.datastore()["objects"])


def test_a_seed_reaches_the_sidecar_to_its_last_digit(client):
    for seed in (2**53 + 1, 2**62 - 1):
        _, params = client.infer(SYNTHESIS, "", {"seed": seed, "steps": 1, "store": False})
        assert params["studies"][0]["sidecar"]["seed"] == seed


def test_next_sample_of_a_generator_makes_and_opens_a_study(client):
    strategy = f"generate_{SYNTHESIS}"
    panel = client.info()["strategies"][strategy]["config"]
    requested = {key: value[0] if isinstance(value, list) else value for key, value in panel.items()}
    first = client.next_sample(strategy, {**requested, "age": "33", "steps": 1})
    second = client.next_sample(strategy, {**requested, "age": "33", "steps": 1})
    assert first["id"] != second["id"], "an empty seed takes the next one"
    assert first["sidecar"]["requested"]["age"] == 33.0
    assert voxels(first["path"]).shape == (48, 56, 48)


# --- maps ------------------------------------------------------------------------------------------------------------


def test_a_map_comes_as_floats_on_the_grid_of_the_scan(client, scans):
    path, params = client.infer(MAP, "scan_0", {})
    heat, scan = nib.load(path), nib.load(scans[0])
    assert np.asarray(heat.dataobj).dtype == np.float32 and heat.shape == scan.shape
    assert np.allclose(heat.affine, scan.affine, atol=1e-4)
    assert voxels(path).min() >= 0 and voxels(path).max() <= 1
    assert params["score"] >= 0 and "regions" in params


def test_for_the_stock_viewer_a_map_comes_as_bands_with_consecutive_values(client, server):
    path, params = client.infer(MAP, "scan_0", {"result_extension": ".nrrd", "result_dtype": "uint8"})
    assert path.endswith(".nrrd")
    import nrrd

    bands, header = nrrd.read(path)
    heat = voxels(client.infer(MAP, "scan_0", {})[0])
    assert bands.dtype == np.uint8
    assert list(params["label_names"].values()) == [1, 2, 3, 4, 5]
    edges = [float(name.split(">")[1]) for name in params["label_names"]]
    assert np.array_equal(bands, sum((heat >= np.float32(edge)).astype(np.uint8) for edge in edges))
    assert header["space"] == "left-posterior-superior"


def test_an_uploaded_scan_is_mapped_as_the_stored_one(client, scans):
    stored = voxels(client.infer(MAP, "scan_1", {})[0])
    uploaded = voxels(client.infer(MAP, "", {}, file=str(scans[1]))[0])
    assert np.array_equal(stored, uploaded)


def test_a_translated_scan_is_stored_beside_its_source(client):
    path, params = client.infer(TRANSLATION, "scan_0", {})
    stored = client.datastore()["objects"][params["studies"][0]["id"]]["image"]["info"]
    assert stored["source"] == "scan_0" and stored["synthetic"]
    assert voxels(path).shape == voxels(client.infer(MAP, "scan_0", {})[0]).shape


def test_a_batch_leads_the_reader_to_the_worst_scan_and_is_not_done_twice(client, server):
    url = f"{server.url}/batch/infer/{MAP}?run_sync=true"
    task = requests.post(url, json={"max_batch_size": 0}, timeout=280).json()
    assert task["status"] == "DONE", task
    assert task["done"] >= 3 and not task["failed"], task
    again = requests.post(url, json={}, timeout=280).json()
    assert again["done"] == 0 and again["skipped"] == task["done"] + task["skipped"]
    objects = client.datastore()["objects"]
    volumes = {key: item for key, item in objects.items() if "_video_" not in key}  # videos are left out
    scores = {key: item["image"]["info"]["synthzoo_scores"][MAP]["score"] for key, item in volumes.items()}
    order = [client.next_sample("most_anomalous_first", {})["id"] for _ in range(2)]
    assert order == sorted(scores, key=lambda key: (-scores[key], key))[:2]
    assert objects["scan_0"]["labels"]["heatmap"]["info"]["sidecar"]["score"] == scores["scan_0"]
    label = client.download_label("scan_0", "heatmap")
    assert np.array_equal(voxels(label), voxels(client.infer(MAP, "scan_0", {})[0]))


# --- many at once ----------------------------------------------------------------------------------------------------


def test_32_requests_of_8_clients_each_get_their_own_answer(server, tmp_path):
    answers, failures = {}, []
    before = psutil.Process(server.process.pid).memory_info().rss

    def work(number: int) -> None:
        own = MONAILabelClient(server.url, str(tmp_path))
        for turn in range(4):
            seed = 100 + number * 4 + turn
            try:
                path, params = own.infer(SYNTHESIS, "", {"seed": seed, "steps": 1, "store": False})
                answers[seed] = (voxels(path), params["studies"][0]["sidecar"]["seed"])
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    seen_while_busy = [job for job in server.get("/zoo/jobs") if job["model"] == SYNTHESIS]
    for thread in threads:
        thread.join()
    assert not failures and len(answers) == 32
    assert all(seed == stated for seed, (_, stated) in answers.items())
    assert len({image.tobytes() for image, _ in answers.values()}) == 32
    alone = voxels(MONAILabelClient(server.url, str(tmp_path)).infer(SYNTHESIS, "", {"seed": 117, "steps": 1})[0])
    assert np.array_equal(answers[117][0], alone)
    assert seen_while_busy, "the server answers others meanwhile"
    grown = psutil.Process(server.process.pid).memory_info().rss - before
    assert grown < float(server.conf["memory_gb"]) * 1e9


def test_a_running_request_is_seen_and_can_be_cancelled(server):
    found = {}

    def work() -> None:
        found["answer"] = ask(server, SYNTHESIS, {"steps": 200, "num_samples": 4, "job": "long-one"})

    thread = threading.Thread(target=work)
    thread.start()
    while True:
        job = next((job for job in server.get("/zoo/jobs") if job["id"] == "long-one"), None)
        if job is not None and job["calls"] > 2:
            break
    assert job["state"] == "running" and job["total"] == 4
    assert requests.delete(f"{server.url}/zoo/jobs/long-one", timeout=60).json()["cancelled"]
    thread.join()
    assert "cancelled" in refused(found["answer"], 409)


def benchmark_serving():
    spec = importlib.util.spec_from_file_location("benchmark_serving", ROOT / "scripts" / "benchmark_serving.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    return benchmark


def test_the_server_adds_at_most_a_tenth_and_half_a_second_to_a_volume_of_1_mm(client, server, zoo, scans, tmp_path):
    benchmark = benchmark_serving()
    coarse = nib.load(scans[0])
    fine = np.asarray(coarse.dataobj).repeat(4, 0).repeat(4, 1).repeat(4, 2)
    path = tmp_path / "fine.nii.gz"
    nib.save(nib.Nifti1Image(fine, coarse.affine @ np.diag([0.25, 0.25, 0.25, 1])), path)

    def worked() -> float:
        """Processor seconds of both processes, which others on this machine do not lengthen."""
        server_times = psutil.Process(server.process.pid).cpu_times()
        return time.process_time() + server_times.user + server_times.system

    found = benchmark.measure(server.url, zoo.parent / "bundles" / MAP, path, turns=5, clock=worked)
    print(found)
    assert found["volume"] == "192x224x192" and found["added_s"] <= found["allowed_s"]
    assert "benchmark_scan" not in client.datastore()["objects"]


# --- what is refused -------------------------------------------------------------------------------------------------

BAD_OPTIONS = {
    "program": ({"age": "$__import__('os').system('touch pwned')"}, "looks like a program"),
    "reference": ({"sex": "@network"}, "looks like a program"),
    "macro": ({"sampler": "%network_def"}, "looks like a program"),
    "path": ({"sampler": "/etc/passwd"}, "one of"),
    "over-long": ({"sex": "F" * 1000}, "1000 characters"),
    "wrong type": ({"age": "old"}, "number from 20 to 90"),
    "a list": ({"age": [70, 80]}, "is a list"),
    "an object": ({"steps": {"_target_": "os.system"}}, "is a dict"),
    "a boolean": ({"steps": True}, "must be an integer"),
    "half a step": ({"steps": 1.5}, "integer"),
    "out of range": ({"age": 200}, "between 20 and 90"),
    "too many": ({"num_samples": 10**6}, "between 1 and 64"),
    "a seed out of range": ({"seed": 2**62}, f"seed is {2**62}, but must lie between 0 and {2**62 - 1}"),
    "a rounded seed": ({"seed": 2.0**60}, "integer"),
    "a number beyond floats": ({"age": 10**400}, "number from 20 to 90"),
    "infinite steps": ({"steps": float("inf")}, "params holds Infinity, which is no number in JSON"),
    "unknown": ({"output_dir": "/tmp"}, "no option 'output_dir'"),
    "config id": ({"inferer#steps": 3}, "no option"),
    "network": ({"network_def": {}}, "no option"),
    "image": ({"image": "/etc/passwd"}, "no option 'image'"),
    "weights": ({"model_version": "../../evil"}, "one of"),
    "tag": ({"label_tag": "../../x"}, "label_tag"),
    "stock key": ({"device": "$quit()"}, "plain text or number"),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_a_bad_option_is_refused_with_a_sentence_and_nothing_runs(server, name):
    params, words = BAD_OPTIONS[name]
    before = len(server.get("/zoo/jobs"))
    assert words in refused(ask(server, SYNTHESIS, params))
    assert len(server.get("/zoo/jobs")) == before
    assert not list(server.folder.rglob("pwned"))


def test_params_that_are_no_object_and_unknown_names_are_refused(server):
    assert "JSON" in refused(ask(server, SYNTHESIS, raw="{"))
    assert "list" in refused(ask(server, SYNTHESIS, raw="[1]"))
    assert "characters" in refused(ask(server, SYNTHESIS, raw=json.dumps({"age": "7" * 200_000})))
    assert "no model" in refused(ask(server, "nothing"), 404)
    assert "needs an image" in refused(ask(server, MAP))
    assert "no image" in refused(ask(server, MAP, image="/etc/hostname"), 404)
    bad = requests.post(f"{server.url}/activelearning/generate_{SYNTHESIS}", json={"age": "$x"}, timeout=60)
    assert "program" in refused(bad)
    bad = requests.post(f"{server.url}/train/{SYNTHESIS}", json={"epochs": "$x"}, timeout=60)
    assert "program" in refused(bad)
    bad = requests.post(f"{server.url}/train/{SYNTHESIS}", json={"bundle_path": "evil"}, timeout=60)
    assert "no option 'bundle_path'" in refused(bad), "its folder would be searched for Python modules"
    for method, path in (("PUT", "model/x"), ("DELETE", "model/x"), ("POST", "scoring/x"), ("POST", "infer/wsi/x")):
        assert requests.request(method, f"{server.url}/{path}", timeout=60).status_code in (404, 405)
    assert "no trainer" in refused(requests.post(f"{server.url}/train/x", json={}, timeout=60), 404)


def test_what_the_client_can_call_besides_is_answered(client):
    assert client.auth_enabled() is False and client.get_server_url().startswith("http://127.0.0.1")
    with pytest.raises(MONAILabelClientException, match="404|405"):
        client.wsi_infer(MAP, "scan_0")

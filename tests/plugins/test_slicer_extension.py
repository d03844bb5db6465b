"""The SynthZoo extension for 3D Slicer: its panel, clicked through against a real server, and the scene that it leaves.

Qt and Slicer's C++ are real; the application's window is not there, see slicer_host.py and slicer_widgets.py.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")
import nibabel as nib
import requests
from bundle_runs import ROOT
from extension_steps import (
    FROM_LABELS,
    HALFWAY,
    LABELLED,
    MAP,
    REAL_MAP,
    SHIFT_MM,
    SYNTHESIS,
    TRANSLATION,
    TURN_DEG,
    VIDEO,
)
from slicer_python import SLICER_PYTHON
from small_image_bundles import FINER

pytestmark = pytest.mark.needs_slicer("slicer", "drawing", "qt")
MODULE = ROOT / "plugins" / "slicer" / "SynthZoo" / "SynthZoo"


def in_slicer(*command: str) -> str:
    """Standard output of a script that Slicer's libraries run."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([SLICER_PYTHON, *command], capture_output=True, text=True, timeout=290, check=False, env=env)
    assert "REPORT " in done.stdout, done.stdout[-2000:] + done.stderr[-4000:]
    return next(line for line in done.stdout.splitlines() if line.startswith("REPORT ")).removeprefix("REPORT ")


@pytest.fixture(scope="module")
def seen(server, scans, tmp_path_factory) -> dict:
    """What a reader's session in the panel has left, step by step; `folder` has arrays and pictures."""
    folder = tmp_path_factory.mktemp("extension")
    driver = str(Path(__file__).with_name("drive_slicer_extension.py"))
    return {**json.loads(in_slicer(driver, server.url, str(scans[-1]), str(folder))), "folder": folder}


def voxels(path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_the_scene_tests_that_come_with_the_extension_pass():
    driver = Path(__file__).with_name("drive_slicer_scene_tests.py")
    count, failures = json.loads(in_slicer(str(driver), str(MODULE / "Testing" / "Python")))
    assert count >= 14 and not failures, "\n".join(failures)


# --- the server and its models ---------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_told_with_what_to_do(seen):
    found = seen["a_dead_address"]
    assert "No server answers at http://127.0.0.1:9" in found["dead"] and "monailabel start_server" in found["dead"]
    assert "no address of a server" in found["none"] and not found["run"]
    assert found["said"] == [found["dead"], found["none"]]


def test_the_panel_is_built_from_the_index(seen, client):
    found, info = seen["connecting"], client.info()["models"]
    assert found["tasks"][:4] == ["Anomaly map", "Synthesis", "Translation", "Counterfactual"] and not found["said"]
    assert not found["without_a_scan"], "a map needs a scan"
    assert "not for diagnosis" in found["description"] and len(found["studies"]) >= 3
    assert f"{len(info)} models" in found["status"]
    options = info[SYNTHESIS]["synthzoo"]["options"]
    fields = seen["generating"]["ranges"]
    for name in ("age", "ventricle_ml", "brain_ml", "steps"):
        assert fields[name][:2] == [options[name]["minimum"], options[name]["maximum"]]
        assert fields[name][2].strip() == options[name].get("unit", "")
    assert seen["generating"]["left_out"] == [name for name, rule in options.items() if rule["condition"]]


# --- generation ------------------------------------------------------------------------------------------------------


def test_generate_shows_the_very_voxels_of_the_server_with_a_window(seen, client):
    found = seen["generating"]
    path, params = client.infer(SYNTHESIS, "", {"age": 64, "sex": "M", "seed": 77, "steps": 40})
    kept = np.load(seen["folder"] / "generated.npz")
    np.testing.assert_array_equal(kept["voxels"].T, voxels(path))
    np.testing.assert_allclose(kept["affine"], nib.load(path).affine, atol=1e-4)
    assert found["study"] == params["studies"][0]["id"], "kept on the server, once"
    assert found["facts"] == "requested age 64 years, sex M; seed 77" and not found["said"]
    low, high = found["window"]
    assert low < high <= voxels(path).max()
    assert all(background == found["name"] and front is None for background, front, _ in found["layers"])
    assert min(found["lit"]) > 0.05, "each view shows something"
    assert any("network calls" in text for text in found["texts"]), found["texts"]


def test_several_at_once_are_several_nodes_and_the_seed_goes_on(seen):
    found = seen["generating_several"]
    assert len(found["names"]) == found["different"] == 3 and found["seed"] == 8
    assert all(background == found["names"][2] for background, _, _ in found["layers"]), "the chosen one is shown"


def test_labels_come_as_a_segmentation_with_names_colours_and_every_voxel(seen, client):
    found = seen["labels_with_names"]
    path, _ = client.infer(LABELLED, "", {"seed": 3, "result": "label"})
    truth = voxels(path)
    assert found["names"] == {"low": 2, "high": 7}
    assert found["counts"] == {"low": int((truth == 2).sum()), "high": int((truth == 7).sum())}
    assert found["colors"][0] != found["colors"][1]


def test_a_segmentation_goes_out_with_its_own_values_and_comes_back_as_an_image(seen, client):
    found = seen["an_image_of_labels"]
    path, _ = client.infer(LABELLED, "", {"seed": 3, "result": "label"})
    truth, _ = client.infer(FROM_LABELS, "", {}, file=path)
    kept = np.load(seen["folder"] / "from_labels.npz")
    np.testing.assert_allclose(kept["voxels"].T, voxels(truth), atol=1e-6)
    np.testing.assert_allclose(kept["affine"], nib.load(path).affine, atol=1e-4)
    assert found["shown"] == [False, True] and not found["said"], "the panel asks for labels, not for a scan"
    assert all(background == found["name"] for background, _, _ in found["layers"])


def test_a_video_has_one_large_view_and_plays_every_frame_at_its_rate(seen, client):
    found = seen["playing_a_video"]
    truth = voxels(client.infer(VIDEO, "", {"seed": 9, "gain": 2})[0])
    frames = np.load(seen["folder"] / "video.npz")["frames"]
    assert truth.shape == (48, 40, 1, 12) and found["items"] == 12
    np.testing.assert_array_equal(frames.T, truth)
    assert (found["last"], found["unit"], found["rate"]) == ("275", "ms", 40.0)
    assert found["large"] == [False, True] and found["lit"] > 0.5, "it fills the view"
    steps = np.diff(found["seen"]) % 12
    assert 0.7 * 80 < steps.sum() <= 81, "40 frames a second for 2 s, round and round"
    assert found["button"] == ["Pause", "Play"] and len(found["paused"]) == 1 and found["moved"] > 1
    assert found["slider"][0] == found["slider"][1] and found["by_toolbar"] == 7


def test_sample_data_lets_a_user_without_a_scan_try_a_map_and_a_counterfactual(seen, server):
    found = seen["sample_data"]
    assert not found["until_here"] and not found["no_input"], "a generator needs no input"
    assert found["scan"] == f"Phantom 1 for {MAP}" and found["chosen"] == found["scan"]
    example = requests.get(f"{server.url}/zoo/example/{MAP}?seed=0", timeout=60).content
    kept = np.load(seen["folder"] / "sample.npz")
    image = nib.Nifti1Image.from_bytes(gzip.decompress(example))
    np.testing.assert_array_equal(kept["voxels"].T, np.asarray(image.dataobj))
    np.testing.assert_allclose(kept["affine"], image.affine, atol=1e-4)
    assert found["map"][:2] == [found["scan"], f"{found['scan']} anomaly map"]
    assert found["another"] == f"Phantom 2 for {MAP}"
    assert found["large"] == [False, True, False], "one large view for the video alone"
    assert 0.7 * 32 < (np.diff(found["seen"]) % found["frames"]).sum() <= 33 and found["frames"] == 50
    assert found["window"]["video_frames"] == found["frames"], "the whole video was sent"
    assert found["window"]["video_fps"] == pytest.approx(found["rate"], abs=0.01)
    assert "counterfactual" in found["counterfactual"] and found["alone"][:2] == [found["counterfactual"], None]
    assert found["made_frames"] == 16 and not found["still_plays"]
    assert re.match(r"requested ef 70 percent; .*measured ef \d+", found["facts"]), found["facts"]
    assert found["segments"] > 2 and found["of_labels"] and found["picture"]
    (sentence,) = seen["sample_data"]["said"]
    assert sentence == f"{FINER} has no example input: upload an image instead."


# --- maps ------------------------------------------------------------------------------------------------------------


def test_a_map_of_a_moved_scan_lies_where_the_scan_lies(seen, client, scans):
    turn, moved = np.deg2rad(TURN_DEG), np.eye(4)
    moved[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    moved[:3, 3] = SHIFT_MM
    kept = np.load(seen["folder"] / "heat.npz")
    np.testing.assert_allclose(kept["affine"], moved @ nib.load(scans[-1]).affine, atol=1e-3)
    path, params = client.infer(MAP, "scan_2", {"threshold": HALFWAY})
    np.testing.assert_allclose(kept["voxels"].T, voxels(path), atol=1e-6)
    assert seen["mapping_a_moved_scan"]["regions"] == len(params["regions"])


def test_the_map_is_a_foreground_with_colours_opacity_and_threshold(seen):
    found = seen["mapping_a_moved_scan"]
    assert not found["said"], found["said"]
    assert found["layers"] == [["my scan", "my scan anomaly map", 0.6]] * 3
    assert found["colors"] == "AnomalyHeat" and found["window"] == [0.0, 1.0]
    assert found["threshold"] == HALFWAY == found["lower"]


def test_jump_brings_the_slices_to_the_highest_peak(seen):
    found = seen["mapping_a_moved_scan"]
    kept = np.load(seen["folder"] / "heat.npz")
    label, peak, *point = found["worst"]
    voxel = np.rint(np.linalg.inv(kept["affine"]) @ [*point, 1.0])[:3].astype(int)
    assert label > 0 and kept["voxels"][tuple(voxel[::-1])] == pytest.approx(kept["voxels"].max(), abs=1e-4)
    assert found["offsets"]["Red"] == pytest.approx(point[2], abs=0.1)
    # In the picture: right below the peak only its voxel is drawn, and it is drawn at that point.
    assert found["changed"] > 0 and found["near"] < 3, found


def test_a_translated_image_fades_over_its_source(seen, client):
    found = seen["translating"]
    path, _ = client.infer(TRANSLATION, "scan_2", {})
    np.testing.assert_allclose(np.load(seen["folder"] / "translated.npz")["voxels"].T, voxels(path), atol=1e-5)
    assert found["layers"] == [["my scan", "my scan translation", 1.0]] * 3
    assert all(opacity == 0.25 for *_, opacity in found["faded"])


# --- a request on its way --------------------------------------------------------------------------------------------


def test_a_request_shows_its_progress_and_cancel_stops_it_on_the_server(seen):
    found = seen["cancelling"]
    assert found["locked"] and found["again"], "one request at a time, and the panel is free again"
    assert any("0 of 4 done" in text for text in found["texts"]), found["texts"]
    assert found["state"] == "cancelled" and "cancelled" in found["status"].lower()
    assert not found["said"], "what the reader did needs no window"


def test_what_is_refused_is_told_in_one_sentence(seen):
    seed, empty, nan = seen["what_is_refused"]["refused"]
    assert seed == "Seed is 'many', but must be an integer."
    assert "no voxels" in empty and "NaN" in nan
    assert seen["what_is_refused"]["said"] == [seed, empty, nan] and seen["what_is_refused"]["free"]


def test_the_most_anomalous_study_opens_with_its_map(seen):
    found = seen["the_worst_study"]
    assert not found["said"], found["said"]
    named = found["status"].removeprefix("Opened ").rstrip(".")
    line = next(line for line in found["lines"] if line.startswith(f"{named} ("))
    assert re.match(r".* \((synthetic, )?score 0\.\d{3}", line), "the server names one with a score"
    volume, shown, labels = found["nodes"]
    assert volume.startswith(named) and shown.startswith(f"{named} anomaly map") and "original" in labels
    assert found["layers"] == [[volume, shown, 0.6]] * 3


def test_one_button_maps_every_study_shows_its_progress_stops_and_goes_on(seen):
    found = seen["mapping_every_study"]
    assert found["title"] == "Map every study" and not found["no_scan"], "a generator has no study to work on"
    assert found["locked"] == [False, True, True] and not found["said"], "single requests go on between"
    assert re.match(r"[2-9] of \d+: \S+: done, score 0\.\d+, \d+ s", found["texts"][-1]), found["texts"]
    assert 0 < found["fraction"] < 1 and found["state"] == "STOPPED"
    stopped = int(re.match(r"Stopped after (\d+) of \d+ studies", found["stopped"]).group(1))
    done, total, before = map(int, re.match(r"(\d+) of (\d+) studies done, (\d+)", found["resumed"]).groups())
    assert stopped >= 2 and before == stopped and done == total - stopped, found
    assert found["again"].startswith(f"0 of {total} studies done, {total} done before,") and found["free"]
    assert not any("not mapped" in line for line in found["lines"])


def test_a_batch_that_runs_on_the_server_is_followed_and_another_model_is_told_to_wait(seen):
    found = seen["a_batch_of_another_client"]
    assert found["refused"] == (
        f"The server is at work on its studies with {REAL_MAP}: wait for it, or stop it there first."
    )
    assert found["said"] == [found["refused"]]
    assert found["model"] == REAL_MAP and found["state"] == "STOPPED", "the panel that connects shows it and stops it"


def test_the_scene_is_saved_and_closed(seen):
    found = seen["saving_and_closing"]
    assert found["bytes"] > 10_000 and found["empty"] and found["input"] and not found["said"]


def test_pictures_of_the_panel_were_made(seen):
    for step in ("generating", "playing_a_video", "mapping_a_moved_scan"):
        assert seen[step]["picture"]

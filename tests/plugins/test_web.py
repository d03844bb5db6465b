"""The zoo in a browser: a real server, the page over Slicer's own libraries, a real headless Chromium."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from bundle_runs import ROOT
from slicer_python import CHROMIUM, SLICER_PYTHON
from web_pages import ENV, drawn, start_page

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")
pytestmark = pytest.mark.needs_slicer("slicer", "drawing", "playwright", "chromium")


@pytest.fixture(scope="module")
def server(new_server):
    """A server of the page's own: maps that other tests leave would lie over the studies that are looked at here."""
    with new_server() as made:
        yield made


@pytest.fixture(scope="module")
def client(server, tmp_path_factory):
    """MONAI Label's own client, of that server."""
    from monailabel.client import MONAILabelClient

    return MONAILabelClient(server.url, str(tmp_path_factory.mktemp("client")))


@pytest.fixture(scope="module")
def heat(client) -> np.ndarray:
    """The map of the last scan, as the server gives it to any client."""
    return volume(Path(client.infer("phantom_mr_anomaly_map_tiny", "scan_2", {"result": "heat_map"})[0]))


@pytest.fixture(scope="module")
def threshold(heat) -> float:
    """Such that about a fifth of the middle slice is above it; the small zoo's weights are random."""
    return min(np.arange(0.01, 1, 0.01).round(2), key=lambda value: abs((heat[:, :, 24] > value).mean() - 0.2))


@pytest.fixture(scope="module")
def seen(server, threshold, tmp_path_factory) -> dict:
    """What a reader saw who looked, scrolled, mapped, generated and compared; see drive_web.py."""
    folder = Path(os.environ.get("WEB_PICTURES") or tmp_path_factory.mktemp("web"))
    page, url = start_page(folder, "--server", server.url)
    try:
        command = [SLICER_PYTHON, str(Path(__file__).with_name("drive_web.py")), url, str(folder), CHROMIUM]
        command.append(f"{threshold:g}")
        done = subprocess.run(command, capture_output=True, text=True, timeout=420, check=False, env=ENV)
    finally:
        page.kill()
        page.wait()
    lines = [line for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    assert lines, (folder / "page.log").read_text()[-2000:] + done.stderr[-2000:]
    views = {path.stem: np.load(path).astype(float) for path in folder.glob("*.npy")}
    return json.loads(lines[0].removeprefix("REPORT ")) | {"views": views}


def volume(path: Path) -> np.ndarray:
    """The voxels of a file whose voxels are cubes."""
    import nibabel as nib

    return np.asarray(nib.load(path).dataobj, dtype=float)


def best_slice(view: np.ndarray, voxels: np.ndarray, axis: int = 2) -> tuple[int, float]:
    """Which slice of a volume a view shows, and how well it agrees (correlation)."""
    low, high = np.percentile(voxels[voxels != voxels.min()], (0.5, 99.5))
    found = []
    for number in range(voxels.shape[axis]):
        picture, inside = drawn(np.clip(np.take(voxels, number, axis), low, high), view.shape)
        flat = picture[inside].std() == 0
        found.append(0.0 if flat else np.corrcoef(picture[inside], view.mean(-1)[inside])[0, 1])
    return int(np.argmax(found)), float(max(found))


def test_the_page_opens_with_the_studies_and_the_middle_of_the_first_in_three_planes_and_3d(seen, scans):
    assert seen["look"]["studies"][:3] == ["scan_0", "scan_1", "scan_2"]
    voxels, views = volume(scans[0]), seen["views"]
    for plane, axis in (("axial", 2), ("coronal", 1)):
        number, agreement = best_slice(views[f"load_{plane}"], voxels, axis)
        assert number == voxels.shape[axis] // 2 and agreement > 0.98, (plane, number, agreement)
    three = views["load_three"]
    assert (three.max(-1) > 120).mean() > 0.02, "the brain stands in the 3D view"
    assert not seen["page_errors"]


def test_the_wheel_scrolls_one_slice_of_that_view_alone(seen, scans):
    number, agreement = best_slice(seen["views"]["scroll_axial"], volume(scans[0]))
    assert abs(number - 24) == 1 and agreement > 0.98
    assert best_slice(seen["views"]["scroll_coronal"], volume(scans[0]), 1)[0] == 28


def test_a_map_run_from_the_panel_lies_over_the_scan_where_it_is_above_the_threshold(seen, heat, threshold):
    over, clear = seen["views"]["map_over"], seen["views"]["sliders_clear"]
    picture, inside = drawn(heat[:, :, 24], over.shape)
    above = (picture > threshold) & inside
    assert 0.01 < above.mean() < 0.8, "a part of the slice is above the threshold, else this says nothing"
    changed = abs(over - clear).max(-1) > 24
    assert changed[above].mean() > 0.85 and changed[inside & ~above].mean() < 0.1
    assert not changed[~inside].any()


def test_opacity_and_threshold_take_the_map_away_and_bring_it_back(seen):
    over = seen["views"]["map_over"]
    clear, full, none = (seen["views"][f"sliders_{name}"] for name in ("clear", "full", "none"))
    by_map = abs(over - clear).mean()
    assert by_map > 0.5, "pixels change"
    assert abs(clear - none).mean() < 0.05 * by_map, "opacity 0 is as clear as threshold 1"
    assert abs(full - clear).mean() > 1.3 * by_map, "opacity 1 is more than 0.6"


def test_jump_goes_to_the_peak(seen, heat, scans):
    number, _ = best_slice(seen["views"]["jump_axial"], volume(scans[2]))
    assert heat[:, :, number].max() == heat.max() and seen["map"]["regions"][0].startswith("Region")


def test_the_panel_has_the_options_of_the_index_with_units_and_refuses_what_is_out_of_range(seen, client):
    options = client.info()["models"]["brain_mr_synthesis_ldm"]["synthzoo"]["options"]
    assert len(seen["generate"]["labels"]) == len(options)
    assert any("Age (years)" in label for label in seen["generate"]["labels"])
    assert "20 to 90 years" in seen["generate"]["help"]
    refused = seen["generate"]["refused"]
    assert "Age" in refused and "from 20 to 90 years" in refused and refused.count(".") == 1


def test_a_brain_that_is_generated_is_stored_as_requested_and_shown(seen, client, server):
    study = seen["generate"]["study"]
    stored = client.datastore()["objects"][study]["image"]["info"]["sidecar"]
    assert stored["requested"]["age"] == 70.0 and stored["requested"]["sex"] is None and stored["seed"] == 5
    number, agreement = best_slice(seen["views"]["brain_axial"], volume(server.studies / f"{study}.nii.gz"))
    assert number == 24 and agreement > 0.75  # noise, since the small zoo's weights are random, and a JPEG


def test_a_scan_and_what_was_made_of_it_stand_side_by_side_and_scroll_together(seen, server):
    left_name, right_name = seen["compare"]["shown"].split(" | ")
    left, right = (volume(server.studies / f"{name}.nii.gz") for name in (left_name, right_name))
    views = seen["views"]
    for step, expected in (("pair", {24}), ("linked", {23, 25})):
        here, there = best_slice(views[f"{step}_left"], left), best_slice(views[f"{step}_right"], right)
        assert here[0] == there[0] and here[0] in expected
        assert here[1] > 0.98 and there[1] > 0.95


def test_a_video_fills_one_large_view_and_shows_the_frame_of_its_slider(seen):
    assert seen["play"]["frames"] == 12
    first = seen["views"]["video_first"]
    assert abs(seen["views"]["video_later"] - first).mean() > 0.5
    four = seen["views"]["load_axial"].shape
    assert first.shape[0] > 1.8 * four[0] and first.shape[1] > 1.8 * four[1], "of the whole page"
    assert (first.max(-1) > 40).mean() > 0.4, "fitted to it"


def rate(played: dict, frames: int) -> float:
    """How many frames a second went by on the page, from its first change on."""
    times, numbers = np.array(played["frames"][1:]).T
    return (np.diff(numbers) % frames).sum() / (times[-1] - times[0])


def test_play_lets_it_run_at_its_rate_and_pause_holds_it(seen):
    played = seen["play"]["played"]
    assert "of 12, 40 a second" in played["text"] and played["still"]
    assert 0.5 * 40 < rate(played, 12) < 1.3 * 40, "by the clock, whatever the machine could draw"
    assert played["pictures"] > 3


def test_sample_data_needs_no_scan_for_a_counterfactual_or_a_map(seen, server, scans):
    found, views = seen["sample"], seen["views"]
    assert found["video"] == "Phantom 1 for echo_us_counterfactual_twin"
    assert "of 50, 32 a second" in found["played"]["text"] and 16 < rate(found["played"], 50) < 42
    left, right = found["made"].split(" | ")
    assert left == found["video"] and right in server.get("/datastore/?output=all")["objects"]
    assert len(found["both"]["frames"]) > 3 and found["both"]["pictures"] > 2, "both play"
    moved = abs(views["counterfactual_later"] - views["counterfactual_right"]).mean()
    assert views["counterfactual_left"].shape == views["counterfactual_right"].shape and moved > 0.2, (
        "half a round later"
    )
    assert (views["sample_video"].max(-1) > 40).mean() > 0.15
    assert (views["sample_map_axial"].max(-1) > 60).mean() > 0.1 and found["score"].startswith("score 0.")


def test_cancel_ends_the_request_on_the_server(seen, server):
    assert "Running" in seen["cancel"]["progress"]
    assert "cancelled" in seen["cancel"]["said"]
    ended = [job for job in server.get("/zoo/jobs") if job["cancelled"] and job["model"] == "brain_mr_synthesis_ldm"]
    assert ended and ended[-1]["state"] not in ("running", "queued") and ended[-1]["done"] < 64


def test_a_folder_of_results_needs_no_server_and_mistakes_are_one_sentence(tmp_path, scans):
    case = tmp_path / "out" / "scan_0"
    case.mkdir(parents=True)
    shutil.copy(scans[0], case / "scan_0_heatmap.nii.gz")
    sidecar = {"input": {"name": "scan_0.nii.gz"}, "score": 0.25}
    (case / "scan_0_heatmap.json").write_text(json.dumps(sidecar))
    bids = tmp_path / "out" / "sub-0001" / "anat"
    bids.mkdir(parents=True)
    shutil.copy(scans[1], bids / "sub-0001_T1w.nii.gz")
    (bids / "sub-0001_T1w.json").write_text(json.dumps({"requested": {"age": 70.0}, "units": {"age": "years"}}))
    code = (
        "import sys, plugins.web; from plugins.web.sources import Folder, subtitle\n"
        "for case in Folder(*sys.argv[1:]).studies(): print('CASE', case.name, sorted(case.outputs), subtitle(case))"
    )
    command = [SLICER_PYTHON, "-c", code, str(tmp_path / "out"), str(scans[0].parent)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENV, cwd=ROOT, timeout=200, check=False)
    assert "CASE scan_0 ['heat_map', 'image'] score 0.25" in done.stdout, done.stderr[-2000:]
    assert "CASE sub-0001 ['image'] requested age 70 years" in done.stdout
    for arguments, said in ((["--folder", str(tmp_path / "no")], "is no folder"), ([], "--server --folder")):
        command = [SLICER_PYTHON, "-m", "plugins.web", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=ENV, cwd=ROOT, timeout=200, check=False)
        last = done.stderr.strip().splitlines()[-1]
        assert done.returncode and said in last and "Traceback" not in done.stderr, done.stderr[-2000:]

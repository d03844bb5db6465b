"""The paper's claim on phantoms: the same patient with the ejection fraction that is requested."""

import json

import nibabel as nib
import numpy as np
import pytest
from bundle_runs import ROOT
from echo_export import export_phantoms

from synthzoo.bundle.compose import run_bundle
from synthzoo.errors import find_user_error
from synthzoo.io.videos import read_video, write_avi
from synthzoo.phantoms.echo.phantom import counterfactual, draw_params, make_clip
from synthzoo.phantoms.echo.sets import list_videos

BUNDLE = ROOT / "bundles" / "echo_us_counterfactual_twin"
PATIENTS = range(210_100, 210_106)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """Six videos of patients that were never trained on, with an ejection fraction of one half."""
    folder = tmp_path_factory.mktemp("videos")
    clips = {f"heart{p}": make_clip(draw_params(p, ef=0.5), size=32) for p in PATIENTS}
    for name, clip in clips.items():
        write_avi(folder / f"{name}.avi", clip.frames, clip.fps)
    return folder, clips


@pytest.fixture(scope="module")
def requested(phantoms, tmp_path_factory):
    """The bundle's results for three requests, by request and video."""
    found = {}
    for ef in (20, 50, 80):
        out = tmp_path_factory.mktemp(f"ef{ef}")
        run_bundle(BUNDLE, overrides={"images": str(phantoms[0]), "output_dir": str(out), "ef": ef})
        assert (out / "preview.gif").stat().st_size > 1000
        found[ef] = {path.parent.name: path for path in out.glob("*/*_echo.json")}
        assert len(found[ef]) == len(PATIENTS)
    return found


def record(path):
    return json.loads(path.read_text())


def frames(path, suffix="echo"):
    return read_video(path.with_name(path.name.replace("echo.json", f"{suffix}.avi"))).frames.astype(float) / 255


def test_more_is_ejected_where_more_is_requested_by_instruments_that_trained_nothing(requested):
    for name in ("ef", "ef_regressor"):
        means = [np.mean([record(path)["measured"][name] for path in requested[ef].values()]) for ef in (20, 50, 80)]
        assert means[0] + 10 < means[1] < means[2] - 5, f"{name}: {means}"


def test_each_video_stays_its_own_patient(requested, phantoms):
    own = np.stack([phantoms[1][case].frames.mean(0).ravel() for case in sorted(phantoms[1])])
    for ef in (20, 80):
        made = np.stack([frames(requested[ef][case]).mean(0).ravel() for case in sorted(requested[ef])])
        similarity = np.corrcoef(made, own)[: len(made), len(made) :]
        assert (similarity.argmax(1) == np.arange(len(made))).all()


def test_a_counterfactual_is_nearer_to_the_true_one_than_the_input_is(requested, phantoms):
    gains = []
    for ef in (20, 80):
        for case, clip in phantoms[1].items():
            true = counterfactual(clip, ef / 100)
            area = true.masks.any(0)
            truth = true.frames[:, area] / 255
            copy = np.abs(clip.frames[:, area] / 255 - truth).mean()
            gains.append(copy - np.abs(frames(requested[ef][case])[:, area] - truth).mean())
    assert np.mean(gains) > 0


def test_the_reconstruction_is_the_input_and_the_sidecar_says_all(requested, phantoms):
    for case, path in requested[20].items():
        assert np.abs(frames(path, "factual") - phantoms[1][case].frames / 255).mean() < 0.06
        said = record(path)
        assert said["requested"] == {"ef": 20, "ef_factual": None}
        assert 0 <= said["ef_factual"] <= 100 and said["window"]["video_frames"] == 16
        assert str(phantoms[0]) not in path.read_text()


def test_a_data_set_in_echonet_s_layout_runs_with_its_own_ejection_fractions(tmp_path):
    folder = export_phantoms(tmp_path / "set", "tiny", list_videos("tiny", "TEST", 2))
    run_bundle(BUNDLE, overrides={"dataset_dir": str(folder), "output_dir": str(tmp_path / "out"), "ef": 40})
    lines = [line.split(",") for line in (folder / "FileList.csv").read_text().splitlines()[1:]]
    listed = {cells[0]: float(cells[1]) for cells in lines}
    for path in (tmp_path / "out").glob("*/*_echo.json"):
        assert record(path)["ef_factual"] == pytest.approx(listed[path.parent.name], abs=0.06)


def test_an_impossible_request_is_refused_in_one_sentence_and_writes_nothing(phantoms, tmp_path):
    with pytest.raises(Exception) as caught:
        run_bundle(BUNDLE, overrides={"images": str(phantoms[0]), "output_dir": str(tmp_path / "out"), "ef": 95})
    error = find_user_error(caught.value)
    assert error is not None and "ef" in str(error) and "85" in str(error)
    assert not (tmp_path / "out").exists()


def test_monai_labels_stock_task_takes_the_named_outputs_apart(phantoms, tmp_path):
    bundle = pytest.importorskip("monailabel.tasks.infer.bundle", reason="monailabel is not installed")
    name, clip = next(iter(phantoms[1].items()))
    volume = nib.Nifti1Image(clip.frames.transpose(2, 1, 0)[:, :, None].astype(np.float32), np.eye(4))
    volume.header.set_zooms((1, 1, 1, 1 / clip.fps))
    volume.header.set_xyzt_units("mm", "sec")
    nib.save(volume, tmp_path / f"{name}.nii.gz")
    request = {"image": str(tmp_path / f"{name}.nii.gz"), "device": "cpu", "result_extension": ".nii.gz"}
    file, found = bundle.BundleInferTask(str(BUNDLE), {})(request)
    assert sorted(nib.load(file).shape) == [16, 32, 32], "the video alone, not the facts"
    assert found["ef_factual"] == pytest.approx(50, abs=15) and found["ef_expert"] == pytest.approx(30, abs=15)

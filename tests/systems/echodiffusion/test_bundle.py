"""The paper's claim on phantoms: one frame and an ejection fraction give that patient's video with that fraction."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import ROOT
from echo_export import export_phantoms
from PIL import Image

from synthzoo.bundle.compose import load_config, run_bundle
from synthzoo.errors import UserError, find_user_error
from synthzoo.io.videos import avi_bytes, read_video, write_avi
from synthzoo.phantoms.echo.phantom import draw_params, make_clip
from synthzoo.phantoms.echo.sets import list_videos
from synthzoo.serving.served import ServedBundle

BUNDLE = ROOT / "bundles" / "echo_us_cine_synthesis_edm"
PATIENTS = range(210_200, 210_204)
QUICK = {"steps": 16, "upsampling_steps": 24}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """Six frames, as pictures, of patients that were never trained on."""
    folder = tmp_path_factory.mktemp("frames")
    clips = {f"heart{p}": make_clip(draw_params(p, ef=0.5), size=32) for p in PATIENTS}
    for name, clip in clips.items():
        Image.fromarray(clip.frames[clip.ed_frame]).save(folder / f"{name}.png")
    return folder, clips


@pytest.fixture(scope="module")
def requested(phantoms, tmp_path_factory):
    """The bundle's results for two requests, by request and case."""
    found = {}
    for ef in (20, 80):
        out = tmp_path_factory.mktemp(f"ef{ef}")
        run_bundle(BUNDLE, overrides={"images": str(phantoms[0]), "output_dir": str(out), "ef": ef, **QUICK})
        assert (out / "preview.gif").stat().st_size > 1000
        found[ef] = {path.parent.name: path for path in out.glob("*/*_echo.json")}
        assert len(found[ef]) == len(PATIENTS)
    return found


def record(path):
    return json.loads(path.read_text())


def frames(path):
    return read_video(path.with_suffix(".avi")).frames.astype(float) / 255


def test_more_is_ejected_where_more_is_requested_by_instruments_that_trained_nothing(requested):
    for name in ("ef", "ef_regressor"):
        means = [np.mean([record(path)["measured"][name] for path in requested[ef].values()]) for ef in (20, 80)]
        assert means[0] + 20 < means[1], f"{name}: {means}"


def test_each_video_stays_the_patient_of_its_frame(requested, phantoms):
    own = np.stack([phantoms[1][case].frames.mean(0).ravel() for case in sorted(phantoms[1])])
    for ef in (20, 80):
        made = np.stack([frames(requested[ef][case]).mean(0).ravel() for case in sorted(requested[ef])])
        similarity = np.corrcoef(made, own)[: len(made), len(made) :]
        assert (similarity.argmax(1) == np.arange(len(made))).all()


def test_a_video_moves_and_its_sidecar_says_how_it_was_made(requested):
    path = requested[80][f"heart{PATIENTS[0]}"]
    video, said = frames(path), record(path)
    assert video.shape == (16, 32, 32) and np.abs(np.diff(video, axis=0)).mean() > 0.005
    assert said["requested"] == {"ef": 80.0} and said["fps"] == 16.0 and said["seed"] == 0
    assert said["source"] == {"frame": 0, "video_frames": 1} and said["sampler"]["steps"] == QUICK["steps"]


def test_both_stages_are_trained_and_hold_the_spread_of_their_data():
    network = load_config(BUNDLE).get_parsed_content("network")
    for stage in (network.base, network.upsampling):
        assert 0.2 < float(stage.sigma_data) < 0.8 and abs(float(stage.sigma_data) - 0.5) > 1e-4
        assert float(stage.unet.out.weight.abs().max()) > 0  # zero before the first step


def test_the_paper_s_cascade_has_its_number_of_parameters():
    parser = load_config(BUNDLE, ["paper"])
    with torch.device("meta"):
        network = parser.get_parsed_content("network_def")
    found = [sum(p.numel() for p in stage.parameters()) / 1e6 for stage in (network.base, network.upsampling)]
    assert found == pytest.approx([18.45, 27.40], rel=0.015)
    assert network.noise_shapes() == {
        "base": (1, 16, 56, 56),
        "low": (1, 64, 112, 112),
        "upsampling": (1, 64, 112, 112),
    }


def test_a_server_answers_with_a_video_for_a_volume_with_time_first(phantoms, tmp_path):
    clip = next(iter(phantoms[1].values()))
    nib.save(nib.Nifti1Image(clip.frames.astype(np.float32), np.eye(4)), tmp_path / "study.nii.gz")
    served = ServedBundle(BUNDLE, device="cpu")
    values = {name: served.options[name].check(value) for name, value in {"ef": 30, "frame": 2, **QUICK}.items()}
    [case] = served.run(values, tmp_path / "out", image=tmp_path / "study.nii.gz")
    assert case.sidecar["requested"] == {"ef": 30.0} and case.sidecar["source"]["frame"] == 2
    video = read_video(tmp_path / "out" / "study" / "study_echo.avi").frames
    given = np.asarray(nib.load(case.files["video"]).dataobj)
    assert given.shape == (32, 32, 1, 16) and np.array_equal(given[:, :, 0].transpose(2, 1, 0), video)
    with pytest.raises(UserError, match="between 10 and 85"):
        served.options["ef"].check(95)


# --- what people get wrong --------------------------------------------------------------------------------------------


def refusal(overrides, tmp_path, overlays=(), part="dataset") -> str:
    with pytest.raises(Exception) as caught:
        parser = load_config(BUNDLE, list(overlays), {"output_dir": str(tmp_path / "out"), **overrides})
        parser.get_parsed_content(part)
    error = find_user_error(caught.value)
    assert error is not None, f"a mistake that nobody worded: {caught.value!r}"
    assert not list((tmp_path / "out").glob("*/*"))
    return str(error)


@pytest.fixture
def video(phantoms, tmp_path):
    clip = next(iter(phantoms[1].values()))
    write_avi(tmp_path / "video.avi", clip.frames[:15], 13.0)  # odd frames at an odd rate are fine
    return tmp_path / "video.avi", clip


def test_requests_and_settings_out_of_range_are_refused(video, tmp_path):
    images = {"images": str(video[0])}
    assert "between 10 and 85 percent" in refusal({**images, "ef": 9}, tmp_path)
    assert "between 10 and 85 percent" in refusal({**images, "ef": 850}, tmp_path)
    assert "frames 0 to 14" in refusal({**images, "frame": 15}, tmp_path)
    assert "steps is 0" in refusal({"steps": 0}, tmp_path, part="inferer")
    assert "frames = 15" in refusal({"network_def#frames": 15}, tmp_path, part="network_def")


def test_videos_that_cannot_be_used_are_refused_by_name(video, tmp_path):
    _, clip = video
    data = bytearray(avi_bytes(clip.frames, 16.0))
    data[data.index(b"00dc") + 8 :] = bytes(len(data) - data.index(b"00dc") - 8)
    (tmp_path / "damaged.avi").write_bytes(bytes(data))
    coloured = np.stack([clip.frames[0], clip.frames[0] // 2, clip.frames[0]], 2)
    Image.fromarray(coloured).save(tmp_path / "colour.png")
    for name, word in {"damaged.avi": "damaged", "colour.png": "in colour", "none.avi": "none.avi"}.items():
        sentence = refusal({"images": str(tmp_path / name)}, tmp_path)
        assert name in sentence and word in sentence


def test_a_data_set_of_the_wrong_rate_or_without_columns_is_refused_before_training(tmp_path, capsys):
    export_phantoms(tmp_path / "set", "tiny", list_videos("tiny", "TRAIN", 2))
    listed = tmp_path / "set" / "FileList.csv"
    train = {"data_format": "echonet", "dataset_dir": str(tmp_path / "set")}
    header, *lines = listed.read_text().splitlines()
    place = header.split(",").index("FPS")
    wrong = [",".join("0" if n == place else cell for n, cell in enumerate(line.split(","))) for line in lines]
    listed.write_text("\n".join([header, *wrong]) + "\n")
    assert "no usable rows" in refusal(train, tmp_path, ["train_base"], "train#dataset")
    assert "line 2, column FPS: 0 per second" in capsys.readouterr().err
    listed.write_text("\n".join([header.replace("EF", "Ejection", 1), *lines]) + "\n")
    assert "EF" in refusal(train, tmp_path, ["train_base"], "train#dataset")

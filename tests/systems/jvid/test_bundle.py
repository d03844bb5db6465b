"""The paper's claim on phantoms: two denoisers share one reverse process, and the rule that divides its steps shows."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from bundle_runs import ROOT
from echo_export import export_phantoms

from synthzoo.bundle.compose import load_config, run_bundle
from synthzoo.errors import UserError, find_user_error
from synthzoo.io.videos import read_video
from synthzoo.phantoms.echo.sets import list_videos
from synthzoo.serving.served import ServedBundle
from synthzoo.systems.jvid.evaluation import still_flicker

BUNDLE = ROOT / "bundles" / "echo_us_cine_synthesis_jvid"
RULES = ("all_v", "late(0.25)", "all_i")
STEPS = 16


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Eight videos a rule from the same seeds: folders by rule."""
    found = {}
    for rule in RULES:
        found[rule] = tmp_path_factory.mktemp("videos")
        settings = {"num_samples": 8, "ef": 60, "steps": STEPS, "switch": rule, "seed": 3}
        run_bundle(BUNDLE, overrides={**settings, "output_dir": str(found[rule])})
    return found


def videos_in(folder) -> torch.Tensor:
    """Videos (N, 1, T, S, S) in [0, 1] of a folder, in the order of their numbers."""
    frames = [read_video(path).frames for path in sorted(folder.glob("*/*_echo.avi"))]
    return torch.from_numpy(np.stack(frames).astype(np.float32) / 255)[:, None]


def test_the_more_steps_the_image_denoiser_has_the_less_steady_is_what_stands_still(made):
    video, mixed, image = (still_flicker(videos_in(made[rule])) for rule in RULES)
    assert video < mixed < image and image > 3 * video


def test_a_rule_changes_a_video_and_not_its_reference(made):
    """Means over time of the same seed are alike whatever the rule, those of different seeds are not."""
    video, mixed = (videos_in(made[rule]).mean((1, 2)).flatten(1).numpy() for rule in RULES[:2])
    similarity = np.corrcoef(video, mixed)[:8, 8:]
    assert (similarity.argmax(1) == np.arange(8)).all()
    assert not np.array_equal(video, mixed)


def test_the_sidecar_says_which_rule_made_the_video(made):
    for rule in RULES:
        records = [json.loads(path.read_text()) for path in sorted(made[rule].glob("*/*_echo.json"))]
        assert len(records) == 8 and (made[rule] / "preview.gif").stat().st_size > 1000
        for record in records:
            assert record["sampler"]["switch"] == rule and record["requested"] == {"ef": 60.0}
            assert set(record["measured"]) >= {"ef", "ef_regressor"} and record["fps"] == 16.0


def test_both_denoisers_learnt_and_stand_on_the_same_noise_levels():
    network = load_config(BUNDLE).get_parsed_content("network")
    assert network.image.schedule is network.video.schedule and network.reid is None
    for stages in (["train_video", "train_image"], ["train_video"]):
        objective = load_config(BUNDLE, stages).get_parsed_content("train#objective")
        assert objective.noise_offset == 0  # noise that frames share would be another process than that of stills
    assert bool(network.fitted) and float(network.video.unet.out.weight.abs().max()) > 0
    assert float(network.image.unet.unet.out[2].conv.weight.abs().max()) > 0


def test_a_video_of_any_length_is_made_by_a_rule_of_ones_own(tmp_path):
    settings = {"frames": 23, "steps": 4, "switch": "early(0.3)+late(1)", "eta": 1.0, "output_dir": str(tmp_path)}
    run_bundle(BUNDLE, overrides=settings)
    assert videos_in(tmp_path).shape == (1, 1, 23, 32, 32)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"switch": "late(two)"}, "switch = 'late(two)'"),
        ({"switch": "late(40)"}, "there is no step"),
        ({"ef": 90}, "between 10 and 85"),
        ({"frames": 9}, "frames"),
        ({"blur": -1.0}, "blur = -1.0"),
    ],
)
def test_what_cannot_be_is_told_in_one_sentence_and_leaves_nothing(tmp_path, settings, sentence):
    with pytest.raises(Exception) as caught:
        run_bundle(BUNDLE, overrides={"steps": 2, "output_dir": str(tmp_path / "out"), **settings})
    error = find_user_error(caught.value)
    assert error is not None and sentence in str(error) and "\n" not in str(error)
    assert not list((tmp_path / "out").glob("*/*.avi"))


def test_a_server_offers_rules_and_takes_no_other(tmp_path):
    served = ServedBundle(BUNDLE)
    option = served.options["switch"]
    assert {"all_v", "late(0.125)", "all_i"} <= set(option.enum) and option.default in option.enum
    with pytest.raises(UserError, match="one of"):
        option.check("random(0.5,1)")
    case = served.run({"ef": 60.0, "seed": 2, "steps": 8, "switch": "late(0.25)"}, tmp_path)[0]
    assert case.files["video"].is_file() and case.sidecar["sampler"]["switch"] == "late(0.25)"


def test_the_video_stage_learns_from_videos_in_echonets_layout(tmp_path):
    videos = list_videos("tiny", "TRAIN", 8) + list_videos("tiny", "VAL", 2)
    folder = export_phantoms(tmp_path / "echonet", "tiny", videos)
    made = {"data_format": "echonet", "dataset_dir": str(folder)}
    clips = load_config(BUNDLE, ["train_video"], made).get_parsed_content("train#dataset")
    assert len(clips) == 8 and clips[0]["latents"].shape == (3, 16, 8, 8)
    path = folder / "FileList.csv"
    lines = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join(line[:1] + line[2:]) for line in lines) + "\n")
    with pytest.raises(Exception) as caught:
        load_config(BUNDLE, ["train_video"], made).get_parsed_content("train#dataset")
    assert "FileList.csv line 1: has no column EF" in str(find_user_error(caught.value))


@pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="needs diffusers")
def test_the_large_scale_has_the_networks_of_echonet_synthetic_without_their_filter():
    with torch.device("meta"):
        network = load_config(BUNDLE, ["paper"]).get_parsed_content("network_def")
    for part, millions in {"autoencoder": 62.4, "image": 73.55, "video": 143.8}.items():
        numbers = sum(parameter.numel() for parameter in getattr(network, part).parameters())
        assert numbers / 1e6 == pytest.approx(millions, abs=0.06), part
    objective = load_config(BUNDLE, ["paper", "train_video"]).get_parsed_content("train#objective")
    assert network.reid is None and objective.noise_offset == 0

"""Surrogate data sets: the layout that readers expect, scores and datasheet, resume, and folders that do not fit."""

import csv
import json

import numpy as np
import pytest
import torch
from small_video_model import small_video_model

from synthzoo.datasets.echo.clips import ClipDataset
from synthzoo.datasets.echo.echonet import read_echonet
from synthzoo.datasets.echo.training_clips import training_clips
from synthzoo.errors import UserError
from synthzoo.systems.echonet_synthetic.inferer import LatentVideoInferer
from synthzoo.systems.echonet_synthetic.latents import LatentClips
from synthzoo.systems.echonet_synthetic.privacy_filter import FilterCalibration
from synthzoo.systems.echonet_synthetic.surrogate import SHARES, SurrogateDataset, filled


@pytest.fixture(scope="module")
def network():
    made = small_video_model()
    training = LatentClips(made, training_clips(patients=4))
    FilterCalibration(made, training, LatentClips(made, training_clips(patients=20, split="validation"))).run()
    # Untrained references lie anywhere; the filter shall reject some and keep some.
    scores = LatentVideoInferer(steps=1, filter=False).sample_references(torch.randn(40, 3, 16, 16), made).latents
    with torch.no_grad():
        made.threshold.fill_(float(made.nearest_patient(scores)[0].quantile(0.7)))
    return made


def surrogate(network, folder, count=5, **settings):
    settings = {"batch_size": 2, "bundle": "tiny", "measure": False, **settings}
    return SurrogateDataset(network, LatentVideoInferer(steps=1, guidance=1.0, attempts=50), folder, count, **settings)


@pytest.fixture(scope="module")
def made(network, tmp_path_factory):
    """A set of 8 videos, measured for its datasheet."""
    return surrogate(network, tmp_path_factory.mktemp("set"), 8, measure=True).run()


def cells(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_readers_of_echonet_take_the_set_and_its_labels(made):
    rows = read_echonet(made)
    assert len(rows) == 8 and all(10 <= row["ef"] <= 85 and row["fps"] == 16 and row["frames"] == 16 for row in rows)
    assert {row["split"] for row in rows} <= set(SHARES)
    clip = ClipDataset(rows, 16)[0]
    assert clip["video"].shape == (1, 16, 32, 32) and float(clip["ef"]) == pytest.approx(rows[0]["ef"] / 100)


def test_every_video_has_its_score_below_the_threshold_and_its_nearest_patient(made, network):
    listed, scores = cells(made / "FileList.csv"), cells(made / "privacy_scores.csv")
    assert [row["FileName"] for row in listed] == [row["FileName"] for row in scores]
    owners = set(network.gallery_patient[network.gallery_patient >= 0].tolist())
    for row in scores:
        assert float(row["Score"]) <= float(row["Threshold"]) + 1e-4 and int(row["NearestPatient"]) in owners
        rejected = [] if row["RejectedScores"] == "none" else row["RejectedScores"].split()
        assert len(rejected) == int(row["NAttempts"]) - 1
        assert all(float(score) > float(row["Threshold"]) - 1e-4 for score in rejected)
    assert sum(int(row["NAttempts"]) for row in scores) > 8  # some references were rejected


def test_the_datasheet_counts_what_is_there(made):
    text, scores = (made / "datasheet.md").read_text(), cells(made / "privacy_scores.csv")
    drawn = sum(int(row["NAttempts"]) for row in scores)
    assert "8 synthetic videos" in text and f"{drawn} references were sampled" in " ".join(text.split())
    for word in ("TRAIN", "Labels", "Privacy", "Measured on 8 videos", "no proof of anonymity"):
        assert word in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 120
    assert filled("a b\nc\n\nd") == "a b c\n\nd\n"


def test_a_set_that_was_killed_goes_on_and_ends_the_same(network, tmp_path):
    whole = surrogate(network, tmp_path / "whole").run()
    part = surrogate(network, tmp_path / "part", 2).run()
    kept = {path: path.stat().st_mtime_ns for path in (part / "Videos").iterdir()}
    surrogate(network, tmp_path / "part").run()
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())
    for name in ("FileList.csv", "privacy_scores.csv", "datasheet.md"):
        assert sorted((part / name).read_text().splitlines()) == sorted((whole / name).read_text().splitlines())
    for path in (whole / "Videos").iterdir():
        assert (part / "Videos" / path.name).read_bytes() == path.read_bytes()


def test_efs_of_a_known_set_are_drawn_from_its_training_rows(network, made, tmp_path):
    known = {round(row["ef"], 2) for row in read_echonet(made, "train")}
    folder = surrogate(network, tmp_path, 4, ef_like=made).run()
    assert {round(row["ef"], 2) for row in read_echonet(folder)} <= known
    assert "EFs of a known set" in " ".join((folder / "datasheet.md").read_text().split())


def test_seeds_and_numbers_decide_requests(network, tmp_path):
    one, other = (surrogate(network, tmp_path, seed=seed) for seed in (0, 1))
    assert one.request(3) == one.request(3) != one.request(4)
    assert one.request(3) != other.request(3) and one.name(3) != other.name(3)
    efs = np.array([one.request(n)["ef"] for n in range(300)])
    assert 10 <= efs.min() < 15 and 80 < efs.max() <= 85 and abs(efs.mean() - 47.5) < 4


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"count": 0}, r"num_samples = 0: .*at least 1\.$"),
        ({"count": 2.5}, r"num_samples = 2\.5"),
        ({"ef": (10, 95)}, r"ef_range = \(10, 95\): give two numbers in percent, low and high, from 10 to 85\.$"),
        ({"ef": (60, 20)}, r"ef_range"),
        ({"ef": "55"}, r"ef_range"),
        ({"frames": 9}, r"frames = 9: this network makes at least 16\.$"),
        ({"ef_like": "no/such/folder"}, r"FileList.csv does not exist"),
    ],
)
def test_settings_that_cannot_be_are_told(network, tmp_path, settings, sentence):
    with pytest.raises(UserError, match=sentence):
        surrogate(network, tmp_path, **settings).run()
    assert not (tmp_path / "Videos").exists()


def test_a_set_without_filter_is_refused(network, tmp_path):
    with pytest.raises(UserError, match=r"^filter is false: a surrogate is filtered"):
        SurrogateDataset(network, LatentVideoInferer(filter=False), tmp_path)


def test_a_folder_of_other_settings_or_of_another_data_set_is_refused(network, made, tmp_path):
    with pytest.raises(UserError, match=r"begun with seed = 0, not 7: choose another output_dir"):
        surrogate(network, made, seed=7).run()
    assert json.loads((made / "requests.json").read_text())["seed"] == 0
    (tmp_path / "FileList.csv").write_text("FileName,EF,Split\n")
    with pytest.raises(UserError, match=r"holds another data set: choose an empty output_dir\.$"):
        surrogate(network, tmp_path).run()

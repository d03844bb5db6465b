"""Phantoms exported in EchoNet's layout give back their pictures, their masks and their ejection fraction."""

import csv

import numpy as np
import pytest
from echo_export import add_phantom, export_phantoms, mask_tracing, phantom_name, tracing_mask

from synthzoo.datasets.echo.clips import ClipDataset
from synthzoo.datasets.echo.echonet import read_echonet
from synthzoo.io.videos import read_video
from synthzoo.phantoms.echo.phantom import draw_params, make_clip
from synthzoo.phantoms.echo.sets import list_videos
from synthzoo.results.echonet import EchoNetWriter


def disc_volume(tracing):
    """Volume in cubic pixels by the method of discs."""
    length = np.hypot(*(tracing[0, 2:] - tracing[0, :2]))
    widths = np.hypot(*(tracing[1:, 2:] - tracing[1:, :2]).T)
    return float((np.pi / 4 * widths**2).sum() * length / len(widths))


@pytest.fixture(scope="module")
def clip():
    return make_clip(draw_params(3, ef=0.6), 112, 16, 16.0)


def test_the_chords_of_a_mask_give_the_mask_and_the_ejection_fraction(clip):
    tracings = {n: mask_tracing(clip.masks[n], clip.long_axis[n]) for n in (clip.ed_frame, clip.es_frame)}
    for frame, tracing in tracings.items():
        assert tracing.shape == (21, 4) and (tracing[1:, 0] <= tracing[1:, 2]).all()
        mask, true = tracing_mask(tracing, (112, 112)), clip.masks[frame]
        assert 2 * (mask * true).sum() / (mask.sum() + true.sum()) > 0.95
    measured = 1 - disc_volume(tracings[clip.es_frame]) / disc_volume(tracings[clip.ed_frame])
    assert measured == pytest.approx(0.6, abs=0.025)
    nothing = mask_tracing(np.zeros((20, 20)), np.array([[5, 5], [5, 15]]), count=4)
    assert nothing.shape == (5, 4) and np.array_equal(nothing[1:, :2], nothing[1:, 2:])


def test_a_phantoms_video_loses_at_most_two_grey_levels(clip, tmp_path):
    with EchoNetWriter(tmp_path) as writer:
        assert add_phantom(writer, clip, "TRAIN") and not add_phantom(writer, clip, "TRAIN")
    (row,) = read_echonet(tmp_path)
    assert np.abs(read_video(row["path"]).frames.astype(float) - clip.frames).mean() <= 2
    assert row["ef"] == pytest.approx(60, abs=1e-9) and row["edv"] == float(clip.volumes_ml.max())
    assert (row["es_frame"], row["ed_frame"]) == (clip.es_frame, clip.ed_frame)


def test_a_set_of_phantoms_is_a_data_set_with_its_parameters_beside_it(tmp_path):
    videos = [video for split in ("TRAIN", "VAL", "TEST") for video in list_videos("tiny", split, 2)]
    export_phantoms(tmp_path / "set", "tiny", videos[:3])
    export_phantoms(tmp_path / "set", "tiny", videos)  # goes on
    export_phantoms(tmp_path / "once", "tiny", videos)
    names = ("FileList.csv", "VolumeTracings.csv", "phantom.csv")
    assert all((tmp_path / "set" / n).read_bytes() == (tmp_path / "once" / n).read_bytes() for n in names)
    rows = read_echonet(tmp_path / "set")
    assert [row["split"] for row in rows] == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2
    assert rows[0]["name"] == phantom_name(videos[0].patient, videos[0].session, videos[0].noise)
    for row in rows:
        assert row["ef"] == pytest.approx(100 * (1 - row["esv"] / row["edv"]), abs=1e-9)
    with open(tmp_path / "set" / "phantom.csv") as file:
        told = list(csv.DictReader(file))
    assert [int(line["patient"]) for line in told] == [video.patient for video in videos]
    assert all(int(line["es_frame"]) == row["es_frame"] for line, row in zip(told, rows) if row["ef"] > 30)
    clips = ClipDataset(read_echonet(tmp_path / "set", "train"), 16, random=False)
    assert clips[1]["video"].shape == (1, 16, 32, 32)

"""The paper's claim on phantoms: videos of the ejection fraction requested, of no training patient, as a data set that
others can read; and what is wrong with videos that it shall learn from."""

import json
import struct
from io import BytesIO

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import ROOT
from echo_export import export_phantoms
from PIL import Image

from synthzoo.bundle.compose import load_config, run_bundle
from synthzoo.datasets.echo.echonet import read_echonet
from synthzoo.datasets.echo.training_clips import training_clips
from synthzoo.errors import find_user_error
from synthzoo.io.videos import read_video, write_avi
from synthzoo.phantoms.echo.sets import list_videos
from synthzoo.serving.generation import generate_dataset
from synthzoo.serving.served import ServedBundle
from synthzoo.systems.echonet_synthetic.latents import LatentClips

BUNDLE = ROOT / "bundles" / "echo_us_cine_synthesis_ldm"
STEPS = 8


@pytest.fixture(scope="module")
def network():
    return load_config(BUNDLE).get_parsed_content("network")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Four videos each of a weak and of a strong heart, by EF: their sidecars."""
    found = {}
    for ef in (20, 75):
        out = tmp_path_factory.mktemp(f"ef{ef}")
        run_bundle(BUNDLE, overrides={"num_samples": 4, "ef": ef, "steps": STEPS, "output_dir": str(out), "seed": 3})
        assert (out / "preview.gif").stat().st_size > 1000
        found[ef] = [json.loads(path.read_text()) for path in sorted(out.glob("*/*_echo.json"))]
        assert len(found[ef]) == 4
    return found


def test_more_is_ejected_where_more_is_requested_by_instruments_that_trained_nothing(videos):
    for name in ("ef", "ef_regressor"):
        weak, strong = (np.mean([record["measured"][name] for record in videos[ef]]) for ef in (20, 75))
        assert weak + 15 < strong, f"{name}: {weak} and {strong}"


def test_each_video_tells_its_nearest_patient_and_lies_below_the_threshold(videos):
    for record in videos[20] + videos[75]:
        privacy = record["privacy"]
        assert privacy["score"] <= privacy["threshold"] and privacy["nearest_patient"] >= 0
        assert privacy["n_attempts"] >= 1


def test_references_of_training_patients_are_rejected_and_unseen_are_not(network):
    known = LatentClips(network, training_clips(patients=20)).latents
    unseen = LatentClips(network, training_clips(patients=40, split="test")).latents
    with torch.no_grad():
        score, nearest = network.nearest_patient(known[:, :, 0])
        assert (score > network.threshold).all() and np.array_equal(nearest.numpy(), np.arange(20))
        # The gallery holds first frames: later ones of the same videos are found less surely.
        assert (network.nearest_patient(known[:, :, 9])[0] > network.threshold).float().mean() >= 0.7
        assert (network.nearest_patient(unseen[:, :, 0])[0] > network.threshold).float().mean() <= 0.2


def test_one_command_makes_a_data_set_with_labels_scores_and_a_datasheet(tmp_path):
    made = {"num_samples": 6, "output_dir": str(tmp_path), "steps": STEPS, "frames": 24, "batch_size": 3}
    run_bundle(BUNDLE, ["surrogate"], made)
    rows = read_echonet(tmp_path)
    assert len(rows) == 6 and all(row["frames"] == 24 and row["fps"] == 16 for row in rows)
    scores = (tmp_path / "privacy_scores.csv").read_text().splitlines()
    assert scores[0].startswith("FileName,Score,Threshold,NearestPatient,NAttempts") and len(scores) == 7
    assert "6 synthetic videos" in (tmp_path / "datasheet.md").read_text()


def test_a_data_set_in_the_layout_of_bids_has_videos_of_drawn_ejection_fractions(tmp_path):
    generate_dataset(BUNDLE, tmp_path, 2, settings={"ef": "20,70", "steps": 2})
    assert (tmp_path / "sub-0002" / "us" / "sub-0002_echo.avi").is_file()
    assert "sub-*/us/" in (tmp_path / ".bidsignore").read_text().split()


def test_a_server_hands_the_video_over_as_a_volume_in_time(tmp_path):
    case = ServedBundle(BUNDLE).run({"ef": 60.0, "seed": 2, "steps": 2}, tmp_path)[0]
    image = nib.load(case.files["video"])
    video = read_video(tmp_path / "sub-0001" / "sub-0001_echo.avi").frames
    assert image.shape == (32, 32, 1, 16) and case.sidecar["frame_ms"] == 62.5
    assert np.array_equal(np.asarray(image.dataobj)[:, :, 0].transpose(2, 1, 0), video)


# --- videos of one's own that cannot be learnt from -------------------------------------------------------------------


@pytest.fixture
def echonet(tmp_path):
    """A data set of ten videos in EchoNet's layout."""
    videos = list_videos("tiny", "TRAIN", 8) + list_videos("tiny", "VAL", 2)
    return export_phantoms(tmp_path / "echonet", "tiny", videos)


def change_list(folder, change):
    path = folder / "FileList.csv"
    lines = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join(line) for line in change(lines)) + "\n")


AUTOENCODER = ["train_video", "train_autoencoder"]


def clips_of(folder):
    """What the first stage of training learns from."""
    made = {"data_format": "echonet", "dataset_dir": str(folder)}
    return load_config(BUNDLE, AUTOENCODER, made).get_parsed_content("train#dataset").clips


def refusal(folder, **made) -> str:
    with pytest.raises(Exception) as caught:
        made = {"data_format": "echonet", "dataset_dir": str(folder), **made}
        load_config(BUNDLE, AUTOENCODER, made).get_parsed_content("train#dataset")
    error = find_user_error(caught.value)
    assert error is not None and "\n" not in str(error) and str(error).rstrip().endswith(".")
    return str(error)


def test_a_list_without_the_column_ef_is_refused_by_name(echonet):
    change_list(echonet, lambda lines: [[cell for n, cell in enumerate(line) if n != 1] for line in lines])
    assert "FileList.csv line 1: has no column EF" in refusal(echonet)


def test_rows_with_an_ef_outside_0_to_100_are_named_and_left_out(echonet, capsys):
    change_list(echonet, lambda lines: [lines[0], [lines[1][0], "155", *lines[1][2:]], *lines[2:]])
    assert len(clips_of(echonet)) == 7
    said = capsys.readouterr().err
    assert "FileList.csv line 2, column EF: 155" in said and "between 0 and 100" in said


def test_a_video_with_a_damaged_chunk_is_named_and_left_out(echonet, capsys):
    path = read_echonet(echonet, "train")[0]["path"]
    raw = bytearray(path.read_bytes())
    place = raw.index(b"00dc", raw.index(b"movi")) + 8
    raw[place : place + 40] = b"\0" * 40
    path.write_bytes(raw)
    assert len(clips_of(echonet)) == 7
    said = capsys.readouterr().err
    assert path.name in said and "frame 0" in said and "damaged JPEG" in said


def test_videos_of_odd_length_and_other_rates_are_brought_to_the_network_s_and_short_ones_left_out(echonet, capsys):
    first, second, third = (row["path"] for row in read_echonet(echonet, "train")[:3])
    frames = np.repeat(read_video(first).frames, 4, 0)
    write_avi(first, frames[:63], 50.0)  # 1.26 s
    write_avi(second, frames[:5], 16.0)
    write_avi(third, frames[:17], 16.0)
    clips = clips_of(echonet)
    assert len(clips) == 7
    for row in range(len(clips)):
        assert clips[row]["video"].shape == (1, 16, 32, 32)


def test_a_video_in_colour_counts_by_its_mean_grey(echonet):
    path = read_echonet(echonet, "train")[0]["path"]
    grey = read_video(path).frames
    tinted = np.stack([grey, grey // 2, np.zeros_like(grey)], -1)
    pictures = [picture_of(frame) for frame in tinted]
    raw = path.read_bytes()
    head = raw[: raw.index(b"movi") + 4]
    path.write_bytes(head + b"".join(b"00dc" + struct.pack("<I", len(p)) + p + b"\0" * (len(p) % 2) for p in pictures))
    video = clips_of(echonet)[0]["video"]
    assert np.abs(255 * video[0].numpy() - tinted.mean(-1)).mean() < 6


def picture_of(frame) -> bytes:
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def test_no_folder_and_another_format_are_told(tmp_path):
    assert "dataset_dir is empty" in refusal("")
    assert "FileList.csv does not exist" in refusal(tmp_path)
    assert "data_format = 'dicom'" in refusal(tmp_path, data_format="dicom")

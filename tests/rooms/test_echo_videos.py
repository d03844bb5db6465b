"""Videos for networks that see one beat: the right second at the right rate and size, known EF, and every bad video."""

import json

import numpy as np
import pytest
import torch
from echo_export import export_phantoms

from synthzoo.datasets.echo.training_clips import resize_frames, training_clips
from synthzoo.datasets.echo.videos import BeatTable, LoadBeatd, read_beat
from synthzoo.errors import UserError
from synthzoo.io.videos import read_video, write_avi
from synthzoo.phantoms.echo.phantom import draw_params, make_clip
from synthzoo.phantoms.echo.sets import list_videos


def video(folder, frames=17, fps=16.0, size=32, name="video.avi"):
    clip = make_clip(draw_params(210_001), size=size, frames=frames, fps=fps)
    write_avi(folder / name, clip.frames, fps)
    return folder / name


def ramp(folder, frames, fps, image_size=(32, 32), name="ramp.avi"):
    """Frame n is 2 n bright, so that a frame tells its number."""
    levels = (2 * np.arange(frames)).astype(np.uint8)
    write_avi(folder / name, np.broadcast_to(levels[:, None, None], (frames, *image_size)), fps)
    return folder / name


@pytest.mark.parametrize("frames", [16, 17, 31])
def test_even_and_odd_numbers_of_frames_give_the_middle_sixteen(frames, tmp_path):
    path = video(tmp_path, frames)
    clip, window = read_beat(path)
    first = (frames - 16) // 2
    assert clip.shape == (1, 16, 32, 32) and window["video_frames"] == frames
    assert window["start_s"] == pytest.approx(first / 16, abs=1e-3)
    assert torch.equal(clip[0], torch.from_numpy(read_video(path).frames[first : first + 16] / np.float32(255)))


def test_another_rate_is_mixed_and_another_size_made_square(tmp_path):
    clip, window = read_beat(ramp(tmp_path, 100, 50.0, (40, 64)))
    seen = 255 / 2 * clip[0, :, 16, 16]
    assert torch.allclose(seen.diff(), torch.full((15,), 50 / 16), atol=0.6)  # JPEG's rounding
    assert window["seconds"] == 1.0 and window["start_s"] == pytest.approx(0.53, abs=0.02)
    assert float(clip[0, :, 0].max()) == 0 and float(clip[0, -1, 16].min()) > 0.4
    assert resize_frames(torch.ones(1, 2, 40, 20), 40)[0, 0, 0].sum() == 20


def test_a_wrong_header_is_put_right_by_hand(tmp_path):
    path = video(tmp_path, 16, 16.0)
    raw = path.read_bytes()
    place = raw.index(b"strh") + 8 + 20
    (tmp_path / "wrong.avi").write_bytes(raw[: place + 4] + (1000).to_bytes(4, "little") + raw[place + 8 :])
    with pytest.raises(UserError, match=r"wrong.avi: its header states .* video_fps\.$"):
        read_beat(tmp_path / "wrong.avi")
    assert torch.equal(read_beat(tmp_path / "wrong.avi", video_fps=16.0)[0], read_beat(path)[0])


def test_a_video_stored_as_a_volume_with_time_first_is_the_same_video(tmp_path):
    import nibabel as nib

    path = video(tmp_path, 16)
    frames = read_video(path).frames
    nib.save(nib.Nifti1Image(frames, np.eye(4)), tmp_path / "video.nii.gz")
    with pytest.raises(UserError, match="states no frames per second: give them as video_fps"):
        read_beat(tmp_path / "video.nii.gz")
    assert torch.equal(read_beat(tmp_path / "video.nii.gz", video_fps=16.0)[0], read_beat(path)[0])
    nib.save(nib.Nifti1Image(frames.astype(np.float32) * 9, np.eye(4)), tmp_path / "bright.nii")
    with pytest.raises(UserError, match="store it as bytes"):
        read_beat(tmp_path / "bright.nii", video_fps=16.0)


def bad_short(folder):
    return ramp(folder, 15, 16.0), "holds 15 frames at 16 per second"


def bad_slow(folder):
    return ramp(folder, 60, 4.0), "its header states 4.0 frames per second"


def bad_fast(folder):
    return ramp(folder, 60, 2000.0), "its header states 2000.0 frames per second"


def bad_small(folder):
    return ramp(folder, 20, 16.0, (8, 32)), "is 32 x 8 pixels"


def bad_blank(folder):
    write_avi(folder / "blank.avi", np.full((20, 32, 32), 90, np.uint8), 16.0)
    return folder / "blank.avi", "one shade of grey"


def bad_colour(folder):
    from io import BytesIO

    from PIL import Image

    path = video(folder, 16)
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    buffer = BytesIO()
    Image.fromarray(red).save(buffer, "JPEG", quality=50)
    raw, jpeg = path.read_bytes(), buffer.getvalue()
    at = raw.index(b"00dc")
    length = int.from_bytes(raw[at + 4 : at + 8], "little")
    assert len(jpeg) <= length
    # The picture's own end comes first; what follows it in the chunk is never read.
    path.write_bytes(raw[: at + 8] + jpeg + b"\0" * (length - len(jpeg)) + raw[at + 8 + length :])
    return path, "is in colour"


def bad_corrupt(folder):
    path = video(folder, 16)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"00dc", raw.index(b"00dc") + 4)
    raw[at + 8 : at + 60] = b"\x11" * 52
    path.write_bytes(bytes(raw))
    return path, "frame 1 at byte"


def bad_missing(folder):
    return folder / "absent.avi", "does not exist"


def bad_kind(folder):
    (folder / "video.mp4").write_bytes(b"\0\0\0\x18ftypisom" + b"\0" * 40)
    return folder / "video.mp4", "an MP4"


BAD = [bad_short, bad_slow, bad_fast, bad_small, bad_blank, bad_colour, bad_corrupt, bad_missing, bad_kind]


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_a_bad_video_is_named_before_anything_runs(make, tmp_path):
    path, words = make(tmp_path)
    with pytest.raises(UserError) as caught:
        BeatTable(str(path), output_dir=str(tmp_path / "out"))
    sentence = str(caught.value)
    assert str(path) in sentence and words in sentence and sentence[-1] == "." and "\n" not in sentence


def test_bad_videos_among_good_ones_are_left_out_and_kept_for_the_end(tmp_path, capsys):
    video(tmp_path, 16, name="good.avi")
    bad_small(tmp_path)
    table = BeatTable(str(tmp_path), output_dir=str(tmp_path / "out"))
    assert [table.cases[row] for row in table.rows] == ["good"] and len(table.failures) == 1
    assert "warning: left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ef": 5}, "10"),
        ({"ef": 90}, "85"),
        ({"ef": "high"}, "high"),
        ({"ef": None}, "ef is left out"),
        ({"ef_factual": 120}, "100"),
        ({"ef": "$import os"}, "program"),
    ],
)
def test_an_ejection_fraction_out_of_range_is_told_with_the_range(settings, words, tmp_path):
    with pytest.raises(UserError, match="ef") as caught:
        BeatTable(str(video(tmp_path)), **settings)
    assert words in str(caught.value)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    videos = list_videos("tiny", "TRAIN", 3) + list_videos("tiny", "TEST", 2)
    return export_phantoms(tmp_path_factory.mktemp("echonet"), "tiny", videos)


def test_a_data_set_brings_its_own_ejection_fractions(dataset, tmp_path):
    table = BeatTable(dataset_dir=str(dataset), output_dir=str(tmp_path))
    assert len(table) == 2
    for index in range(2):
        sample = table[index]
        assert table.record(index)["requested"] == {"ef": 30.0, "ef_factual": sample["ef_factual"]}
        assert 10 <= sample["ef_factual"] <= 85
    assert BeatTable(dataset_dir=str(dataset), ef_factual=44)[0]["ef_factual"] == 44
    loaded = LoadBeatd("image")(table[0])
    assert loaded["image"].shape == (1, 16, 32, 32) and loaded["fps"] == 16
    json.dumps(loaded["window"])


@pytest.mark.parametrize("column", ["EF", "Split", "FileName"])
def test_a_list_without_a_column_is_told(dataset, column, tmp_path):
    lines = (dataset / "FileList.csv").read_text().splitlines()
    lines[0] = ",".join(name if name != column else "Other" for name in lines[0].split(","))
    (tmp_path / "FileList.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=f"FileList.csv line 1: has no column {column}"):
        BeatTable(dataset_dir=str(tmp_path))


def test_videos_are_named_in_one_way(dataset, tmp_path):
    with pytest.raises(UserError, match="both given"):
        BeatTable(str(tmp_path), dataset_dir=str(dataset))
    with pytest.raises(UserError, match="data_format"):
        BeatTable(dataset_dir=str(dataset), data_format="dicom")


def test_training_clips_of_phantoms_and_of_a_data_set_are_alike(dataset):
    phantoms = training_clips(patients=2, sessions=2)
    assert len(phantoms) == 4 and phantoms[1]["session"] == 1
    own = training_clips("echonet", dataset, size=16)
    assert len(own) == 3
    assert phantoms[0]["video"].shape == (1, 16, 32, 32) and own[0]["video"].shape == (1, 16, 16, 16)
    assert 0 <= float(own[0]["ef"]) <= 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data_format": "dicom"}, "phantom or echonet"),
        ({"data_format": "echonet"}, "dataset_dir is empty"),
        ({"patients": 0}, "at least 1"),
    ],
)
def test_training_data_that_cannot_be_found_is_told(settings, words):
    with pytest.raises(UserError, match=words):
        training_clips(**settings)

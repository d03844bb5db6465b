"""One frame out of videos, volumes and pictures; and what is said of those that cannot be used."""

from io import BytesIO

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from synthzoo.datasets.echo.reference_frames import FrameTable, LoadFramed, read_frame
from synthzoo.errors import UserError
from synthzoo.io.videos import avi_bytes, write_avi
from synthzoo.phantoms.echo.phantom import draw_params, make_clip


@pytest.fixture(scope="module")
def clip():
    return make_clip(draw_params(210_001), size=32)


@pytest.fixture
def video(clip, tmp_path):
    write_avi(tmp_path / "heart.avi", clip.frames, clip.fps)
    return tmp_path / "heart.avi"


def test_a_frame_of_a_video_is_that_frame_and_the_middle_one_where_none_is_named(video, clip):
    frame, source = read_frame(video, 3)
    assert frame.shape == (1, 32, 32) and source == {"frame": 3, "video_frames": 16}
    assert np.abs(frame[0].numpy() - clip.frames[3] / 255).mean() < 0.02
    assert read_frame(video)[1]["frame"] == 8


@pytest.mark.parametrize("count", [1, 7, 15])
def test_a_video_of_any_number_of_frames_gives_one(clip, tmp_path, count):
    write_avi(tmp_path / "odd.avi", clip.frames[:count], 15.0)
    assert read_frame(tmp_path / "odd.avi")[1] == {"frame": count // 2, "video_frames": count}


def test_a_picture_a_volume_and_a_video_of_one_frame_are_read_alike(video, clip, tmp_path):
    Image.fromarray(clip.frames[8]).save(tmp_path / "frame.png")
    nib.save(nib.Nifti1Image(clip.frames.astype(np.float32), np.eye(4)), tmp_path / "video.nii.gz")
    found = [read_frame(tmp_path / name)[0] for name in ("frame.png", "video.nii.gz")]
    assert torch.allclose(found[0], found[1], atol=1e-6)
    assert (read_frame(video)[0] - found[0]).abs().mean() < 0.02


def test_frames_that_are_no_squares_get_black_bars(tmp_path):
    picture = np.full((40, 80), 200, np.uint8)
    picture[5:9, 5:9] = 20
    Image.fromarray(picture).save(tmp_path / "wide.png")
    frame = read_frame(tmp_path / "wide.png", size=16)[0][0]
    assert frame.shape == (16, 16) and float(frame[:3].max()) < 0.05 and float(frame[6:10].mean()) > 0.6


def wrong(path, frame=None):
    with pytest.raises(UserError) as caught:
        read_frame(path, frame)
    sentence = str(caught.value)
    assert str(path) in sentence and "\n" not in sentence and sentence.endswith(".")
    return sentence


def test_what_holds_no_frame_is_refused_by_name(video, clip, tmp_path):
    assert "frame 16 is requested" in wrong(video, 16)
    assert "does not exist" in wrong(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    assert "no picture" in wrong(tmp_path / "text.png")
    Image.fromarray(clip.frames[0]).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:200])
    assert "damaged" in wrong(tmp_path / "cut.png")
    coloured = np.stack([clip.frames[0], clip.frames[0] // 2, clip.frames[0]], 2)
    Image.fromarray(coloured).save(tmp_path / "colour.png")
    assert "in colour" in wrong(tmp_path / "colour.png")
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(tmp_path / "even.png")
    assert "one shade" in wrong(tmp_path / "even.png")
    Image.fromarray(clip.frames[0][:8, :8]).save(tmp_path / "tiny.png")
    assert "at least 16" in wrong(tmp_path / "tiny.png")


def test_a_video_with_a_damaged_frame_is_refused_only_if_that_frame_is_needed(video, clip):
    data = bytearray(avi_bytes(clip.frames, clip.fps))
    starts = [at for at in range(len(data) - 3) if data[at : at + 4] == b"00dc"][:16]
    data[starts[2] + 8 : starts[2] + 40] = bytes(32)
    video.write_bytes(bytes(data))
    assert "frame 2" in wrong(video, 2)
    assert read_frame(video, 5)[1]["frame"] == 5


def test_a_video_in_colour_is_refused(tmp_path, clip):
    grey = Image.fromarray(clip.frames[0])
    tinted, buffer = Image.merge("RGB", [grey, grey.point(lambda v: v // 2), grey.point(lambda v: v // 3)]), BytesIO()
    tinted.save(buffer, "JPEG", quality=95, subsampling=0)
    picture, video = buffer.getvalue(), avi_bytes(clip.frames[:1], 16.0)
    head = video[: video.index(b"00dc")]
    (tmp_path / "colour.avi").write_bytes(head + b"00dc" + len(picture).to_bytes(4, "little") + picture + b"\0")
    assert "colour" in wrong(tmp_path / "colour.avi")


@pytest.mark.parametrize("frame", [-1, 1.5, True, "3"])
def test_a_frame_that_is_no_number_is_refused_before_anything_is_read(frame):
    with pytest.raises(UserError, match="frame is"):
        LoadFramed("image", frame=frame)


def test_the_table_asks_one_ejection_fraction_and_refuses_others(video, tmp_path):
    table = FrameTable(str(video), ef=55, seed=3, suffix="echo.avi", output_dir=str(tmp_path / "out"))
    assert table.record(0)["requested"] == {"ef": 55.0} and table.record(0)["seed"] == 3
    assert table[0]["case"] == "heart" and list(table.conditions) == ["ef"]
    for ef in (5, 90, "high", None):
        with pytest.raises(UserError, match="ef is"):
            FrameTable(str(video), ef=ef, suffix="echo.avi")
    with pytest.raises(UserError, match="seed is"):
        FrameTable(str(video), seed=-1, suffix="echo.avi")


def test_a_data_set_without_its_columns_is_refused(clip, tmp_path):
    (tmp_path / "Videos").mkdir()
    write_avi(tmp_path / "Videos" / "a.avi", clip.frames, clip.fps)
    (tmp_path / "FileList.csv").write_text("FileName,FPS,Split\na,16,TEST\n")
    with pytest.raises(UserError, match="EF"):
        FrameTable(dataset_dir=str(tmp_path), suffix="echo.avi")

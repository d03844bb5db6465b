"""Videos as viewers of volumes take them: every frame, upright, at its rate."""

import nibabel as nib
import numpy as np
import pytest
import torch

from synthzoo.datasets.echo.reference_frames import read_frame
from synthzoo.datasets.echo.videos import read_beat
from synthzoo.errors import UserError
from synthzoo.io.videos import as_unit, read_video, write_avi
from synthzoo.io.volumes import is_nifti_video
from synthzoo.serving.sequences import as_sequence


def test_a_video_becomes_a_volume_in_time_that_shows_upright(tmp_path):
    frames = np.zeros((5, 24, 32), np.uint8)
    frames[:, 2:8, 4:10] = 200  # upper left
    frames += (8 * np.arange(5)).astype(np.uint8)[:, None, None]
    write_avi(tmp_path / "sub-0001_echo.avi", frames, 16)
    path, frame_ms = as_sequence(tmp_path / "sub-0001_echo.avi")
    image = nib.load(path)
    array = np.asarray(image.dataobj)
    assert path.name == "sub-0001_echo.nii.gz" and frame_ms == pytest.approx(62.5)
    assert array.shape == (32, 24, 1, 5) and array.dtype == np.uint8
    assert np.array_equal(array[:, :, 0].transpose(2, 1, 0), read_video(tmp_path / "sub-0001_echo.avi").frames)
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")  # as an axial view has it: left on the right, back below


def test_the_volume_in_time_is_read_back_as_the_video_at_its_rate(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (20, 24, 32), np.uint8)
    write_avi(tmp_path / "echo.avi", frames, 16)
    path, _ = as_sequence(tmp_path / "echo.avi")
    video, fps = read_video(path)
    assert np.array_equal(video, as_unit(read_video(tmp_path / "echo.avi").frames)) and fps == pytest.approx(16)
    for read in (read_beat, read_frame):
        of_avi, of_nifti = (read(name)[0] for name in (tmp_path / "echo.avi", path))
        assert torch.equal(of_avi, of_nifti)
    (tmp_path / "cut.nii.gz").write_bytes(path.read_bytes()[:4000])
    with pytest.raises(UserError, match=r"cut\.nii\.gz is damaged or cut short"):
        read_video(tmp_path / "cut.nii.gz")


def test_one_frame_as_a_viewer_saves_it_is_a_video_of_one(tmp_path):
    frame = np.random.default_rng(0).integers(0, 255, (32, 24, 1), np.uint8)
    nib.save(nib.Nifti1Image(frame, np.eye(4)), tmp_path / "frame.nii.gz")
    video, fps = read_video(tmp_path / "frame.nii.gz")
    assert video.shape == (1, 24, 32) and np.array_equal(video[0], as_unit(frame[:, :, 0].T)) and fps is None
    assert read_frame(tmp_path / "frame.nii.gz")[1] == {"frame": 0, "video_frames": 1}
    with pytest.raises(UserError, match="states no frames per second"):
        read_beat(tmp_path / "frame.nii.gz")


def test_a_series_of_volumes_is_no_video(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8, 4), np.float32), np.eye(4)), tmp_path / "series.nii.gz")
    assert not is_nifti_video(tmp_path / "series.nii.gz") and not is_nifti_video(tmp_path / "none.nii.gz")
    with pytest.raises(UserError, match="a series"):
        read_video(tmp_path / "series.nii.gz")


def test_what_is_no_video_is_refused_by_name(tmp_path):
    (tmp_path / "echo.avi").write_bytes(b"RIFF....AVI nothing")
    with pytest.raises(UserError, match="echo.avi"):
        as_sequence(tmp_path / "echo.avi")

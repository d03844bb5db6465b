"""Films as viewers of volumes take them: every frame, upright, at its rate."""

import nibabel as nib
import numpy as np
import pytest

from synthzoo.data.avi import read_avi, write_avi
from synthzoo.errors import UserError
from synthzoo.serving.cines import as_cine


def test_a_film_becomes_a_volume_in_time_that_shows_upright(tmp_path):
    frames = np.zeros((5, 24, 32), np.uint8)
    frames[:, 2:8, 4:10] = 200  # upper left
    frames += (8 * np.arange(5)).astype(np.uint8)[:, None, None]
    write_avi(tmp_path / "sub-0001_echo.avi", frames, 16)
    path, frame_ms = as_cine(tmp_path / "sub-0001_echo.avi")
    image = nib.load(path)
    array = np.asarray(image.dataobj)
    assert path.name == "sub-0001_echo.nii.gz" and frame_ms == pytest.approx(62.5)
    assert array.shape == (32, 24, 1, 5) and array.dtype == np.uint8
    assert np.array_equal(array[:, :, 0].transpose(2, 1, 0), read_avi(tmp_path / "sub-0001_echo.avi").frames)
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")  # as an axial view has it: left on the right, back below


def test_what_is_no_film_is_refused_by_name(tmp_path):
    (tmp_path / "echo.avi").write_bytes(b"RIFF....AVI nothing")
    with pytest.raises(UserError, match="echo.avi"):
        as_cine(tmp_path / "echo.avi")

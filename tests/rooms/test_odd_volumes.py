"""Volumes as people have them: complex, with NaN around, rounded headers, links, and results of earlier runs beside."""

import struct

import nibabel as nib
import numpy as np
import pytest

from synthzoo.cases.images import find_images
from synthzoo.errors import UserError
from synthzoo.io.volumes import read_volume


def volume(path, array, affine=None):
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


BRIGHT = np.random.default_rng(0).uniform(1, 9, (8, 9, 10)).astype(np.float32)


def test_of_complex_voxels_the_magnitude_is_read(tmp_path):
    phase = np.exp(1j * np.linspace(0, 6, BRIGHT.size)).reshape(BRIGHT.shape)
    array, _ = read_volume(volume(tmp_path / "a.nii.gz", (BRIGHT * phase).astype(np.complex64)))
    assert np.allclose(array[0], BRIGHT, rtol=1e-5)


def test_nan_around_an_image_is_background_and_nan_inside_is_refused(tmp_path, capsys):
    around = BRIGHT.copy()
    around[:3] = np.nan
    array, _ = read_volume(volume(tmp_path / "a.nii.gz", around))
    assert (array[0, :3] == 0).all() and np.array_equal(array[0, 3:], BRIGHT[3:])
    assert capsys.readouterr().out.count("count as background") == 1
    inside = BRIGHT.copy()
    inside[4, 4, 4] = np.nan
    with pytest.raises(UserError, match="1 NaN or Inf"):
        read_volume(volume(tmp_path / "b.nii.gz", inside))


def test_a_quaternion_that_was_rounded_up_is_read_as_itk_reads_it(tmp_path):
    data = bytearray(nib.Nifti1Image(BRIGHT, np.diag([1.0, 2, 3, 1])).to_bytes())
    data[252:256] = struct.pack("<2h", 1, 0)
    data[256:268] = struct.pack("<3f", 0, 0, 1.0000002)
    data[76:80] = struct.pack("<f", 1)
    (tmp_path / "a.nii").write_bytes(bytes(data))
    _, affine = read_volume(tmp_path / "a.nii")
    assert np.allclose(np.abs(np.diag(affine)), [1, 2, 3, 1], atol=1e-3)


def test_a_header_that_promises_more_voxels_than_are_taken_is_refused_before_they_are_read(tmp_path, monkeypatch):
    from synthzoo.io import volumes

    monkeypatch.setattr(volumes, "MAX_VOXELS", 500)
    with pytest.raises(UserError, match="500 are taken at most"):
        read_volume(volume(tmp_path / "a.nii.gz", BRIGHT))


def test_links_hidden_folders_and_results_count_once_by_name_and_not_at_all(tmp_path):
    from synthzoo.io.marks import Mark
    from synthzoo.io.nifti import write_nifti

    store = tmp_path / ".git" / "annex"
    store.mkdir(parents=True)
    volume(store / "key.nii.gz", BRIGHT)
    for name, target in (("sub-01", "key"), ("sub-02", "absent")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}_T1w.nii.gz").symlink_to(f"../.git/annex/{target}.nii.gz")
    write_nifti(
        tmp_path / "sub-01" / "sub-01_heatmap.nii.gz",
        BRIGHT,
        np.eye(4),
        mark=Mark(False, {"DerivedBy": "b 0.1.0", "bundle": "b"}),
    )
    write_nifti(tmp_path / "sub-03_T1w.nii.gz", BRIGHT, np.eye(4), mark=Mark(True, {"bundle": "b"}))
    found = [path.name for path in find_images(tmp_path)]
    assert found == ["sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz", "sub-03_T1w.nii.gz"]

"""A scan that was changed in places is stored as it was: type, scaling, every other voxel to the bit."""

import nibabel as nib
import numpy as np
import pytest

from synthzoo.io.nifti import write_nifti
from synthzoo.io.stored import stored_again
from synthzoo.io.volumes import read_volume

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
TYPES = [
    ("<i2", 0.37, -11.5),
    (">i2", 1.0, 0.0),
    ("u1", 2.0, 5.0),
    ("<u2", 1.0, 0.0),
    ("<f4", 1.0, 0.0),
    ("<f8", 1.0, 0.0),
]


def source(path, kind, slope, intercept):
    raw = np.random.RandomState(0).randint(0, 250, (5, 6, 7)).astype(kind)
    if kind == "<f8":
        raw = raw + 1 / 3
    image = nib.Nifti1Image(raw, AFFINE)
    image.header.set_data_dtype(raw.dtype)
    image.header.set_slope_inter(slope, intercept)
    nib.save(image, path)
    return raw


@pytest.mark.parametrize(("kind", "slope", "intercept"), TYPES)
def test_only_what_was_changed_is_another(tmp_path, kind, slope, intercept):
    given, written = tmp_path / "given.nii.gz", tmp_path / "written.nii.gz"
    raw = source(given, kind, slope, intercept)
    array = read_volume(given)[0][0]
    changed = array.copy()
    changed[2, 3, 4], changed[0, 0, 0] = slope * 100 + intercept, 1e9
    stored = stored_again(given, changed)
    write_nifti(written, stored.voxels, AFFINE, scaling=stored.scaling)
    found = nib.load(written)
    assert found.get_data_dtype() == np.dtype(kind).newbyteorder("=")
    assert (found.dataobj.slope, found.dataobj.inter) == pytest.approx((slope, intercept))
    voxels = np.asarray(found.dataobj.get_unscaled())
    same = np.ones(array.shape, bool)
    same[2, 3, 4] = same[0, 0, 0] = False
    assert (voxels[same] == raw[same]).all()
    assert voxels[2, 3, 4] == pytest.approx(100, abs=1e-3)
    if np.dtype(kind).kind in "iu":
        assert voxels[0, 0, 0] == np.iinfo(kind).max


def test_what_is_no_such_file_is_stored_as_any_volume(tmp_path):
    path = tmp_path / "given.nii.gz"
    source(path, "<i2", 1.0, 0.0)
    assert stored_again(path, np.zeros((5, 6, 8), np.float32)) is None
    assert stored_again(tmp_path / "absent.nii.gz", np.zeros((5, 6, 7), np.float32)) is None
    (tmp_path / "other.nii.gz").write_bytes(b"no image")
    assert stored_again(tmp_path / "other.nii.gz", np.zeros((5, 6, 7), np.float32)) is None

"""Results are written whole or not at all, and their headers are right."""

import resource

import nibabel as nib
import numpy as np
import pytest
import torch

from synthzoo.cases.requests import RequestTable
from synthzoo.errors import UserError
from synthzoo.results.save import SaveResult

AGE = {"age": {"type": "number", "minimum": 20, "maximum": 90, "unit": "years"}}


def saved(folder, **kwargs):
    rows = RequestTable(AGE, {"age": 40}, num_samples=1, noise_shape=(1, 24, 20, 16), output_dir=folder)
    SaveResult(rows, spacing_mm=(4.0, 3.0, 2.0), **kwargs)({**rows[0], "pred": rows[0]["image"]})
    return rows[0]["image"]


def test_the_header_states_unit_affine_and_type_and_the_bits_repeat(tmp_path):
    noise = saved(tmp_path / "a")
    saved(tmp_path / "b")
    one, two = (tmp_path / name / "sub-0001" / "sub-0001_T1w.nii.gz" for name in "ab")
    image = nib.load(one)
    assert one.read_bytes() == two.read_bytes()
    assert image.header.get_xyzt_units()[0] == "mm" and image.get_data_dtype() == np.float32
    assert int(image.header["qform_code"]) and int(image.header["sform_code"])
    assert np.allclose(image.header.get_zooms(), (4, 3, 2)) and np.allclose(image.get_qform(), image.get_sform())
    assert torch.equal(torch.from_numpy(image.get_fdata(dtype=np.float32)), noise[0])


def test_a_full_disk_gives_one_sentence_and_leaves_nothing_of_the_sample(tmp_path):
    # A limit on the size of a file makes the write itself fail, as a full disk does.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(UserError, match="no space left to write .*every complete result is kept"):
            saved(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_network_that_gives_nan_leaves_nothing(tmp_path):
    rows = RequestTable(AGE, {"age": 40}, noise_shape=(1, 4, 4, 4), output_dir=tmp_path)
    with pytest.raises(UserError, match="NaN or Inf for sub-0001"):
        SaveResult(rows)({**rows[0], "pred": rows[0]["image"] * float("nan")})
    assert not list(tmp_path.iterdir())

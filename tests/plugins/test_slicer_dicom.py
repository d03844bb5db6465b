"""What a run writes as DICOM opens in Slicer's own libraries, at its place and with its grey levels."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from slicer_python import HEADLESS, SLICER_PYTHON, lacking

from synthzoo.io.dicom import Study, series_of, to_lps, write_radiograph, write_series, write_ultrasound
from synthzoo.io.marks import Mark, stated

pytestmark = pytest.mark.skipif(bool(lacking("slicer")), reason=lacking("slicer") or "there")
MARK = Mark(True, {**stated(True, "b", "0.1.0"), "bundle": "b", "seed": 1})


def test_slicer_opens_a_series_an_ultrasound_video_and_a_radiograph(tmp_path):
    rng = np.random.default_rng(0)
    volume, frames = rng.random((10, 12, 8)), rng.integers(0, 255, (7, 33, 31), np.uint8)
    affine = np.array([[0, 2.5, 0, -7], [-3, 0, 0, 11], [0, 0, 4, 3], [0, 0, 0, 1]])
    study = Study("sub-0001", "x", {"age": 60})
    write_series(tmp_path / "series", series_of(volume, affine, study, "T1w", "MR", MARK))
    write_ultrasound(tmp_path / "us.dcm", frames, 30, None, study, "echo", MARK)
    write_radiograph(tmp_path / "dx.dcm", volume[0], 1.0, study, "cxr", MARK)
    script = Path(__file__).with_name("slicer_dicom.py")
    command = [SLICER_PYTHON, str(script), *(str(tmp_path / name) for name in ("series", "us.dcm", "dx.dcm"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **HEADLESS})
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    turned, to_lps_mm = to_lps(volume, affine)
    assert found["series"]["size"] == list(turned.shape)
    assert np.allclose(found["series"]["affine"], np.diag([-1, -1, 1, 1]) @ to_lps_mm, atol=1e-4)
    assert found["series"]["sum"] == pytest.approx(np.rint(4095 * volume).sum())
    assert found["us.dcm"]["size"] == [31, 33, 7] and found["us.dcm"]["sum"] == frames.sum(dtype=float)
    assert found["dx.dcm"]["size"] == [8, 12, 1] and found["dx.dcm"]["largest"] == np.rint(4095 * volume[0].max())

"""With output_format dicom a run leaves objects that dciodvfy accepts, at the right place, rate and grey levels."""

import json
import os
import shutil
import subprocess

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor

from synthzoo.cases.images import ImageTable
from synthzoo.cases.requests import RequestTable
from synthzoo.errors import UserError
from synthzoo.io.dicom import Study, series_of, study_of, to_lps, uid_of
from synthzoo.io.marks import read_mark
from synthzoo.io.nifti import write_nifti
from synthzoo.io.volumes import read_volume
from synthzoo.results.finalize import FinalizeDataset
from synthzoo.results.save import SaveResult

AGE = {"age": {"type": "number", "minimum": 20, "maximum": 90, "unit": "years"}}
TURN = np.array([[0.0, 2.5, 0], [-3, 0, 0], [0, 0, 4]])  # axes that run back, right and up
# The attribute came with the standard of 2023; the judge of Debian 12 is from 2022 and knows no later ones.
NEWER = "</(0008,001c)> - Attribute with an even group number is not a recognized standard attribute"


def judged(path):
    """What dciodvfy calls an error in an object."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: apt install dicom3tools")
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if line.startswith("Error") and not line.endswith(NEWER)]


def table_of(folder, suffix, **kwargs):
    kwargs = {"noise_shape": (1, 6, 8, 10), "bundle": "b", "output_format": "dicom", "output_dir": folder, **kwargs}
    return RequestTable(AGE, {"age": 61.4}, suffix=suffix, **kwargs)


def affine():
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = TURN, (-7, 11, 3)
    return found


def ramp():
    return torch.linspace(0, 1, 480).reshape(1, 6, 8, 10)


@pytest.mark.parametrize("suffix, modality", [("T1w.nii.gz", "MR"), ("ct.nii.gz", "CT")])
def test_a_volume_is_a_series_at_its_place(suffix, modality, tmp_path):
    table = table_of(tmp_path, suffix)
    image = 1000 * ramp() - 500 if modality == "CT" else ramp()
    SaveResult(table, affine=affine())({**table[0], "pred": image})
    name = suffix.split(".")[0]
    folder = tmp_path / "sub-0001" / f"sub-0001_{name}"
    slices = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    assert len(slices) == 10 and {one.Modality for one in slices} == {modality} and slices[0].PatientAge == "061Y"
    assert len({one.SOPInstanceUID for one in slices}) == 10 and len({one.SeriesInstanceUID for one in slices}) == 1
    array, found = read_volume(folder)
    again, turned = nib.as_closest_canonical(nib.Nifti1Image(array[0], found)), None
    turned = nib.as_closest_canonical(nib.Nifti1Image(image[0].numpy(), affine()))
    assert np.allclose(again.affine, turned.affine, atol=1e-4)
    stored = turned.get_fdata() if modality == "CT" else 4095 * turned.get_fdata()
    assert np.abs(again.get_fdata() - stored).max() <= 0.51
    assert judged(folder / "0001.dcm") == [] and judged(folder / "0010.dcm") == []
    record = json.loads((tmp_path / "sub-0001" / f"sub-0001_{name}.json").read_text())
    assert record["files"] == [folder.name] and record["output_format"] == "dicom" and record["Synthetic"] is True
    assert str(read_mark(folder / "0001.dcm")) == "synthetic, by b, seed 0"


def test_the_same_request_gives_the_same_objects_and_a_rerun_skips_them(tmp_path):
    killed = tmp_path / "a" / "sub-0001" / ".tmp1_sub-0001_T1w"
    killed.mkdir(parents=True)
    os.utime(killed, (1, 1))
    for name in "ab":
        table = table_of(tmp_path / name, "T1w.nii.gz")
        SaveResult(table, spacing_mm=2.0)({**table[0], "pred": ramp()})
        FinalizeDataset(table)()
    one, two = (sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in "ab")
    assert (
        not killed.exists()
        and len(one) == 15
        and all(a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True))
    )
    assert table_of(tmp_path / "a", "T1w.nii.gz").skipped == 1
    with pytest.raises(UserError, match="output_format is dicom there and None now"):
        table_of(tmp_path / "a", "T1w.nii.gz", output_format="native")
    with pytest.raises(UserError, match="output_format is 'nifti', but must be native or dicom"):
        table_of(tmp_path / "a", "T1w.nii.gz", output_format="nifti")
    other = Study("sub-0001", "another request")
    assert other.uid("study") != Study("sub-0001", "a request").uid("study") and len(uid_of("a")) <= 64


@pytest.mark.parametrize("pixel_mm", [None, 0.4])
def test_a_video_is_ultrasound_with_its_rate_and_scale(pixel_mm, tmp_path):
    table = table_of(tmp_path, "echo.avi")
    video = ramp().reshape(1, 6, 8, 10)
    SaveResult(table, fps=29.97, pixel_mm=pixel_mm)({**table[0], "pred": video})
    path = tmp_path / "sub-0001" / "sub-0001_echo.dcm"
    one = pydicom.dcmread(path)
    assert float(one.FrameTime) == pytest.approx(1000 / 29.97) and one.NumberOfFrames == 6
    assert one.FrameIncrementPointer == pydicom.tag.Tag("FrameTime")
    assert np.array_equal(one.pixel_array, np.rint(255 * video[0].numpy()))
    regions = one.get("SequenceOfUltrasoundRegions", [])
    assert [float(region.PhysicalDeltaX) for region in regions] == ([] if pixel_mm is None else [pytest.approx(0.04)])
    assert judged(path) == [] and read_mark(path).synthetic
    FinalizeDataset(table)()
    assert read_mark(tmp_path / "preview.gif").synthetic


def test_a_radiograph_is_digital_x_ray_and_a_map_of_it_stays_png(tmp_path):
    table = table_of(tmp_path, "cxr.png")
    outputs = {"pred": "cxr.png", "heat": "heatmap.png"}
    SaveResult(table, outputs, pixel_mm=1.2)({**table[0], "pred": ramp()[0, :1], "heat": ramp()[0, :1]})
    path = tmp_path / "sub-0001" / "sub-0001_cxr.dcm"
    one = pydicom.dcmread(path)
    assert one.SOPClassUID.name.startswith("Digital X-Ray Image Storage - For Presentation")
    assert np.array_equal(one.pixel_array, np.rint(4095 * ramp()[0, 0].numpy()))
    assert [float(mm) for mm in one.ImagerPixelSpacing] == [1.2, 1.2] and judged(path) == []
    assert (tmp_path / "sub-0001" / "sub-0001_heatmap.png").is_file()
    FinalizeDataset(table)()
    assert (tmp_path / "preview.png").is_file()


@pytest.fixture(params=["nifti", "dicom"])
def scan(request, tmp_path):
    """A scan of somebody, in the axes of `affine`, as a file or as a series."""
    if request.param == "nifti":
        write_nifti(tmp_path / "scan.nii.gz", ramp()[0].numpy(), affine())
        return tmp_path / "scan.nii.gz"
    slices = series_of(ramp()[0].numpy(), affine(), Study("somebody", "x"), "T1", "MR", None)
    (tmp_path / "scan").mkdir()
    for number, one in enumerate(slices):
        one.PatientName, one.PatientID = "Doe^Jo", "4711"
        pydicom.dcmwrite(tmp_path / "scan" / f"{number}.dcm", one, write_like_original=False)
    return tmp_path / "scan"


def test_a_label_map_is_a_segmentation_of_the_scan(scan, tmp_path):
    out = tmp_path / "out"
    table = ImageTable(str(scan), output_dir=out, bundle="b", output_format="dicom")
    labels = torch.zeros(1, 6, 8, 10)
    labels[0, 1:3, 2:5, 4:7], labels[0, 4, 6, 8] = 1, 3
    made = {name: MetaTensor(value, affine=affine()) for name, value in (("pred", labels / 3), ("dseg", labels))}
    SaveResult(table, {"pred": "heatmap.nii.gz", "dseg": "dseg.nii.gz"})({"case": table.cases[0], "row": 0, **made})
    folder = out / "scan"
    one = pydicom.dcmread(folder / "scan_dseg.dcm")
    assert judged(folder / "scan_dseg.dcm") == [] and str(read_mark(folder / "scan_dseg.dcm")).startswith("derived")
    assert (0x0008, 0x001C) not in one and [s.SegmentLabel for s in one.SegmentSequence] == ["region 1", "region 3"]
    beside = {path.name for path in folder.iterdir()} - {"scan_heatmap.nii.gz", "scan_heatmap.json", "scan_dseg.dcm"}
    source = scan if scan.is_dir() else folder / "scan_source"
    assert beside == (set() if scan.is_dir() else {"scan_source"})
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in source.iterdir()]
    assert one.FrameOfReferenceUID == headers[0].FrameOfReferenceUID and one.PatientID == headers[0].PatientID
    named = {item.ReferencedSOPInstanceUID for item in one.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert named == {header.SOPInstanceUID for header in headers}
    # Every marked voxel of the object lies at the place of a marked voxel of the map.
    turned, to_world = to_lps(labels[0].numpy(), affine())
    for frame, mask in zip(one.PerFrameFunctionalGroupsSequence, one.pixel_array, strict=True):
        value = (1, 3)[frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1]
        position = [float(mm) for mm in frame.PlanePositionSequence[0].ImagePositionPatient]
        k = round((position[2] - to_world[2, 3]) / to_world[2, 2])
        assert np.allclose(position, (to_world @ [0, 0, k, 1])[:3], atol=1e-4)
        assert np.array_equal(mask, (turned[:, :, k] == value).T)
    if not scan.is_dir():
        assert read_mark(folder / "scan_source" / "0001.dcm") is None  # it is the scan that was given


def test_a_map_in_which_nothing_is_marked_stays_nifti(scan, tmp_path):
    table = ImageTable(str(scan), output_dir=tmp_path / "out", suffix="dseg.nii.gz", output_format="dicom")
    SaveResult(table)({"case": table.cases[0], "row": 0, "pred": MetaTensor(torch.zeros(1, 6, 8, 10), affine=affine())})
    assert (tmp_path / "out" / "scan" / "scan_dseg.nii.gz").is_file()
    again = ImageTable(str(scan), output_dir=tmp_path / "out", suffix="dseg.nii.gz", output_format="dicom")
    assert again.skipped == 1


def test_a_failed_sample_leaves_no_part_of_a_series(tmp_path):
    sheared = affine()
    sheared[0, 2] = 2
    table = table_of(tmp_path, "T1w.nii.gz")
    with pytest.raises(UserError, match="axes are not at right angles"):
        SaveResult(table, affine=sheared)({**table[0], "pred": ramp()})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert study_of("a", "b").source == []

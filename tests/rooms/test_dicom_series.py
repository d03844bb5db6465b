"""A DICOM folder is checked before it is believed, and its geometry is that of its slices."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from synthzoo.cases.images import ImageTable, expect_modality
from synthzoo.errors import UserError
from synthzoo.io.series import modality_of
from synthzoo.io.volumes import read_volume

VOXELS = np.arange(6 * 7 * 8, dtype=np.uint16).reshape(6, 7, 8)  # columns, rows, slices
STEP = 4.0


def header(modality="MR", series="1.2.3.4"):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    data.is_little_endian, data.is_implicit_VR = True, False
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.StudyInstanceUID, data.Modality = series, "1.2.3", modality
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.Rows, data.Columns = VOXELS.shape[1], VOXELS.shape[0]
    return data


def write_slice(path, number, place=None, axes=(1, 0, 0, 0, 1, 0), spacing=(3.0, 2.0), **kwargs):
    data = header(**kwargs)
    data.InstanceNumber = number
    data.ImageOrientationPatient = list(axes)
    data.ImagePositionPatient = [10.0, -20.0, place if place is not None else STEP * number]
    data.PixelSpacing = list(spacing)  # rows, columns
    data.SliceThickness = 99  # never believed
    data.PixelData = np.ascontiguousarray(VOXELS[:, :, number % VOXELS.shape[2]].T).tobytes()
    data.save_as(path, write_like_original=False)


def write_folder(folder, numbers=range(8), name="IM{:03d}.dcm", **kwargs):
    folder.mkdir(exist_ok=True)
    for number in numbers:
        write_slice(folder / name.format(number), number, **kwargs)
    return folder


def right(array, affine):
    assert np.array_equal(array[0], VOXELS)
    assert np.allclose(affine, [[-2, 0, 0, -10], [0, -3, 0, 20], [0, 0, STEP, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    "name", ["IM{:03d}.dcm", "P.MR.HEAD.{:04d}.2024.IMA", "MR.1.3.12.2.1107.{}", "{}", "x{:02d}.txt"]
)
def test_slices_are_read_whatever_their_files_are_called(name, tmp_path):
    right(*read_volume(write_folder(tmp_path / "series", name=name)))


def test_the_order_is_that_of_the_places_and_not_of_the_numbers(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    for number in range(8):
        write_slice(folder / f"IM{(5 * number) % 8}.dcm", number)
        data = pydicom.dcmread(folder / f"IM{(5 * number) % 8}.dcm")
        data.InstanceNumber = (3 * number) % 8
        data.save_as(folder / f"IM{(5 * number) % 8}.dcm")
    right(*read_volume(folder))


def test_slope_and_intercept_give_the_unit(tmp_path):
    folder = write_folder(tmp_path / "series", modality="CT")
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        data.RescaleSlope, data.RescaleIntercept = 2, -1024
        data.save_as(file)
    assert np.array_equal(read_volume(folder)[0][0], 2.0 * VOXELS - 1024)


def test_files_beside_the_slices_do_not_count(tmp_path):
    folder = write_folder(tmp_path / "series")
    (folder / "notes.txt").write_text("a scan")
    (folder / ".DS_Store").write_bytes(b"x")
    index = header()
    index.SOPClassUID = index.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    index.save_as(folder / "DICOMDIR", write_like_original=False)
    right(*read_volume(folder))


def test_an_enhanced_file_has_the_geometry_of_its_functional_groups(tmp_path):
    data, shared, frames = header(), Dataset(), []
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    axes, size = Dataset(), Dataset()
    axes.ImageOrientationPatient, size.PixelSpacing = [1, 0, 0, 0, 1, 0], [3, 2]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [axes], [size]
    order = [3, 1, 0, 2, 5, 4, 7, 6]
    for number in order:
        frame, where = Dataset(), Dataset()
        where.ImagePositionPatient = [10, -20, STEP * number]
        frame.PlanePositionSequence = [where]
        frames.append(frame)
    data.NumberOfFrames, data.SharedFunctionalGroupsSequence = 8, [shared]
    data.PerFrameFunctionalGroupsSequence = frames
    data.PixelData = np.ascontiguousarray(VOXELS.transpose(2, 1, 0)[order]).tobytes()
    folder = tmp_path / "series"
    folder.mkdir()
    data.save_as(folder / "IM1.dcm", write_like_original=False)
    right(*read_volume(folder))
    right(*read_volume(folder / "IM1.dcm"))


def two_series(folder):
    write_folder(folder, name="T1_{:03d}.dcm")
    write_folder(folder, name="T2_{:03d}.dcm", series="1.2.3.5")


def twice(folder):
    write_folder(folder)
    write_folder(folder, name="again{}.dcm")


def localizer(folder):
    write_folder(folder, range(4))
    write_folder(folder, range(4, 8), axes=(0, 1, 0, 0, 0, -1))


def other_sizes(folder):
    write_folder(folder, range(4))
    write_folder(folder, range(4, 8), spacing=(3.0, 2.5))


def without_places(folder):
    for file in write_folder(folder).iterdir():
        data = pydicom.dcmread(file)
        del data.ImagePositionPatient
        data.save_as(file)


def cut_short(folder):
    file = write_folder(folder) / "IM003.dcm"
    file.write_bytes(file.read_bytes()[:-40])


def in_colour(folder):
    for file in write_folder(folder).iterdir():
        data = pydicom.dcmread(file)
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
        data.save_as(file)


WRONG = {
    "two series": (two_series, "holds 2 DICOM series"),
    "a gap": (lambda folder: write_folder(folder, [0, 1, 2, 5, 6, 7]), "2 slices are missing after 8.0 mm"),
    "uneven steps": (lambda folder: [write_folder(folder), write_slice(folder / "IM007.dcm", 7, 29.0)], "unevenly"),
    "a scan repeated": (twice, "several slices at one place"),
    "a localizer": (localizer, "several orientations"),
    "pixels of two sizes": (other_sizes, "differ in pixel spacing"),
    "one slice": (lambda folder: write_folder(folder, [0]), "one slice"),
    "no places": (without_places, "does not say where it lies"),
    "a slice cut short": (cut_short, "IM003.dcm"),
    "colour": (in_colour, "colour"),
    "an impossible orientation": (lambda folder: write_folder(folder, axes=(1, 0, 0, 1, 0, 0)), "impossible"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_not_one_series_on_one_grid_is_refused_with_the_reason(kind, tmp_path):
    make, said = WRONG[kind]
    make(tmp_path / "series")
    with pytest.raises(UserError, match=said):
        read_volume(tmp_path / "series")


def test_a_modality_that_a_bundle_does_not_take_is_refused_where_images_are_listed(tmp_path, root):
    folder = write_folder(tmp_path / "series", modality="CT")
    assert modality_of(folder) == "CT" and modality_of(tmp_path) == ""
    bundle = str(root / "bundles" / "brain_mr_anomaly_map_manytasks")
    with pytest.raises(UserError, match="is of modality CT, but this model takes MR"):
        ImageTable(str(folder), bundle_root=bundle, suffix="heatmap.nii.gz")
    expect_modality(folder, "CT")
    expect_modality(folder, "")

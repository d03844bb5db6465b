"""Headers, tables and sidecars of any content: a sentence, or what other readers read, in bounded time and memory."""

import gzip
import struct
import zlib

import fuzz_dicom
import fuzz_nifti
import fuzz_nrrd
import fuzz_pictures
import fuzz_tables
import fuzz_videos
import nibabel as nib
import numpy as np
import pytest
from fuzzing import MOST_BYTES, SLOW_EXAMPLES, Worker, examples
from hypothesis import given

COUNT = 200  # files of each kind
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    made = Worker(tmp_path_factory.mktemp("worker"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@given(fuzz_nifti.headers())
@examples(COUNT)
def test_nifti(worker, folder, made):
    fuzz_nifti.one(worker, folder, *made)


@given(fuzz_dicom.objects())
@examples(COUNT)
def test_dicom(worker, folder, made):
    fuzz_dicom.one(worker, folder, *made)


@given(fuzz_videos.videos())
@examples(COUNT)
def test_videos(worker, folder, made):
    fuzz_videos.one(worker, folder, *made)


@given(fuzz_pictures.pictures())
@examples(COUNT)
def test_pictures(worker, folder, made):
    fuzz_pictures.one(worker, folder, *made)


@given(fuzz_nrrd.nrrds())
@examples(COUNT)
def test_slices_in_colour(worker, folder, made):
    fuzz_pictures.one(worker, folder, *made)


@given(fuzz_tables.tables())
@examples(COUNT)
def test_tables(worker, folder, made):
    fuzz_tables.one(worker, folder, *made)


@given(fuzz_tables.sidecars())
@examples(COUNT)
def test_sidecars(worker, folder, made):
    fuzz_tables.one_sidecar(worker, folder, made)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@given(fuzz_nifti.headers())
@examples(COUNT * SLOW_EXAMPLES)
def test_many_nifti_files(worker, folder, made):
    fuzz_nifti.one(worker, folder, *made)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@given(fuzz_dicom.objects())
@examples(COUNT * SLOW_EXAMPLES)
def test_many_dicom_objects(worker, folder, made):
    fuzz_dicom.one(worker, folder, *made)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@given(fuzz_videos.videos())
@examples(COUNT * SLOW_EXAMPLES)
def test_many_videos(worker, folder, made):
    fuzz_videos.one(worker, folder, *made)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@given(fuzz_pictures.pictures())
@examples(COUNT * SLOW_EXAMPLES)
def test_many_pictures(worker, folder, made):
    fuzz_pictures.one(worker, folder, *made)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@given(fuzz_tables.tables())
@examples(COUNT * SLOW_EXAMPLES)
def test_many_tables(worker, folder, made):
    fuzz_tables.one(worker, folder, *made)


def largest_volume(folder):
    voxels = np.zeros((640, 640, 640), "u1")
    voxels[:, :, 100:400:3] = 7
    image = nib.Nifti1Image(voxels, np.eye(4))
    image.header.set_slope_inter(2.5, 1)
    (folder / "a.nii.gz").write_bytes(gzip.compress(image.to_bytes(), 1))
    return folder / "a.nii.gz"


def largest_png(folder):
    row = b"\0" + bytes(range(256)) * 32 * 3
    head = struct.pack(">2I5B", 8192, 8192, 8, 2, 0, 0, 0)
    (folder / "a.png").write_bytes(fuzz_pictures.png(head, zlib.compress(row * 8192, 1)))
    return folder / "a.png"


def largest_radiograph(folder):
    one = fuzz_dicom.image("DX", np.arange(8192 * 8192, dtype="<u2").reshape(8192, 8192))
    one.WindowCenter, one.WindowWidth = 2000, 3000
    (folder / "a.dcm").write_bytes(fuzz_dicom.written(one))
    return folder / "a.dcm"


@pytest.mark.slow
@pytest.mark.parametrize("largest", [largest_volume, largest_png, largest_radiograph])
def test_the_largest_files_that_are_taken_fit_into_two_gigabytes(largest, worker, tmp_path):
    said = worker.ask("image", largest(tmp_path))
    print(
        f"\n{largest.__name__}: {said['kind']}, {said['bytes'] >> 20} MB, {said['seconds']:.1f} s {said['text'][-300:]}"
    )
    assert said["kind"] == "right" and said["bytes"] <= MOST_BYTES, said

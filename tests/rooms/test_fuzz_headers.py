"""Headers, tables and sidecars of any content: a sentence, or what other readers read, in bounded time and memory."""

import fuzz_dicom
import fuzz_nifti
import fuzz_pictures
import fuzz_tables
import fuzz_videos
import pytest
from fuzzing import SLOW_EXAMPLES, Worker, examples
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

"""The smallest file of each fault that the fuzz tests found."""

import gzip
import struct
import zlib
from io import BytesIO

import nibabel as nib
import numpy as np
import pydicom
import pytest
from fuzz_dicom import edit, enhanced, image, moving, one, radiograph, slices, written
from fuzz_nifti import nifti
from fuzz_pictures import TEXT, chunk, png
from fuzz_videos import FILES
from fuzzing import Worker, expect_sentence

from synthzoo.errors import UserError, printable
from synthzoo.io.marks import read_mark
from synthzoo.io.nifti import spaces_of
from synthzoo.io.reading import read_image
from synthzoo.io.volumes import read_volume

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    made = Worker(tmp_path_factory.mktemp("worker"))
    yield made
    made.stop()


def put(path, data):
    path.write_bytes(data)
    return path


def patch(data, at, kind, *values):
    raw = bytearray(data)
    struct.pack_into("<" + kind, raw, at, *values)
    return bytes(raw)


def test_a_sentence_is_one_line_whatever_a_file_says_of_itself():
    error = UserError(f"image a.dcm holds 'x\n\x1b[31m\udcff' and {'9' * 5000}: export it again.")
    expect_sentence(str(error)[:590] + ".", "a.dcm")
    assert len(str(error)) < 1100 and str(error).endswith("export it again.")
    assert printable("plain, äöü 日本") == "plain, äöü 日本"


@pytest.mark.parametrize(("at", "kind", "value"), [(70, "h", 7), (108, "f", 3.0), (344, "4s", b"abcd"), (40, "h", 99)])
def test_the_mark_of_a_damaged_nifti_file_is_a_sentence(at, kind, value, tmp_path):
    path = put(tmp_path / "a.nii", patch(nifti(), at, kind, value))
    with pytest.raises(UserError, match=r"a\.nii is damaged"):
        read_mark(path)


def test_of_two_spaces_one_that_cannot_be_is_left_out_of_the_results(tmp_path):
    for number, (at, value) in enumerate([(256, -np.inf), (260, 4.9e16), (80, np.nan), (84, 0.0)]):
        path = put(tmp_path / f"{number}.nii", patch(nifti(), at, "f", value))
        array, affine = read_volume(path)
        spaces = spaces_of(path, array.shape[1:], affine)
        assert spaces.sform_code == 2 and np.allclose(affine, np.diag([2, 3, 4, 1]))
        assert spaces.qform_code == 0 or np.isfinite(spaces.qform).all()


def test_an_unknown_code_of_units_leaves_a_video_without_a_rate(worker, tmp_path):
    data = patch(nifti("u1", 1, (5, 6, 1, 4)), 123, "B", 164)
    assert worker.expect("image", put(tmp_path / "a.nii", data)) == ""


def test_a_rounded_quaternion_is_read_in_both_versions(tmp_path):
    for version, kind, place in ((1, "f", 264), (2, "d", 368)):
        data = nifti("f4", version)
        data = patch(data, place, kind, 1.0000002)
        data = patch(data, 254 if version == 1 else 348, "h" if version == 1 else "i", 0)  # no sform
        _, affine = read_volume(put(tmp_path / f"{version}.nii", data))
        assert np.allclose(np.abs(np.diag(affine)), [2, 3, 4, 1], atol=1e-3)


def test_an_extension_of_two_gigabytes_is_refused_before_it_is_read(worker, tmp_path):
    head = bytearray(nifti(extension=b"x")[:352])
    struct.pack_into("<f", head, 108, 2**31)
    struct.pack_into("<4B", head, 348, 1, 0, 0, 0)
    data = bytes(head) + struct.pack("<2i", 2**31 - 16, 6)
    path = put(tmp_path / "a.nii.gz", gzip.compress(data) + gzip.compress(bytes(1 << 24)) * 128)
    said = worker.ask("image", path)
    assert said["kind"] == "sentence" and said["bytes"] < 200 << 20, said
    with pytest.raises(UserError, match="damaged"):
        read_mark(path)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("Rows", b"\x08\0\x06\0", "Rows is [8, 6], which is no integer"),
        ("NumberOfFrames", b"nan ", "NumberOfFrames is nan, which is no integer"),
        ("BitsAllocated", b"\3\0", "values of 3 bits a pixel"),
        ("SamplesPerPixel", b"\2\0", "claims 2 values"),
        ("NumberOfFrames", b"-4", "in -4 frames"),
    ],
)
def test_a_damaged_element_is_named(key, value, sentence, tmp_path):
    dataset = moving("grey")
    edit(dataset, key, None, value)
    with pytest.raises(UserError) as caught:
        read_image(put(tmp_path / "a.dcm", written(dataset)))
    assert sentence in str(caught.value)


@pytest.mark.parametrize("value", [b"1\\2\\3\\4\\5\\6 ", b"abc ", b"inf "])
def test_an_intercept_is_one_number_and_never_a_row_of_them(value, worker, tmp_path):
    made = slices()
    for dataset in made:
        edit(dataset, "RescaleIntercept", None, value)
    assert "RescaleIntercept" in one(worker, tmp_path, "series", list(map(written, made)))


def test_an_intercept_counts_without_a_slope(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    made = slices()
    for number, dataset in enumerate(made):
        del dataset.RescaleSlope
        put(folder / f"{number}.dcm", written(dataset))
    assert np.array_equal(read_volume(folder)[0][0, :, :, 0].T, made[0].pixel_array - 5.0)


def test_what_need_not_be_there_may_be_damaged(worker, tmp_path):
    for key in ("FrameTime", "RecommendedDisplayFrameRate", "SequenceOfUltrasoundRegions"):
        dataset = moving("grey")
        edit(dataset, key, "LO", b"abc ")
        path = put(tmp_path / "a.dcm", written(dataset))
        assert worker.expect("image", path) == ""
    dataset = enhanced()
    edit(dataset, "SharedFunctionalGroupsSequence", "LO", b"abc ")
    assert "a.dcm" in worker.expect("image", put(tmp_path / "a.dcm", written(dataset)))


def test_an_element_of_a_kind_that_nobody_knows_is_a_sentence(worker, tmp_path):
    data = written(moving("grey"))
    at = data.index(b"\x28\0\x10\0US")
    assert "a.dcm" in worker.expect("image", put(tmp_path / "a.dcm", data[: at + 4] + b"QQ" + data[at + 6 :]))
    at = data.index(b"\x08\0\x60\0CS")
    worker.expect("image", put(tmp_path / "a.dcm", data[: at + 4] + b"\x43\xb6" + data[at + 6 :]))
    odd = data[:132] + data[132:].replace(b"UI", b"\x55\xbb", 3)
    assert "a.dcm" in worker.expect("image", put(tmp_path / "a.dcm", odd))


def test_a_palette_without_one_colour_is_a_sentence(worker, tmp_path):
    dataset = radiograph("palette")
    edit(dataset, "BluePaletteColorLookupTableData", None, b"")
    assert "damaged" in worker.expect("image", put(tmp_path / "a.dcm", written(dataset)))


def test_a_private_code_of_a_compression_is_a_sentence(worker, tmp_path):
    dataset = moving("RLE")
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID("1.2.3.4")
    assert "a.dcm" in worker.expect("image", put(tmp_path / "a.dcm", written(dataset)))


def test_what_a_video_says_of_itself_need_not_be_text(worker, tmp_path):
    sound = FILES["a.mkv"]
    at = sound.index(b"Lavf")
    assert worker.expect("image", put(tmp_path / "a.mkv", sound[: at + 1] + b"\xff\xe1" + sound[at + 3 :])) == ""


def test_a_picture_of_milliards_of_pixels_is_a_sentence(worker, tmp_path):
    data = png(struct.pack(">2I5B", 10, 2**32 - 1, 8, 0, 0, 0, 0), zlib.compress(bytes(100)))
    assert "at most 8192" in worker.expect("image", put(tmp_path / "a.png", data))


def test_a_radiograph_has_the_size_of_other_pictures_at_most(worker, tmp_path):
    data = written(image("DX", np.zeros((8200, 4), "<u2")))
    assert "4 x 8200 pixels" in worker.expect("image", put(tmp_path / "a.dcm", data))


def test_a_mark_that_unpacks_to_gigabytes_is_read_no_further(worker, tmp_path):
    bomb = zlib.compress(bytes(1 << 26))
    mark = chunk(b"iTXt", TEXT + b"\1\0\0\0" + bomb)
    data = png(struct.pack(">2I5B", 4, 2, 8, 0, 0, 0, 0), zlib.compress(b"\0abcd\0efgh"), [mark])
    assert read_mark(put(tmp_path / "a.png", data)) is None
    said = worker.ask("image", put(tmp_path / "a.png", data))
    assert said["kind"] in ("sentence", "right") and said["bytes"] < 100 << 20


def test_a_video_of_empty_chunks_is_bounded(worker, tmp_path):
    sound = FILES["a.mp4"]
    many = struct.pack(">I4s", 8, b"free") * 400_000
    assert worker.expect("image", put(tmp_path / "a.mp4", sound + many)) == ""


@pytest.mark.parametrize("which", ["requests", "participants", "cells"])
def test_a_cell_of_200_000_letters_is_a_sentence_in_every_table(which, worker, tmp_path):
    for text in ("age," + "x" * 200_000 + "\n50,1\n", "id,age\nsub-1," + "x" * 200_000 + "\n"):
        path = put(tmp_path / "table.csv", text.encode())
        assert "table.csv" in worker.expect("rows", path, which=which)


@pytest.mark.parametrize(
    "record", [b'{"files": 5}', b'{"files": [5]}', b'{"files": {"a": 1}}', b'{"files": [""]}', b'{"files":' * 100_000]
)
def test_a_sidecar_that_is_none_counts_as_not_done(record, worker, tmp_path):
    assert worker.expect("sidecar", put(tmp_path / "record.json", record)) == ""


def test_the_size_of_a_header_is_that_of_its_version(worker, tmp_path):
    for size in (0, 540, 2**31 - 1):
        data = patch(nifti(), 0, "i", size)
        assert "a.nii" in worker.expect("image", put(tmp_path / "a.nii", data))


def test_a_record_nested_a_hundred_thousand_deep_is_no_mark(tmp_path):
    assert read_mark(put(tmp_path / "a.json", b"[" * 100_000)) is None
    buffer = BytesIO()
    image = nib.Nifti1Image(np.zeros((2, 2, 2), "u1"), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"[" * 100_000))
    buffer.write(image.to_bytes())
    assert read_mark(put(tmp_path / "a.nii", buffer.getvalue())) is None

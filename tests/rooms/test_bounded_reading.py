"""Files that unpack to more than they are: memory and time follow what a header may promise, not what a file claims."""

from __future__ import annotations

import gzip
import struct
import time
import tracemalloc
import zlib

import nibabel as nib
import numpy as np
import pytest

from synthzoo.errors import UserError
from synthzoo.io import unpacking, volumes
from synthzoo.io.reading import kind_of_input, read_image
from synthzoo.io.volumes import read_volume

MB = 1_000_000
MOST_MB, LONGEST_S = 80, 10


def bounded(read, path) -> str:
    """What is said of a file, or "" where it is read; with little memory and soon in any case."""
    tracemalloc.start()
    began, said = time.monotonic(), ""
    try:
        read(path)
    except UserError as error:
        said = str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_MB * MB, f"{peak / MB:.0f} MB"
    assert time.monotonic() - began < LONGEST_S
    return said


def small_volume(kind=np.int16, shape=(8, 9, 10)) -> bytearray:
    values = np.random.default_rng(0).integers(1, 200, shape).astype(kind)
    return bytearray(nib.Nifti1Image(values, np.eye(4)).to_bytes())


@pytest.mark.parametrize("kind", ["u1", "i1", "<i2", ">i2", "u2", "i4", "u4", "i8", "f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("scale", [(1.0, 0.0), (0.3, -7.0), (1e-3, 1e4)])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_voxels_are_those_of_nibabel_to_the_last_bit(kind, scale, ending, tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "SLAB", 700)  # several rows, never a whole plane
    values = np.random.default_rng(0).normal(0, 60, (12, 7, 5))
    values = (values + 1j * values[::-1] if kind[0] == "c" else np.abs(values) if "u" in kind else values).astype(kind)
    header = nib.Nifti1Header(endianness=">" if kind.startswith(">") else "<")
    image = nib.Nifti1Image(values, np.eye(4), header, dtype=kind)
    image.header.set_slope_inter(*scale)
    raw = bytearray(image.to_bytes())
    raw[112:120] = struct.pack(("<" if header.endianness == "<" else ">") + "ff", *scale)
    path = tmp_path / f"a{ending}"
    path.write_bytes(gzip.compress(bytes(raw)) if ending.endswith("gz") else bytes(raw))
    data = nib.load(path).dataobj
    wanted = np.abs(np.asarray(data)).astype(np.float32) if kind[0] == "c" else np.array(data, dtype=np.float32)
    found = read_volume(path)[0][0]
    assert found.dtype == np.float32 and found.flags.c_contiguous and np.array_equal(found, wanted)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_channels_and_both_versions_of_nifti_are_read_alike(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "SLAB", 300)
    values = np.random.default_rng(0).normal(size=(6, 5, 4, 1, 3)).astype(np.float32)
    path = tmp_path / "a.nii.gz"
    nib.save(kind(values, np.eye(4)), path)
    assert np.array_equal(read_volume(path, channels=3)[0], np.moveaxis(values[:, :, :, 0], -1, 0))


def begins_late(raw: bytearray) -> bytes:
    """The voxels begin behind a terabyte of nothing."""
    raw[108:112] = struct.pack("<f", 1e12)
    return bytes(raw) + bytes(300 * MB)


def long_extension(raw: bytearray) -> bytes:
    """An extension of 2 GB stands before the voxels, whose place is not told."""
    raw[108:112], raw[348:352] = struct.pack("<f", 0), b"\1\0\0\0"
    return bytes(raw[:352]) + struct.pack("<ii", 2**31 - 16, 6) + bytes(300 * MB)


def goes_on(raw: bytearray) -> bytes:
    """Behind the voxels much more follows."""
    return bytes(raw) + bytes(600 * MB)


def claims_much(raw: bytearray) -> bytes:
    """A header of more voxels than are taken, and the zeros that it promises."""
    raw[40:56] = struct.pack("<8h", 3, 2000, 2000, 500, 1, 1, 1, 1)
    return bytes(raw[:352]) + bytes(400 * MB)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (begins_late, "not a readable NIfTI"),
        (long_extension, "not a readable NIfTI"),
        (claims_much, "claims|are taken at most"),
        (goes_on, ""),
    ],
)
def test_a_small_file_that_unpacks_to_much_takes_little_memory(spoil, words, tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(spoil(small_volume(np.uint8)), 1))
    said = bounded(read_volume, path)
    assert bool(said) == bool(words) and (not words or any(word in said for word in words.split("|"))), said
    assert bounded(lambda p: volumes.is_nifti_video(p), path) == ""


@pytest.mark.parametrize("size", [0, 1])
def test_millions_of_members_of_next_to_nothing_are_refused_at_once(size, tmp_path):
    raw, path = bytes(small_volume(np.uint8, (30, 30, 30))), tmp_path / "a.nii.gz"
    member = gzip.compress(b"\0" * size, mtime=0)
    path.write_bytes(gzip.compress(raw[:400]) + member * 1_000_000 + gzip.compress(raw[400:]))
    said = bounded(read_volume, path)
    assert "damaged or cut short" in said


def test_block_gzip_with_its_many_members_and_the_empty_one_at_the_end_is_read(tmp_path):
    raw, path = bytes(small_volume(np.float64)), tmp_path / "a.nii.gz"
    blocks = [gzip.compress(raw[at : at + 1000]) for at in range(0, len(raw), 1000)]
    path.write_bytes(b"".join([*blocks, gzip.compress(b""), bytes(20)]))
    plain = tmp_path / "b.nii"
    plain.write_bytes(raw)
    assert np.array_equal(read_volume(path)[0], read_volume(plain)[0])


def png(width: int, height: int, data: bytes = b"") -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (9000, 10), (10, 60_000)])
def test_a_picture_of_more_pixels_than_are_taken_is_refused_before_it_is_decoded(width, height, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(width, height, zlib.compress(bytes(50 * MB))))
    said = bounded(read_image, path)
    assert f"{width} x {height} pixels" in said and "8192" in said
    assert kind_of_input(path) == "image"


def test_a_jpeg_of_hundreds_of_scans_is_refused(tmp_path):
    from io import BytesIO

    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(
        buffer, "JPEG", progressive=True
    )
    data = buffer.getvalue()
    scan = data.rindex(b"\xff\xda")
    path = tmp_path / "a.jpg"
    path.write_bytes(data[:scan] + data[scan:-2] * 500 + b"\xff\xd9")
    assert "scans" in bounded(read_image, path)


def test_deflated_dicom_is_refused_before_it_is_unpacked(tmp_path):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    bomb = Dataset()
    bomb.file_meta, bomb.Modality, bomb.PatientName = meta, "OT", "bomb"
    bomb.is_little_endian, bomb.is_implicit_VR = True, False
    bomb.save_as(tmp_path / "a.dcm", write_like_original=False)
    raw = (tmp_path / "a.dcm").read_bytes()
    syntax = DeflatedExplicitVRLittleEndian.encode().ljust(22, b"\0")
    at = raw.index(ExplicitVRLittleEndian.encode())
    head = raw[: at - 2] + struct.pack("<H", len(syntax)) + syntax
    group = struct.unpack("<I", head[140:144])[0] + len(syntax) - 20
    head = (
        head[:140] + struct.pack("<I", group) + head[144:] + raw[at + 20 : 144 + struct.unpack("<I", raw[140:144])[0]]
    )
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    body = b"".join(packer.compress(b"\x09\x00\x10\x00UN\0\0" + bytes(100 * MB)) for _ in range(6)) + packer.flush()
    path = tmp_path / "bomb.dcm"
    path.write_bytes(head + body)
    assert len(path.read_bytes()) < 4 * MB
    assert "deflated" in bounded(read_image, path)
    assert "deflated" in bounded(read_volume, path)


def test_what_reads_a_file_of_a_user_opens_it_by_the_bounded_ways(root):
    found = [path for room in ("io", "cases", "datasets/chest") for path in (root / "synthzoo" / room).rglob("*.py")]
    assert len(found) > 20
    for path in found:
        if path.name in ("opening.py", "unpacking.py"):
            continue
        text = path.read_text()
        for call in ("dcmread(", "nib.load(", "nibabel.load("):
            assert call not in text, f"{path}: {call} reads on as far as a file unpacks; see synthzoo.io.opening"


def avi_of_one_frame(repeats: int) -> bytes:
    """A small picture, and after it so many empty chunks, each of which shows it once more."""
    from synthzoo.io.videos import avi_bytes

    whole = avi_bytes(np.zeros((1, 16, 16), np.uint8), 25)
    movi = whole.index(b"movi") - 8
    length = struct.unpack("<I", whole[movi + 4 : movi + 8])[0]
    chunks = whole[movi + 8 : movi + 8 + length] + b"00dc\0\0\0\0" * repeats
    body = whole[12:movi] + b"LIST" + struct.pack("<I", len(chunks)) + chunks
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"AVI " + body


def test_empty_chunks_of_a_video_are_counted_before_they_become_frames(tmp_path, monkeypatch):
    from synthzoo.io import videos

    monkeypatch.setattr(videos, "MAX_FRAMES", 1000)
    path = tmp_path / "a.avi"
    path.write_bytes(avi_of_one_frame(5000) + b"")
    said = bounded(videos.open_video, path)
    count = 0 if said else videos.open_video(path).count
    assert "at most 1000 are read" in said or count <= 1000


def test_a_video_is_checked_frame_by_frame_and_kept_nowhere(tmp_path, monkeypatch):
    from synthzoo.io import videos

    frames = np.random.default_rng(0).integers(0, 255, (300, 200, 200), np.uint8)
    path = tmp_path / "a.avi"
    videos.write_avi(path, frames, 30)
    monkeypatch.setitem(globals(), "MOST_MB", 5)
    assert bounded(videos.check_video, path) == ""
    raw = bytearray(path.read_bytes())
    middle = raw.index(b"\xff\xd8", len(raw) // 2)
    raw[middle + 2 : middle + 4] = b"\0\0"
    path.write_bytes(bytes(raw))
    assert "damaged" in bounded(videos.check_video, path)
    monkeypatch.setattr(videos, "MAX_BYTES", 1_000_000)
    assert "cut it or make it smaller" in bounded(videos.check_video, path)


def frames_of_dicom(path, frames: int, side: int, samples: int = 1, kind: str = "US") -> None:
    """DICOM of many frames, RLE of zeros: a small file with many pixels."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.pixel_data_handlers.rle_handler import rle_encode_frame
    from pydicom.uid import RLELossless, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.3.1", generate_uid()
    meta.TransferSyntaxUID = RLELossless
    made = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = meta.MediaStorageSOPClassUID, generate_uid(), kind
    made.Rows = made.Columns = side
    made.NumberOfFrames, made.SamplesPerPixel, made.FrameTime = frames, samples, 33.3
    made.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "RGB"
    made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    shape = (side, side) if samples == 1 else (side, side, samples)
    frame = rle_encode_frame(np.zeros(shape, np.uint8))
    made.PixelData = encapsulate([frame] * frames)
    made["PixelData"].is_undefined_length = True
    made.is_little_endian, made.is_implicit_VR = True, False
    made.save_as(path, write_like_original=False)


@pytest.mark.parametrize("samples", [1, 3])
def test_frames_of_dicom_are_counted_before_they_are_decoded_and_shown_one_by_one(samples, tmp_path, monkeypatch):
    from synthzoo.io import dicom_pixels
    from synthzoo.io.videos import check_video

    path = tmp_path / "a.dcm"
    frames_of_dicom(path, 4, 1024, samples)
    monkeypatch.setitem(globals(), "MOST_MB", 70 if samples == 1 else 90)
    bounded(check_video, path)
    monkeypatch.setattr(dicom_pixels, "MAX_VOXELS", 4 * 1024 * 1024 * samples - 1)
    monkeypatch.setitem(globals(), "MOST_MB", 5)
    assert "1024 x 1024 pixels in 4 frames" in bounded(check_video, path)

"""Every kind of generated file says that it is synthetic, and a map of a real image does not claim it."""

import json
import struct
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image, ImageSequence

from synthzoo.errors import UserError
from synthzoo.io import xmp
from synthzoo.io.marks import TRAINED, Mark, mark_dataset, mark_of, read_mark, stated, with_mark
from synthzoo.io.mp4 import mp4_bytes
from synthzoo.io.nifti import nifti_bytes, write_nifti
from synthzoo.io.videos import avi_bytes, read_video

ROOT = Path(__file__).resolve().parents[2]
RECORD = {"bundle": "brain_mr_synthesis_x", "version": "0.1.0", "seed": 7, "requested": {"age": 61, "note": "ä <&> ü"}}
SYNTHETIC = Mark(True, {**stated(True, "brain_mr_synthesis_x", "0.1.0"), **RECORD})
DERIVED = Mark(False, {**stated(False, "brain_mr_synthesis_x", "0.1.0"), **RECORD})
FRAMES = np.random.default_rng(0).integers(0, 255, (6, 33, 40), np.uint8)


def picture(kind: str, **options) -> bytes:
    buffer = BytesIO()
    pages = [Image.fromarray(frame) for frame in FRAMES]
    pages[0].save(buffer, kind, **({"save_all": True, "append_images": pages[1:]} if kind == "GIF" else {}), **options)
    return buffer.getvalue()


FILES = {
    "a.png": lambda: picture("PNG"),
    "a.jpg": lambda: picture("JPEG"),
    "a.gif": lambda: picture("GIF", loop=0),
    "a.avi": lambda: avi_bytes(FRAMES, 16),
    "a.mp4": lambda: mp4_bytes(FRAMES, 16),
}


def pixels(data: bytes, name: str) -> np.ndarray:
    """What another program decodes of a file."""
    if name.endswith((".avi", ".mp4")):
        import av

        with av.open(BytesIO(data)) as container:
            return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])
    return np.stack([np.asarray(page.convert("L")) for page in ImageSequence.Iterator(Image.open(BytesIO(data)))])


@pytest.mark.parametrize("mark", [SYNTHETIC, DERIVED], ids=["synthetic", "derived"])
@pytest.mark.parametrize("name", FILES)
def test_a_mark_comes_back_whole_and_leaves_the_pixels(name, mark, tmp_path):
    plain = FILES[name]()
    marked = with_mark(plain, mark)
    (tmp_path / name).write_bytes(marked)
    found = read_mark(tmp_path / name)
    assert found.synthetic == mark.synthetic and found.record == mark.record
    assert np.array_equal(pixels(marked, name), pixels(plain, name))
    (tmp_path / name).write_bytes(plain)
    assert read_mark(tmp_path / name) is None and with_mark(plain, None) == plain


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.mp4"])
def test_only_what_is_synthetic_states_the_source_type_of_iptc(name):
    source = b"<Iptc4xmpExt:DigitalSourceType>" + TRAINED.encode()
    assert source in with_mark(FILES[name](), SYNTHETIC)
    assert b"DigitalSourceType>" not in with_mark(FILES[name](), DERIVED)


def test_pillow_reads_the_source_type_where_it_reads_xmp():
    for name in ("a.png", "a.jpg"):
        held = Image.open(BytesIO(with_mark(FILES[name](), SYNTHETIC)))
        held.load()
        text = held.info.get("XML:com.adobe.xmp") or held.info.get("xmp").decode()
        assert TRAINED in text and "xpacket" in text


def test_the_info_list_of_an_avi_names_the_bundle_and_our_reader_reads_on(tmp_path):
    (tmp_path / "a.avi").write_bytes(with_mark(avi_bytes(FRAMES, 16), SYNTHETIC))
    data = (tmp_path / "a.avi").read_bytes()
    assert struct.unpack("<I", data[4:8])[0] + 8 == len(data)
    assert xmp.from_avi(data)["ISFT"] == "brain_mr_synthesis_x 0.1.0"
    assert read_video(tmp_path / "a.avi").frames.shape == FRAMES.shape


@pytest.mark.parametrize("compress", [True, False])
def test_a_nifti_header_carries_the_sidecar_and_changes_no_voxel(compress, tmp_path):
    array = np.random.default_rng(1).normal(size=(5, 6, 7)).astype(np.float32)
    affine = np.array([[2.0, 0.1, 0, -3], [0, 3, 0, 5], [0, 0, 4, 7], [0, 0, 0, 1]])
    path = tmp_path / ("a.nii.gz" if compress else "a.nii")
    write_nifti(path, array, affine, mark=SYNTHETIC)
    image = nib.load(path)
    assert np.array_equal(np.asarray(image.dataobj), array) and np.allclose(image.affine, affine)
    assert bytes(image.header["descrip"]).startswith(b"SYNTHETIC: synthetic, by brain_mr_synthesis_x 0.1.0, seed 7")
    assert image.header.extensions.get_codes() == [6] and read_mark(path).record == SYNTHETIC.record
    write_nifti(path, array, affine)
    assert read_mark(path) is None
    assert nifti_bytes(array, affine, mark=SYNTHETIC) == nifti_bytes(array, affine, mark=SYNTHETIC)


def test_simpleitk_and_itk_read_a_marked_volume(tmp_path):
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK comes with the label extra")
    array = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    write_nifti(tmp_path / "a.nii.gz", array, np.diag([1.0, 2, 3, 1]), mark=SYNTHETIC)
    image = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), array) and image.GetSpacing() == (1, 2, 3)


@pytest.mark.parametrize("mark", [SYNTHETIC, DERIVED], ids=["synthetic", "derived"])
def test_a_dicom_data_set_says_it_by_number_and_by_equipment(mark, tmp_path):
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "2.25.1"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    dataset.PatientID = "a"
    mark_dataset(dataset, mark)
    dataset.save_as(tmp_path / "a.dcm")
    again = pydicom.dcmread(tmp_path / "a.dcm")
    assert ((0x0008, 0x001C) in again) == mark.synthetic
    purpose = again.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0]
    assert purpose.CodeValue == ("109100" if mark.synthetic else "109102")
    found = read_mark(tmp_path / "a.dcm")
    assert found.synthetic == mark.synthetic and found.record["seed"] == 7 and str(found) == str(mark)


def test_a_long_record_is_cut_to_what_dicom_holds():
    from pydicom.dataset import Dataset

    dataset = Dataset()
    record = {
        **SYNTHETIC.record,
        "input": {"name": "scan", "sha256": ["0" * 64] * 50},
        "requested": {"note": "x" * 2000},
    }
    mark_dataset(dataset, Mark(True, record))
    text = dataset.ContributingEquipmentSequence[0].ContributionDescription
    assert len(text) <= 1024 and json.loads(text)["seed"] == 7 and json.loads(text)["input"] == "scan"


def test_a_picture_that_another_program_marked_is_synthetic_too(tmp_path):
    foreign = (
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description xmlns:I="'
        + xmp.IPTC.encode()
        + b'" I:DigitalSourceType="'
        + TRAINED.encode()
        + b'"/></rdf:RDF>'
    )
    (tmp_path / "a.png").write_bytes(xmp.into_png(picture("PNG"), foreign))
    assert str(read_mark(tmp_path / "a.png")) == "synthetic, by unknown"
    assert mark_of({"Synthetic": "yes"}) is None and mark_of([1]) is None


def test_a_file_that_cannot_be_read_is_said(tmp_path):
    (tmp_path / "cut.nii.gz").write_bytes(nifti_bytes(np.zeros((4, 4, 4), np.float32), np.eye(4), mark=SYNTHETIC)[:90])
    (tmp_path / "text.nii").write_bytes(b"no volume")
    (tmp_path / "cut.png").write_bytes(with_mark(picture("PNG"), SYNTHETIC)[:60])
    (tmp_path / "empty.png").write_bytes(b"")
    for name, sentence in [
        ("cut.nii.gz", "damaged"), ("text.nii", "damaged"), ("cut.png", "damaged"), ("none.png", "does not exist"),
        (".", "is a folder"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=sentence):
            read_mark(tmp_path / name)
    assert read_mark(tmp_path / "empty.png") is None


def test_the_command_says_in_a_line_what_a_file_is(tmp_path):
    (tmp_path / "s.png").write_bytes(with_mark(picture("PNG"), SYNTHETIC))
    (tmp_path / "d.png").write_bytes(with_mark(picture("PNG"), DERIVED))
    (tmp_path / "n.png").write_bytes(picture("PNG"))
    (tmp_path / "s.json").write_text(json.dumps(SYNTHETIC.record))

    def check(*names):
        command = [sys.executable, str(ROOT / "scripts" / "check.py"), *(str(tmp_path / name) for name in names)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        return done.returncode, done.stdout.replace(f"{tmp_path}/", ""), done.stderr

    line = "synthetic, by brain_mr_synthesis_x 0.1.0, seed 7\n"
    assert check("s.png", "s.json")[:2] == (0, f"s.png: {line}s.json: {line}")
    assert check("s.png", "d.png")[:2] == (
        2,
        f"s.png: {line}d.png: derived from an image, by brain_mr_synthesis_x 0.1.0\n",
    )
    assert check("n.png")[:2] == (3, "n.png: not marked\n")
    code, _, error = check("none.png")
    assert code == 1 and error.startswith("error: ") and error.count("\n") == 1

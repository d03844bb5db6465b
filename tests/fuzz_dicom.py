"""DICOM objects whose elements hold anything, for the fuzz tests."""

import shutil
import struct
from io import BytesIO

import numpy as np
import pydicom
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian

ROWS, COLUMNS, FRAMES = 8, 6, 4
SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
SYNTAXES += ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.3.4", "")
VRS = ("US", "SS", "UL", "FD", "FL", "DS", "IS", "LO", "CS", "UI", "SQ", "OB", "OW", "UN", "AT", "PN", "ZZ", "\0\0")
TEXTS = (
    b"",
    b"0 ",
    b"-1",
    b"1 ",
    b"2 ",
    b"1e400 ",
    b"1e30",
    b"-1e-30",
    b"nan ",
    b"inf ",
    b"1\\2 ",
    b"1\\2\\3\\4\\5\\6 ",
)
TEXTS += (b"0\\0 ", b"nan\\nan ", b"\\\\", b"abc ", b"\xff\xfe", b"\n\r\x1b[31m \0", b"9" * 40, b"65536 ", b"1.5 ")
TEXTS += (b"MONOCHROME1 ", b"RGB ", b"YBR_FULL", b"YBR_FULL_422", b"PALETTE COLOR ", b"SIGMOID ", b"LINEAR_EXACT")
NUMBERS = [struct.pack("<H", n) for n in (0, 1, 2, 3, 4, 7, 8, 12, 16, 24, 32, 64, 255, 8192, 32767, 32768, 65535)]
NUMBERS += [struct.pack("<I", 0xFFFFFFFF), struct.pack("<3H", 256, 0, 16), struct.pack("<3H", 0, 0, 8), b"\1"]
NUMBERS += [struct.pack("<d", n) for n in (0.0, -1.0, 1e308, float("nan"), float("inf"))]
IMAGE_TAGS = (
    "Rows Columns SamplesPerPixel PhotometricInterpretation PixelRepresentation BitsAllocated BitsStored HighBit"
)
TAGS = f"{IMAGE_TAGS} NumberOfFrames PlanarConfiguration PixelData Modality SOPClassUID SeriesInstanceUID RescaleSlope "
TAGS += "RescaleIntercept SpecificCharacterSet SeriesDescription InstanceNumber "
PLACE = "ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness "
SHOWN = "WindowCenter WindowWidth VOILUTFunction VOILUTSequence ModalityLUTSequence ImagerPixelSpacing "
SHOWN += "VOILUTSequence/LUTDescriptor VOILUTSequence/LUTData ModalityLUTSequence/LUTDescriptor "
PALETTE = " ".join(
    f"{name}PaletteColorLookupTable{part}" for name in ("Red", "Blue") for part in ("Descriptor", "Data")
)
MOVING = "FrameTime FrameTimeVector RecommendedDisplayFrameRate SequenceOfUltrasoundRegions "
MOVING += " ".join(f"SequenceOfUltrasoundRegions/Physical{name}" for name in ("DeltaX", "UnitsXDirection"))
SHARED = "SharedFunctionalGroupsSequence"
NESTED = f"{SHARED} PerFrameFunctionalGroupsSequence {SHARED}/PixelMeasuresSequence/PixelSpacing "
NESTED += f"{SHARED}/PlaneOrientationSequence/ImageOrientationPatient {SHARED}/PlaneOrientationSequence "
NESTED += "PerFrameFunctionalGroupsSequence/PlanePositionSequence "
NESTED += "PerFrameFunctionalGroupsSequence/PlanePositionSequence/ImagePositionPatient "
NESTED += f"{SHARED}/PixelValueTransformationSequence/RescaleSlope"
EDITED = {
    "series": (TAGS + PLACE).split(),
    "enhanced": (TAGS + NESTED).split(),
    "radiograph": (TAGS + SHOWN + PALETTE).split(),
    "moving": (TAGS + MOVING + " " + PALETTE).split(),
}


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4095, shape).astype("<u2")


def items(**values) -> Sequence:
    one = Dataset()
    for key, value in values.items():
        setattr(one, key, value)
    return Sequence([one])


def image(modality: str, pixels: np.ndarray, photometric: str = "MONOCHROME2") -> FileDataset:
    """A sound object with these pixels, [rows, columns], [frames, rows, columns] or, in colour, [..., 3]."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3.9"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    made.is_little_endian, made.is_implicit_VR = True, False
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.SeriesInstanceUID, made.StudyInstanceUID, made.Modality = "1.2.3.4", "1.2.3", modality
    made.SeriesDescription, made.InstanceNumber = "series", 1
    colour = photometric in ("RGB", "YBR_FULL")
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 3 if colour else 1, photometric, 0
    if colour:
        made.PlanarConfiguration = 0
    shape = pixels.shape[:-1] if colour else pixels.shape
    made.Rows, made.Columns = shape[-2:]
    if len(shape) == 3:
        made.NumberOfFrames = shape[0]
    bits = 8 * pixels.itemsize
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    made.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    return made


def slices() -> list[FileDataset]:
    made = [image("MR", plane) for plane in noise(3, ROWS, COLUMNS)]
    for number, one in enumerate(made):
        one.ImagePositionPatient, one.ImageOrientationPatient = [1.0, 2.0, 4.0 * number], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness, one.InstanceNumber = [2.0, 3.0], 4, number + 1
        one.RescaleSlope, one.RescaleIntercept = 1, -5
    return made


def enhanced() -> FileDataset:
    one = image("MR", noise(FRAMES, ROWS, COLUMNS))
    one.SharedFunctionalGroupsSequence = items(
        PixelMeasuresSequence=items(PixelSpacing=[2.0, 3.0]),
        PlaneOrientationSequence=items(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelValueTransformationSequence=items(RescaleSlope=2, RescaleIntercept=-5),
    )
    places = [items(PlanePositionSequence=items(ImagePositionPatient=[1, 2, 4.0 * n])) for n in range(FRAMES)]
    one.PerFrameFunctionalGroupsSequence = Sequence([place[0] for place in places])
    return one


def add_palette(one: FileDataset) -> None:
    for name in ("Red", "Green", "Blue"):
        setattr(one, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(one, f"{name}PaletteColorLookupTableData", np.arange(256, dtype="<u2").tobytes())


def radiograph(how: str) -> FileDataset:
    one = image("DX", noise(ROWS, COLUMNS), "MONOCHROME1")
    one.BitsStored, one.HighBit, one.ImagerPixelSpacing = 12, 11, [0.2, 0.2]
    table = {"LUTDescriptor": [4096, 0, 16], "LUTData": np.arange(4096, dtype="<u2").tobytes()}
    if how == "window":
        one.WindowCenter, one.WindowWidth = [2000, 1000], [3000, 500]
    elif how == "table":
        one.VOILUTSequence = items(**table)
    elif how == "modality":
        one.ModalityLUTSequence = items(**table, ModalityLUTType="US")
    elif how == "palette":
        one = image("DX", noise(ROWS, COLUMNS).astype("u1"), "PALETTE COLOR")
        add_palette(one)
    return one


def moving(how: str) -> FileDataset:
    colour = how in ("RGB", "YBR_FULL")
    grey = noise(FRAMES, ROWS, COLUMNS).astype("u1")
    one = image("US", np.stack([grey] * 3, -1) if colour else grey, how if colour else "MONOCHROME2")
    one.FrameTime = 25
    one.SequenceOfUltrasoundRegions = items(
        PhysicalUnitsXDirection=3, PhysicalUnitsYDirection=3, PhysicalDeltaX=0.05, PhysicalDeltaY=0.05
    )
    if how == "JPEG":
        frames = []
        for frame in grey:
            buffer = BytesIO()
            Image.fromarray(frame).save(buffer, "JPEG")
            frames.append(buffer.getvalue())
        one.PixelData = encapsulate(frames)
        one["PixelData"].is_undefined_length = True
        one.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.50")
    elif how == "RLE":
        one.compress(pydicom.uid.RLELossless)
    elif how == "palette":
        one.PhotometricInterpretation = "PALETTE COLOR"
        add_palette(one)
    return one


def edit(dataset: Dataset, where: str, vr: str | None, value: bytes | None) -> None:
    """Delete an element or give it these bytes; `where` leads through the first items of sequences."""
    *outer, name = where.split("/")
    for sequence in outer:
        found = dataset.get_item(sequence)
        if found is None or isinstance(found, RawDataElement) or not found.value:
            return
        found = found.value
        dataset = found[0]
    tag = Tag(pydicom.datadict.tag_for_keyword(name))
    if value is None:
        dataset.pop(tag, None)
        return
    own = dataset.get_item(tag).VR if tag in dataset else pydicom.datadict.dictionary_VR(tag)
    own = "US" if len(own) > 2 else own
    dataset._dict[tag] = RawDataElement(tag, vr or own, len(value), value, 0, False, True)


def written(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, write_like_original=True)
    return buffer.getvalue()


@st.composite
def edits(draw, kind):
    """Up to three changes of elements: (where, VR or None, bytes or None)."""
    found = []
    for _ in range(draw(st.integers(0, 3))):
        vr = draw(st.sampled_from(VRS)) if draw(st.integers(0, 5)) == 5 else None
        value = draw(st.sampled_from([*TEXTS, *NUMBERS]) | st.binary(max_size=12))
        found.append((draw(st.sampled_from(EDITED[kind])), vr, None if draw(st.integers(0, 4)) == 4 else value))
    return found


@st.composite
def broken(draw, data):
    """Bytes with a few of them changed, an element's length replaced or written twice, or the end left out."""
    how = draw(st.sampled_from(["", "", "", "", "patch", "length", "twice", "cut", "cut"]))
    if how == "patch":
        raw = bytearray(data)
        for _ in range(draw(st.integers(1, 3))):
            raw[draw(st.integers(128, len(raw) - 1))] = draw(st.integers(0, 255))
        return bytes(raw)
    if how in ("length", "twice"):
        name = draw(st.sampled_from([*IMAGE_TAGS.split(), "PixelData", "Modality"]))
        tag = Tag(pydicom.datadict.tag_for_keyword(name))
        at = data.find(struct.pack("<2H", tag.group, tag.element))
        if at < 0:
            return data
        if how == "twice":
            end = at + 8 + struct.unpack_from("<H", data, at + 6)[0]
            return data[:end] + data[at:]
        long = name == "PixelData"
        number = draw(st.sampled_from([0, 1, 3, 7, 100, 0xFFFE, 0xFFFF, *([0x7FFFFFFF, 0xFFFFFFFF] * long)]))
        length = struct.pack("<I" if long else "<H", number)
        start = at + (8 if long else 6)
        return data[:start] + length + data[start + len(length) :]
    return data[: draw(st.integers(0, len(data)))] if how == "cut" else data


@st.composite
def objects(draw):
    """A kind and the bytes of its files."""
    kind = draw(st.sampled_from(list(EDITED)))
    sets = {
        "series": slices,
        "enhanced": lambda: [enhanced()],
        "radiograph": lambda: [radiograph(draw(st.sampled_from(["window", "table", "modality", "palette", ""])))],
        "moving": lambda: [moving(draw(st.sampled_from(["grey", "RGB", "YBR_FULL", "JPEG", "RLE", "palette"])))],
    }[kind]()
    changes, alone = draw(edits(kind)), draw(st.booleans())
    syntax = draw(st.sampled_from(SYNTAXES)) if draw(st.integers(0, 7)) == 7 else None
    files = []
    for number, one in enumerate(sets):
        if number == 0 or not alone:
            for where, vr, value in changes:
                edit(one, where, vr, value)
            if syntax is not None:
                one.file_meta.TransferSyntaxUID = UID(syntax)
                if syntax == "":
                    del one.file_meta.TransferSyntaxUID
        try:
            data = written(one)
        except Exception:  # pydicom writes not everything
            data = written(image("MR", np.zeros((ROWS, COLUMNS), "<u2")))
        files.append(draw(broken(data)) if number == 0 else data)
    return kind, files


def one(worker, tmp_path, kind, files):
    if kind == "series":
        folder = tmp_path / "series"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for number, data in enumerate(files):
            (folder / f"IM{number}.dcm").write_bytes(data)
        return worker.expect("image", folder)
    path = tmp_path / "image.dcm"
    path.write_bytes(files[0])
    return worker.expect("image", path)

"""Marks that say of a file, in a form a machine reads, that its content is synthetic or was derived by a network.

| file | where the mark stands |
|---|---|
| NIfTI | header extension code 6 (comment) with the sidecar's JSON; `descrip` says it in words |
| PNG, JPEG, GIF, MP4 | XMP: `Iptc4xmpExt:DigitalSourceType`, see below; the JSON in `synthzoo:record` |
| AVI | INFO list: ISFT is the bundle, ICMT the JSON |
| DICOM | (0008,001C) Synthetic Data = YES, and Contributing Equipment (109100, DCM, "Synthesizing Equipment") |
| JSON sidecar | `Synthetic: true` |

The DigitalSourceType of a generated picture is trainedAlgorithmicMedia, that of a phantom algorithmicMedia.

A map, a mask, a segmentation or a reconstruction of an image that was given is no synthetic image: it says `DerivedBy`
and claims neither DigitalSourceType nor Synthetic Data; in DICOM its equipment has the purpose (109102, DCM,
"Processing Equipment"). What the given image itself is, its own mark says. An image that a network made of another one,
such as a counterfactual, is synthetic, and its record names the input.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthzoo.errors import UserError, first_line
from synthzoo.io import xmp
from synthzoo.io.files import plain

if TYPE_CHECKING:
    from pydicom import Dataset

TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
ALGORITHMIC = "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia"  # of a phantom: no network made it
COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
COMMENT = 6  # NIfTI's code of an extension that holds text
SYNTHETIC_DATA = (0x0008, 0x001C)  # by number: pydicom 2.4 has no keyword for it
PURPOSES = {True: ("109100", "Synthesizing Equipment"), False: ("109102", "Processing Equipment")}
KEPT = ("Synthetic", "DerivedBy", "bundle", "version", "seed", "input", "requested")  # of the record, in DICOM
DESCRIPTION_LENGTH = 1024  # of a DICOM short text


@dataclass(frozen=True)
class Mark:
    """What a file's mark says: whether its content is synthetic, and the sidecar's record of how it was made.

    Args:
        synthetic: True for a generated image; False for what a network derived from an image that was given.
        record: the sidecar's content: bundle, version, seed, requested values and the rest.
    """

    synthetic: bool
    record: Mapping[str, Any]

    @property
    def maker(self) -> str:
        """Bundle and version."""
        return " ".join(str(self.record[key]) for key in ("bundle", "version") if self.record.get(key)) or "unknown"

    def __str__(self) -> str:
        """One line: what the file is, by which bundle and version, from which seed, and whether from an image."""
        seed = self.record.get("seed")
        more = "" if seed is None else f", seed {seed}"
        more += ", made from an image" if "input" in self.record else ""
        return f"synthetic, by {self.maker}{more}" if self.synthetic else f"derived from an image, by {self.maker}"

    def json(self) -> str:
        """The record as JSON, ASCII."""
        return json.dumps(plain(dict(self.record)))


def mark_of(record: Any) -> Mark | None:
    """The mark that a sidecar's content states; None where it states none."""
    if isinstance(record, Mapping) and record.get("Synthetic") is True:
        return Mark(True, record)
    return Mark(False, record) if isinstance(record, Mapping) and record.get("DerivedBy") else None


def stated(synthetic: bool, bundle: str, version: str | None) -> dict[str, Any]:
    """The sidecar's keys that state a mark."""
    return {"Synthetic": True} if synthetic else {"DerivedBy": f"{bundle or 'synthzoo'} {version or ''}".strip()}


def with_mark(data: bytes, mark: Mark | None) -> bytes:
    """A PNG's, JPEG's, GIF's, MP4's or AVI's bytes with the mark inside; None leaves them as they are.

    Raises:
        ValueError: another kind of file.
    """
    if mark is None:
        return data
    kind = ALGORITHMIC if mark.record.get("phantom") else TRAINED
    source = {"DigitalSourceType": kind} if mark.synthetic else {}
    text = xmp.packet({**source, "CreatorTool": mark.maker, "record": mark.json()})
    if data.startswith(xmp.PNG):
        return xmp.into_png(data, text)
    if data.startswith(xmp.JPEG):
        return xmp.into_jpeg(data, text)
    if data.startswith(b"GIF8"):
        return xmp.into_gif(data, text)
    if data[4:8] == b"ftyp":
        return xmp.into_mp4(data, text)
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return xmp.into_avi(data, mark.maker, mark.json())
    raise ValueError("only PNG, JPEG, GIF, MP4 and AVI files are marked by their bytes")


def mark_header(header: Any, mark: Mark) -> None:
    """Put the mark into a NIfTI header of nibabel: extension and `descrip`; voxels and affine stay."""
    import nibabel as nib

    header.extensions.append(nib.nifti1.Nifti1Extension(COMMENT, mark.json().encode()))
    header["descrip"] = f"{'SYNTHETIC' if mark.synthetic else 'DERIVED'}: {mark}".encode("ascii", "replace")[:79]


def mark_dataset(dataset: Dataset, mark: Mark) -> None:
    """Put the mark into a DICOM data set."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    if mark.synthetic:
        dataset.add_new(SYNTHETIC_DATA, "CS", "YES")
    purpose, equipment = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodeMeaning = PURPOSES[mark.synthetic]
    purpose.CodingSchemeDesignator = "DCM"
    equipment.PurposeOfReferenceCodeSequence = Sequence([purpose])
    equipment.Manufacturer = "SynthZoo"
    equipment.ManufacturerModelName = str(mark.record.get("bundle") or "synthzoo")[:64]
    equipment.SoftwareVersions = str(mark.record.get("version") or "unknown")[:64]
    kept = {key: mark.record[key] for key in KEPT if key in mark.record}
    if isinstance(kept.get("input"), Mapping):
        kept["input"] = kept["input"].get("name")
    while len(text := json.dumps(plain(kept))) > DESCRIPTION_LENGTH:
        kept.popitem()  # the last one can do without
    equipment.ContributionDescription = text
    dataset.ContributingEquipmentSequence = Sequence([*dataset.get("ContributingEquipmentSequence", []), equipment])


# --- reading ---------------------------------------------------------------------------------------------------------


def read_mark(path: str | Path) -> Mark | None:
    """The mark inside a file of any kind of the table above; None where there is none.

    Raises:
        UserError: the file is missing, a folder, unreadable or damaged.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            if path.stat().st_size == 0:
                return None
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(path, data)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: check the path.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder: give a file, for example {path}/*.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from None
    except (struct.error, zlib.error, IndexError, EOFError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): copy it again.") from None


def _read(path: Path, data: Any) -> Mark | None:
    """The mark in `data`, a memory map of the file, which is sliced and searched as bytes are."""
    head = data[:12]
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return _from_nifti(path)
    if head.startswith(xmp.PNG):
        return _from_xmp(xmp.from_png(data))
    if head.startswith(xmp.JPEG):
        return _from_xmp(xmp.from_jpeg(data))
    if head.startswith(b"GIF8"):
        return _from_xmp(xmp.from_gif(data))
    if head[4:8] == b"ftyp":
        return _from_xmp(xmp.from_mp4(data))
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _from_json(xmp.from_avi(data).get("ICMT", ""))
    if data[128:132] == b"DICM":
        return _from_dicom(path)
    return _from_json(data[:].decode("utf-8", "replace")) if path.suffix == ".json" else None


def _from_json(text: str) -> Mark | None:
    try:
        return mark_of(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _from_xmp(text: bytes | None) -> Mark | None:
    """The mark of an XMP packet; one of another program says that the picture is synthetic, and no more."""
    held = xmp.properties_of(text) if text else {}
    own = _from_json(held.get("record", ""))
    if own is not None or held.get("DigitalSourceType") not in (TRAINED, ALGORITHMIC, COMPOSITE):
        return own
    return Mark(True, {"bundle": held.get("CreatorTool", "")})


def _from_nifti(path: Path) -> Mark | None:

    from synthzoo.io.opening import open_nifti

    try:
        extensions = open_nifti(path).header.extensions
        texts = [item.get_content() for item in extensions if item.get_code() == COMMENT]
    except Exception as error:  # nibabel raises many kinds for damaged headers and extensions
        raise ValueError(first_line(error)) from None
    # Text comes back as str or bytes, by the version of nibabel, and padded to a multiple of 16.
    texts = [text if isinstance(text, str) else text.decode("utf-8", "replace") for text in texts]
    found = [_from_json(text.strip("\0 ")) for text in texts]
    return next((mark for mark in found if mark is not None), None)


def _from_dicom(path: Path) -> Mark | None:

    from synthzoo.io.opening import open_dicom

    try:
        dataset = open_dicom(path, stop_before_pixels=True)
        said = [
            str(one.get("ContributionDescription", "")) for one in dataset.get("ContributingEquipmentSequence") or ()
        ]
        synthetic = SYNTHETIC_DATA in dataset and dataset[SYNTHETIC_DATA].value == "YES"
        maker = str(dataset.get("Manufacturer", ""))
    except Exception as error:  # pydicom raises many kinds for damaged elements
        raise ValueError(first_line(error)) from None
    own = next((mark for mark in map(_from_json, said) if mark is not None), None)
    return Mark(True, {"bundle": maker}) if own is None and synthetic else own

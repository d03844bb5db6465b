"""Opening NIfTI and DICOM files, however their names end and whatever they would unpack to."""

from __future__ import annotations

import io
import mmap
from pathlib import Path
from typing import Any

import nibabel as nib
import pydicom

from synthzoo.errors import UserError
from synthzoo.io.unpacking import read_head

# ITK and its writers round quaternions to float32, some to just above 1, and read them back.
nib.Nifti1Header.quaternion_threshold = nib.Nifti2Header.quaternion_threshold = -1e-6


def open_nifti(path: str | Path) -> nib.Nifti1Image:
    """Read the header of a NIfTI file with its extensions; `unpacking.read_voxels` reads the voxels.

    nibabel itself reads on in a gzip file as far as it unpacks, and finds no file of the name `a.Nii.Gz`.

    Args:
        path: `.nii` or `.nii.gz`, in capitals or not.

    Raises:
        ValueError: it does not begin with the size of its header, as other readers need it.
        what nibabel raises for other headers, and `unpacking.read_head`.
    """
    head = read_head(path)
    size = 540 if head[4:7] == b"n+2" else 348
    if size not in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")):
        raise ValueError("it does not begin with the size of its header")
    holder = nib.FileHolder(fileobj=io.BytesIO(head))
    kind = nib.Nifti2Image if head[4:7] == b"n+2" else nib.Nifti1Image
    return kind.from_file_map({"header": holder, "image": holder})


def open_dicom(path: str | Path, **choices: Any) -> pydicom.Dataset:
    """Read a DICOM file as `pydicom.dcmread` does, but never one that is deflated as a whole.

    pydicom would unpack all of it for a single element, and a small file may unpack to a thousand times its size.

    Args:
        path: the file.
        choices: of `pydicom.dcmread`, such as stop_before_pixels.

    Raises:
        UserError: it is deflated.
        what pydicom raises for damaged files.
    """
    with open(path, "rb") as file:
        if file.seek(0, io.SEEK_END) and _holds(file.fileno(), pydicom.uid.DeflatedExplicitVRLittleEndian):
            raise UserError(
                f"image {path} is deflated DICOM, which is not read: convert it with gdcmconv --raw IN OUT."
            )
    return pydicom.dcmread(path, **choices)


def _holds(handle: int, text: str) -> bool:
    with mmap.mmap(handle, 0, access=mmap.ACCESS_READ) as content:
        return content.find(text.encode()) >= 0

"""NIfTI-1 files of volumes and videos: equal arrays give equal bytes."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from synthzoo.io.files import write_bytes
from synthzoo.io.marks import Mark, mark_header


def affine_of(spacing_mm: float | Sequence[float], shape: Sequence[int] | None = None) -> np.ndarray:
    """Affine [4, 4] float64 in RAS with this spacing (mm, a number or three), the volume's middle at the origin."""
    spacing = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (3,))
    affine = np.diag([*spacing, 1.0])
    if shape is not None:
        affine[:3, 3] = -spacing * (np.asarray(shape[-3:], dtype=np.float64) - 1) / 2
    return affine


def nifti_bytes(
    array: np.ndarray,
    affine: np.ndarray,
    compress: bool = True,
    frame_s: float | None = None,
    mark: Mark | None = None,
) -> bytes:
    """A NIfTI-1 file's bytes: spatial unit mm, qform and sform set to `affine` (scanner space), no date inside.

    Args:
        array: volume [D, H, W] (or [D, H, W, channels]); written in its own type, bool and int64 as uint8 and int32.
        affine: [4, 4] voxel to world in mm, RAS.
        compress: gzip the bytes; without a time stamp, so that equal voxels give equal files.
        frame_s: seconds between two entries of the fourth axis, which then is time.
        mark: what the header says of the content, see `synthzoo.io.marks`.
    """
    array = np.asarray(array)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    elif array.dtype in (np.int64, np.uint64):
        array = array.astype(np.int32)
    elif array.dtype in (np.float64, np.float16):
        array = array.astype(np.float32)
    image = nib.Nifti1Image(np.ascontiguousarray(array), np.asarray(affine, dtype=np.float64))
    image.header.set_xyzt_units("mm", None if frame_s is None else "sec")
    if frame_s is not None:
        image.header.set_zooms((*image.header.get_zooms()[:3], frame_s))
    image.set_qform(image.affine, code="scanner")
    image.set_sform(image.affine, code="scanner")
    if mark is not None:
        mark_header(image.header, mark)
    data = image.to_bytes()
    return gzip.compress(data, compresslevel=4, mtime=0) if compress else data


def write_nifti(
    path: str | Path,
    array: np.ndarray,
    affine: np.ndarray,
    frame_s: float | None = None,
    mark: Mark | None = None,
) -> None:
    """Write a volume as NIfTI-1, whole or not at all; `.nii.gz` is compressed. See `nifti_bytes` for the arguments."""
    write_bytes(path, nifti_bytes(array, affine, str(path).endswith(".gz"), frame_s, mark))

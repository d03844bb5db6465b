"""NIfTI-1 files of volumes and videos: equal arrays give equal bytes."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

from synthzoo.io.files import write_bytes
from synthzoo.io.marks import Mark, mark_header
from synthzoo.io.opening import open_nifti

SMALLEST_MM, LARGEST_MM = 1e-6, 1e9  # of a voxel's side, and of all that an affine says
FLATTEST = 1e-3  # volume of a voxel over that of a box with its sides


class Spaces(NamedTuple):
    """Where a NIfTI header says that its voxels lie, twice: programs differ in which of the two they take.

    Attributes:
        qform, sform: [4, 4] voxel to mm; None where the header has none.
        qform_code, sform_code: the space that each leads to, 0 for none.
    """

    qform: np.ndarray | None
    qform_code: int
    sform: np.ndarray | None
    sform_code: int


def nifti_at(path: str | Path) -> nib.Nifti1Image | None:
    """The NIfTI file at a path, its voxels unread; None where there is none, whatever else is there."""
    path = Path(path)
    if not path.is_file():
        return None
    try:
        return open_nifti(path)
    except Exception:  # no NIfTI: whoever reads it says what it is
        return None


def spaces_of(path: str | Path, shape: Sequence[int], affine: np.ndarray) -> Spaces | None:
    """The spaces of a NIfTI file that has this grid, shape (D, H, W) and affine in mm; None for any other file."""
    image = nifti_at(path)
    if image is None:
        return None
    header = image.header
    same = isinstance(header, nib.Nifti1Header) and tuple(image.shape[:3]) == tuple(shape)
    # A header in metres or micrometres was read in mm, and its own numbers would mean something else beside "mm".
    if not same or not np.allclose(image.affine, affine, atol=1e-3):
        return None
    qform, qform_code = _space(header.get_qform)
    sform, sform_code = _space(header.get_sform)
    return Spaces(qform, qform_code, sform, sform_code) if qform_code or sform_code else None


def _space(read: Callable[..., tuple[np.ndarray | None, int]]) -> tuple[np.ndarray | None, int]:
    """One of a header's two spaces with its code; (None, 0) where it is none, or no grid can lie in it."""
    try:
        form, code = read(coded=True)
    except ValueError:  # no rotation; the image lies by its other space
        return None, 0
    if form is None or not is_grid(form):
        return None, 0
    return form, int(code)


def is_grid(affine: np.ndarray) -> bool:
    """Whether an affine [4, 4] in mm leads from voxels to places one to one, in sizes that a body has."""
    with np.errstate(all="ignore"):
        sides = np.linalg.norm(affine[:3, :3], axis=0)
        if not (np.isfinite(affine).all() and sides.min() > SMALLEST_MM and np.abs(affine).max() < LARGEST_MM):
            return False
        return bool(abs(np.linalg.det(affine[:3, :3] / sides)) > FLATTEST)


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
    spaces: Spaces | None = None,
    scaling: tuple[float, float] | None = None,
) -> bytes:
    """A NIfTI-1 file's bytes: spatial unit mm, qform and sform set to `affine` (scanner space), no date inside.

    Args:
        array: volume [D, H, W] (or [D, H, W, channels]); written in its own type, bool and int64 as uint8 and int32.
        affine: [4, 4] voxel to world in mm, RAS.
        compress: gzip the bytes; without a time stamp, so that equal voxels give equal files.
        frame_s: seconds between two entries of the fourth axis, which then is time.
        mark: what the header says of the content, see `synthzoo.io.marks`.
        spaces: qform and sform with their codes of the scan whose grid this is; None sets both to `affine`.
        scaling: slope and intercept that lead from the array, which is written in its very type, to values.
    """
    array = np.asarray(array)
    if scaling is not None:
        pass
    elif array.dtype == bool:
        array = array.astype(np.uint8)
    elif array.dtype in (np.int64, np.uint64):
        array = array.astype(np.int32)
    elif array.dtype in (np.float64, np.float16):
        array = array.astype(np.float32)
    image = nib.Nifti1Image(np.ascontiguousarray(array), np.asarray(affine, dtype=np.float64), dtype=array.dtype)
    if scaling is not None:
        image.header.set_slope_inter(*scaling)
    image.header.set_xyzt_units("mm", None if frame_s is None else "sec")
    if frame_s is not None:
        image.header.set_zooms((*image.header.get_zooms()[:3], frame_s))
    if spaces is None:
        spaces = Spaces(image.affine, 1, image.affine, 1)
    image.header.set_qform(spaces.qform, spaces.qform_code, strip_shears=True)
    image.header.set_sform(spaces.sform, spaces.sform_code)
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
    spaces: Spaces | None = None,
    scaling: tuple[float, float] | None = None,
) -> None:
    """Write a volume as NIfTI-1, whole or not at all; `.nii.gz` is compressed. See `nifti_bytes` for the arguments."""
    write_bytes(path, nifti_bytes(array, affine, str(path).endswith(".gz"), frame_s, mark, spaces, scaling))

"""Reading one volume, with a sentence for each way in which a file can be wrong."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from scipy import ndimage as ndi

from synthzoo.errors import UserError, first_line
from synthzoo.io.kinds import ENDINGS, first_bytes, format_of_content, is_dicom_folder
from synthzoo.io.nifti import is_grid
from synthzoo.io.opening import open_nifti
from synthzoo.io.series import read_series
from synthzoo.io.unpacking import MAX_VOXELS, read_voxels

PER_SECOND, TIME_BITS = {8: 1.0, 16: 1e3, 24: 1e6}, 0x38  # NIfTI's codes of s, ms and us in xyzt_units
MAX_DEFLATE = 1100  # deflate cannot shrink by more than 1032


def read_volume(path: str | Path, channels: int = 1, blank: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Read a 3D NIfTI file, or a DICOM series: a folder of slices or a file of many frames.

    Args:
        path: `.nii`, `.nii.gz`, a folder of DICOM slices, or an enhanced DICOM file.
        channels: channels that the network takes; more than one are read from a fifth or fourth NIfTI dimension.
        blank: take a volume of one value, such as a label map in which nothing is marked.

    Returns:
        array float32 [channels, D, H, W] with the file's scaling applied, affine [4, 4] float64, voxel to RAS mm.

    Raises:
        UserError: missing, empty, truncated or no image; 2D or 4D; wrong channel count; no usable voxel size; NaN or
            Inf voxels; the same value everywhere; a header that promises more than the file can hold.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"image {path} does not exist: check the path.")
    if path.is_dir() and not is_dicom_folder(path):
        raise UserError(f"image {path} is a folder without DICOM slices: give a volume.")
    if path.is_dir() or format_of_content(first_bytes(path)) == "dicom":
        volume, affine = read_series(path)
        array = volume[None]
    else:
        array, affine = _read_nifti(path, channels)
    check_values(array, str(path), channels, blank)
    if not is_grid(affine):
        raise UserError(f"image {path} has no usable voxel size in its header (affine {affine[:3, :3].tolist()}).")
    return array, affine


def is_nifti_video(path: str | Path) -> bool:
    """Whether a NIfTI header says that it is a video as viewers play it (x, y, one slice, time), or one frame of it."""
    path = Path(path)
    if not path.is_file() or not path.name.lower().endswith(ENDINGS["nifti"]):
        return False
    try:
        image = open_nifti(path)
        shape, coloured = image.shape, bool(image.get_data_dtype().fields)
    except Exception:  # whoever reads it says what is wrong with it
        return False
    return len(shape) in (3, 4) and shape[2] == 1 and min(shape[:2]) > 1 and not coloured


def read_nifti_video(path: str | Path) -> tuple[np.ndarray, float | None]:
    """Read a grey video from NIfTI: axes x, y, one slice and time, as viewers play it, or time, height and width.

    A frame alone, x, y and one slice, is a video of one.

    Returns:
        video float32 (T, H, W) in [0, 1], and its frames a second, None where the header does not state them.

    Raises:
        UserError: what `read_volume` says of volumes; grey levels below 0 or above 255.
    """
    path = Path(path)
    if not is_nifti_video(path):
        video, fps = read_volume(path)[0][0], None
    else:
        array, _ = _read_nifti(path, 1, video=True)
        check_values(array, str(path), len(array))
        header = open_nifti(path).header
        per_second = PER_SECOND.get(int(header["xyzt_units"]) & TIME_BITS)
        step = float(header["pixdim"][4])
        fps = per_second / step if per_second and np.isfinite(step) and step > 0 else None
        video = np.ascontiguousarray(array[..., 0].transpose(0, 2, 1))
    low, high = float(video.min()), float(video.max())
    if low < 0 or high > 255:
        raise UserError(f"video {path} has grey levels from {low:g} to {high:g}: store it as bytes, or from 0 to 1.")
    return video / np.float32(255 if high > 1 else 1), fps


def check_values(array: np.ndarray, name: str, channels: int = 1, blank: bool = False) -> None:
    """Check channels and voxels of an array [channels, D, H, W]; NaN around the image becomes 0, in place.

    Raises:
        UserError: not 3D with this number of channels, NaN or Inf inside, or one value everywhere (unless `blank`).
    """
    if array.ndim != 4:
        raise UserError(f"image {name} has shape {tuple(array.shape)}, but a channel and three dimensions are needed.")
    if array.shape[0] != channels:
        raise UserError(f"image {name} has {array.shape[0]} channels, but the network takes {channels}.")
    set_outside_to_zero(array, name)
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise UserError(f"image {name} has {bad} NaN or Inf voxels of {array.size}: replace them, or export it again.")
    if array.size == 0 or (not blank and float(array.min()) == float(array.max())):
        value = f" ({float(array.flat[0]):g})" if array.size else ""
        raise UserError(f"image {name} is constant{value}: it holds no anatomy; check the export.")


def set_outside_to_zero(array: np.ndarray, name: str) -> None:
    """Set NaN voxels that reach the border of an array [channels, D, H, W] to 0, in place, and say so.

    SPM and others write NaN where a head ends. NaN within an image stays: nobody knows what was there.
    """
    empty = np.isnan(array)
    if not empty.any() or empty.all():
        return
    for channel, missing in zip(array, empty):
        names, count = ndi.label(missing)
        border = [names.take((0, -1), axis) for axis in range(names.ndim)]
        outside = np.isin(names, np.setdiff1d(np.unique(np.concatenate([b.ravel() for b in border])), 0))
        channel[outside] = 0
        if count and outside.any():
            share = 100 * outside.mean()
            print(f"warning: image {name}: {share:.0f} % of its voxels are NaN around it and count as background.")


def _read_nifti(path: Path, channels: int, video: bool = False) -> tuple[np.ndarray, np.ndarray]:
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"image {path} is an empty file (0 bytes): copy or export it again.")
    if not path.name.lower().endswith(ENDINGS["nifti"]):
        raise UserError(f"image {path} is not a NIfTI file or a folder of DICOM slices: give .nii or .nii.gz.")
    compressed = path.name.lower().endswith(".gz")
    with open(path, "rb") as file:
        magic = file.read(2)
    if compressed and magic != b"\x1f\x8b":
        raise UserError(f"image {path} is not gzip data, although it is called .gz: it may be another file renamed.")
    try:
        image = open_nifti(path)  # the header alone
        shape = tuple(int(n) for n in image.shape)
        item = image.get_data_dtype()
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise UserError(f"image {path} is damaged or cut short (it ends too early): copy it again.") from None
    except (ImageFileError, HeaderDataError, ValueError, OverflowError, struct.error):
        raise UserError(f"image {path} is not a readable NIfTI file, whatever its name says: export it.") from None
    except OSError as error:
        raise UserError(f"image {path} cannot be read ({error.strerror or first_line(error)}).") from None
    shape = _check_shape(path, shape, item, channels, video)
    voxels = math.prod(shape)
    held = size * (MAX_DEFLATE if compressed else 1)
    said = " x ".join(map(str, shape))
    if voxels * item.itemsize > held:
        raise UserError(f"image {path} claims {said} voxels, more than its {size} bytes can hold: export it again.")
    if voxels > MAX_VOXELS:
        raise UserError(
            f"image {path} has {said} voxels, and {MAX_VOXELS} are taken at most: crop it or make it coarser, or set "
            "SYNTHZOO_MAX_VOXELS where the memory is there."
        )
    try:
        array = read_voxels(path, image, shape)
    except (OSError, EOFError, zlib.error, ValueError, OverflowError):
        raise UserError(f"image {path} is damaged or cut short (voxels are missing): copy it again.") from None
    return array, np.asarray(image.affine, dtype=np.float64)


def _check_shape(
    path: Path, shape: tuple[int, ...], item: np.dtype, channels: int, video: bool = False
) -> tuple[int, ...]:
    """The shape [D, H, W] or, for several channels or a video, [D, H, W, channels], from what the header says."""
    said = " x ".join(map(str, shape))
    if any(n < 1 for n in shape):
        raise UserError(f"image {path} claims the size {said}, which no image has: its header is damaged.")
    if item.fields:
        colours = len(item.fields)
        raise UserError(f"image {path} has {colours} colour channels, but the network takes {channels}: make it grey.")
    if video:
        return (*shape, 1)[:4]
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) < 3 or min(shape[:3]) == 1:
        raise UserError(f"image {path} is 2D ({said}), but a 3D volume is needed.")
    if len(shape) == 3:
        if channels != 1:
            raise UserError(f"image {path} has 1 channel, but the network takes {channels}.")
        return shape
    if len(shape) == 5 and shape[3] == 1 or (len(shape) == 4 and channels > 1):
        if shape[-1] != channels:
            raise UserError(f"image {path} has {shape[-1]} channels, but the network takes {channels}.")
        return (*shape[:3], shape[-1])
    raise UserError(f"image {path} is {len(shape)}D ({said}: a series), but one 3D volume is needed: extract one.")

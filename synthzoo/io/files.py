"""Files written whole or not at all: to a temporary name in the same folder, then renamed."""

from __future__ import annotations

import errno
import gzip
import json
import math
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from synthzoo.errors import UserError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_path(path: str | Path):
    """Give a temporary path in the same folder; rename it to `path` when the block ends well, remove it otherwise.

    Raises:
        UserError: the disk is full, or the folder cannot be written; nothing of this file is left behind.
    """
    path = Path(path)
    # The temporary name keeps the ending, which decides the format for many writers, and starts with a dot, so that no
    # reader takes it for a result; the process number keeps two processes apart.
    temporary = path.with_name(f".tmp{os.getpid()}_{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in FULL:
            raise UserError(
                f"no space left to write {path}: every complete result is kept and this one is removed; free some "
                "space and run the same command again to go on."
            ) from error
        if isinstance(error, (PermissionError, NotADirectoryError, FileExistsError)) or error.errno == errno.EROFS:
            raise UserError(f"{path} cannot be written ({error.strerror}): choose another output_dir.") from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write bytes whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    write_bytes(path, text.encode())


def plain(value: Any) -> Any:
    """The same value in JSON's types: tensors and arrays as lists or numbers, NaN and Inf as null, tuples as lists."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        value = value.item() if value.ndim == 0 else value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Save an array as .npy, whole or not at all, also when several processes fill one cache."""
    path = Path(path)
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.npy.tmp")
    with open(temporary, "wb") as file:
        np.save(file, array)
    os.replace(temporary, path)


def write_json(path: str | Path, obj: Any) -> None:
    """Write an object as indented JSON, whole or not at all."""
    write_text(path, json.dumps(plain(obj), indent=2, ensure_ascii=False) + "\n")


def affine_of(spacing_mm, shape=None) -> np.ndarray:
    """Affine [4, 4] float64 in RAS with this spacing (mm, a number or three), the volume's middle at the origin."""
    spacing = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (3,))
    affine = np.diag([*spacing, 1.0])
    if shape is not None:
        affine[:3, 3] = -spacing * (np.asarray(shape[-3:], dtype=np.float64) - 1) / 2
    return affine


def nifti_bytes(array: np.ndarray, affine: np.ndarray, compress: bool = True, frame_s: float | None = None) -> bytes:
    """A NIfTI-1 file's bytes: spatial unit mm, qform and sform set to `affine` (scanner space), no date inside.

    Args:
        array: volume [D, H, W] (or [D, H, W, channels]); written in its own type, bool and int64 as uint8 and int32.
        affine: [4, 4] voxel to world in mm, RAS.
        compress: gzip the bytes; without a time stamp, so that equal voxels give equal files.
        frame_s: seconds between two entries of the fourth axis, which then is time.
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
    data = image.to_bytes()
    return gzip.compress(data, compresslevel=4, mtime=0) if compress else data


def write_nifti(path: str | Path, array: np.ndarray, affine: np.ndarray, frame_s: float | None = None) -> None:
    """Write a volume as NIfTI-1, whole or not at all; `.nii.gz` is compressed. See `nifti_bytes` for the arguments."""
    write_bytes(path, nifti_bytes(array, affine, str(path).endswith(".gz"), frame_s))

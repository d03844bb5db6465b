"""Video files (NIfTI with time as its fourth axis), read and written without Slicer."""

from __future__ import annotations

import gzip
import os
import struct
import zlib

import numpy as np

from .errors import ZooError

TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
HEADER, VOXELS_AT = 348, 352
MM, MS_UNIT = 2, 16  # NIfTI's codes
MS = {8: 1000.0, 16: 1.0, 24: 0.001}  # NIfTI's units of time -> ms


def read_frames(path: str) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Frames [t, k, j, i], voxel to world (RAS, mm), and ms per frame where the file says it.

    Raises:
        ZooError: not NIfTI-1, damaged, or of a voxel type that is not known.
    """
    name = os.path.basename(path)
    try:
        with open(path, "rb") as file:
            raw = file.read()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        order = "<" if struct.unpack("<i", raw[:4])[0] == HEADER else ">"
        if struct.unpack(f"{order}i", raw[:4])[0] != HEADER:
            raise ValueError
        shape = struct.unpack(f"{order}8h", raw[40:56])
        kind = struct.unpack(f"{order}h", raw[70:72])[0]
        pixdim = struct.unpack(f"{order}8f", raw[76:108])
        offset, slope, inter = struct.unpack(f"{order}3f", raw[108:120])
        i, j, k, t = (max(1, int(length)) for length in (shape[1 : 1 + max(0, min(4, shape[0]))] + (1, 1, 1, 1))[:4])
        array = np.frombuffer(raw, order + TYPES[kind], i * j * k * t, int(offset)).reshape(t, k, j, i)
        affine = affine_of(raw, order, pixdim)
    except (OSError, EOFError, zlib.error, struct.error, KeyError, ValueError) as error:
        raise ZooError(f"{name} cannot be read as a video ({type(error).__name__}): it is no NIfTI-1 file.") from error
    if slope not in (0.0, 1.0) or inter:
        array = array * np.float32(slope or 1.0) + np.float32(inter)
    unit = MS.get(raw[123] & 0x38)
    frame_ms = pixdim[4] * unit if unit and pixdim[4] > 0 else None
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))), affine, frame_ms


def is_video(path: str) -> bool:
    """Whether a file is a video of more than one frame; who reads it says what else is wrong with it."""
    try:
        return len(read_frames(path)[0]) > 1
    except ZooError:
        return False


def affine_of(raw: bytes, order: str, pixdim: tuple) -> np.ndarray:
    """Voxel to world of a header: sform, else qform, else the spacing alone."""
    qform, sform = struct.unpack(f"{order}2h", raw[252:256])
    affine = np.eye(4)
    if sform > 0:
        affine[:3] = np.array(struct.unpack(f"{order}12f", raw[280:328])).reshape(3, 4)
    elif qform > 0:
        b, c, d, x, y, z = struct.unpack(f"{order}6f", raw[256:280])
        a = max(0.0, 1.0 - b * b - c * c - d * d) ** 0.5
        turn = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        affine[:3, :3] = turn * np.array([pixdim[1], pixdim[2], pixdim[3] * (-1 if pixdim[0] < 0 else 1)])
        affine[:3, 3] = x, y, z
    else:
        affine[:3, :3] = np.diag(pixdim[1:4])
    return affine


def write_frames(path: str, frames: np.ndarray, affine: np.ndarray, frame_ms: float) -> None:
    """Write frames as NIfTI-1, compressed; `read_frames` reads them back.

    Args:
        path: ends in .nii.gz.
        frames: [t, k, j, i] of a type of `TYPES`.
        affine: voxel to world (RAS, mm), 4 x 4.
        frame_ms: milliseconds a frame.

    Raises:
        ZooError: voxels of another type; the file cannot be written.
    """
    kind = next((code for code, name in TYPES.items() if np.dtype(name) == frames.dtype.newbyteorder("=")), None)
    if kind is None:
        raise ZooError(f"The video has voxels of type {frames.dtype}, which NIfTI cannot hold: convert it to a number.")
    header = bytearray(VOXELS_AT)
    struct.pack_into("<i", header, 0, HEADER)
    struct.pack_into("<8h", header, 40, 4, *frames.shape[::-1], 1, 1, 1)
    struct.pack_into("<2h", header, 70, kind, 8 * frames.dtype.itemsize)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    struct.pack_into("<8f", header, 76, 1, *spacing, frame_ms, 1, 1, 1)
    struct.pack_into("<3f", header, 108, VOXELS_AT, 1, 0)
    header[123] = MM | MS_UNIT
    struct.pack_into("<2h", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, *np.asarray(affine, float)[:3].ravel())
    header[344:348] = b"n+1\0"
    little = np.ascontiguousarray(frames.astype(frames.dtype.newbyteorder("<")))
    try:
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(bytes(header))
            file.write(little.tobytes())
    except OSError as error:
        raise ZooError(f"{path} cannot be written ({error.strerror}): free some space there.") from error

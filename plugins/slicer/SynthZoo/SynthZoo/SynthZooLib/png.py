"""PNG and JPEG files as numbers; needs no scene."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import vtk
from vtk.util.numpy_support import vtk_to_numpy

READERS = {".png": "vtkPNGReader", ".jpg": "vtkJPEGReader", ".jpeg": "vtkJPEGReader"}


def is_picture(path: str) -> bool:
    """Whether a file is a PNG or a JPEG."""
    return ending(path) in READERS


def ending(path: str) -> str:
    """The ending of a file's name, in small letters."""
    return "." + path.lower().rsplit(".", 1)[-1]


def pixels_of(path: str) -> np.ndarray | None:
    """Grey levels (rows, columns) of a picture as its file has them, of colours their mean; None if it is damaged."""
    reader = getattr(vtk, READERS[ending(path)])()
    if not reader.CanReadFile(path):
        return None
    reader.SetFileName(path)
    reader.Update()
    image = reader.GetOutput()
    columns, rows, _ = image.GetDimensions()
    scalars = image.GetPointData().GetScalars()
    if scalars is None or not rows * columns:
        return None
    pixels = vtk_to_numpy(scalars).reshape(rows, columns, -1)[::-1]
    colours = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., :1]
    return np.ascontiguousarray(np.rint(colours.mean(2)).astype(pixels.dtype))


def png_of(deep: np.ndarray) -> bytes:
    """A grey PNG of numbers (rows, columns), big-endian with 16 bits."""
    rows, columns = deep.shape
    lines = b"".join(b"\0" + line.tobytes() for line in deep)
    header = struct.pack(">IIBBBBB", columns, rows, 16, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 3)), (b"IEND", b""))
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)

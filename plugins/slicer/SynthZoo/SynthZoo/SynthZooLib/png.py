"""PNG and JPEG files as numbers; needs no scene."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from .exif import upright

READERS = {".png": "vtkPNGReader", ".jpg": "vtkJPEGReader", ".jpeg": "vtkJPEGReader"}
GREY, RGB = 0, 2  # PNG's numbers for what a pixel holds


def is_picture(path: str) -> bool:
    """Whether a file is a PNG or a JPEG."""
    return ending(path) in READERS


def ending(path: str) -> str:
    """The ending of a file's name, in small letters."""
    return "." + path.lower().rsplit(".", 1)[-1]


def pixels_of(path: str) -> np.ndarray | None:
    """Pixels of a picture as its file has them, upright as its EXIF says; None if it is damaged.

    Grey levels are (rows, columns), and so are colours that are all grey; other colours are (rows, columns, 3), without
    their alpha.
    """
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
    bands = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., :1]
    if (bands == bands[..., :1]).all():
        bands = bands[..., 0]
    return np.ascontiguousarray(upright(bands, path))


def png_of(numbers: np.ndarray) -> bytes:
    """A PNG: grey of numbers (rows, columns), big-endian with 16 bits, or colours uint8 (rows, columns, 3)."""
    rows, columns = numbers.shape[:2]
    lines = b"".join(b"\0" + line.tobytes() for line in numbers)
    depth = 8 * numbers.dtype.itemsize, GREY if numbers.ndim == 2 else RGB
    header = struct.pack(">IIBBBBB", columns, rows, *depth, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 3)), (b"IEND", b""))
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)

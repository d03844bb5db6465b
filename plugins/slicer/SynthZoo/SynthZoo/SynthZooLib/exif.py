"""Which way is up in a photograph: the orientation in the EXIF of a JPEG or PNG file; needs no scene.

VTK's readers pass over it, the server does not: without it a map of the server would lie across the photograph.
"""

from __future__ import annotations

import struct

import numpy as np

ORIENTATION, SHORT = 0x0112, 3  # TIFF's tag, and its type
MOST_ENTRIES = 1000


def upright(pixels: np.ndarray, path: str) -> np.ndarray:
    """Pixels (rows, columns, ...) as the file has them, turned and mirrored as its EXIF says."""
    turn = orientation_of(path)
    if turn in (5, 6, 7, 8):  # rows of the file are columns of the photograph
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def orientation_of(path: str) -> int:
    """The orientation from 1 (upright) to 8 as EXIF counts them; 1 where a file says nothing."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        tiff = _in_png(data) if data[:4] == b"\x89PNG" else _in_jpeg(data)
        found = _in_tiff(tiff[6:] if tiff[:6] == b"Exif\0\0" else tiff)
    except (OSError, struct.error):
        return 1
    return found if 1 <= found <= 8 else 1


def _in_png(data: bytes) -> bytes:
    """The body of the chunk eXIf."""
    at = 8
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"eXIf":
            return data[at + 8 : at + 8 + length]
        at += length + 12
    return b""


def _in_jpeg(data: bytes) -> bytes:
    """The body of the segment APP1 that holds EXIF; it stands before the picture itself."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        marker, length = struct.unpack_from(">BH", data, at + 1)
        body = data[at + 4 : at + 2 + length]
        if marker == 0xE1 and body[:6] == b"Exif\0\0":
            return body
        at += 2 + length
    return b""


def _in_tiff(tiff: bytes) -> int:
    """The orientation in a TIFF's first directory, 1 without one."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    (at,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, at)
    for number in range(min(count, MOST_ENTRIES)):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, at + 2 + 12 * number)
        if tag == ORIENTATION and kind == SHORT:
            return value
    return 1

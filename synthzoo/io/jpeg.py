"""JPEG data as grey levels, with a sentence for each way in which it can be damaged.

libjpeg fills what is missing with grey and says nothing, so the markers are walked to the end of the picture first. A
bit error that still decodes as a picture cannot be noticed.
"""

from __future__ import annotations

import re
import struct
from io import BytesIO

import numpy as np
from PIL import Image

from synthzoo.errors import UserError

# Ends the data of a scan: any marker but stuffed bytes (FF00), restarts (FFD0 to FFD7) and fill bytes (FFFF).
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
MAX_SIDE = 8192  # pixels
MOST_SCANS = 100  # each is decoded as a picture of its own; programs write about ten
PIXELS_PER_BYTE = 1024  # no JPEG holds more
TINT = 6  # grey levels between the channels of a pixel that count as colour
TINTED = 0.01  # share of such pixels in a grey frame
CONVERT = "export it without Doppler or tint, or convert it, for example with ffmpeg -i IN -vf format=gray OUT"


def jpeg_size(data: bytes, where: str) -> tuple[int, int]:
    """Height and width of a JPEG, whose markers are walked to its end.

    Raises:
        UserError: a marker is missing or wrong, or the size is more than the bytes can hold.
    """
    damaged = UserError(f"{where} is a damaged JPEG of {len(data)} bytes: copy the file again.")
    if data[:2] != b"\xff\xd8":
        raise damaged
    at, size, scans = 2, None, 0
    while True:
        while data[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        if at + 2 > len(data) or data[at] != 0xFF:
            raise damaged
        marker = data[at + 1]
        if marker == 0xD9:
            break
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in (0x00, 0x01, 0xD8) or 0xD0 <= marker <= 0xD7 or length < 2 or at + 2 + length > len(data):
            raise damaged
        if marker in START_OF_FRAME and length >= 8:
            size = struct.unpack(">HH", data[at + 5 : at + 9])
        at += 2 + length
        if marker == 0xDA:
            scans += 1
            if scans > MOST_SCANS:
                raise UserError(f"{where} is a JPEG of more than {MOST_SCANS} scans: save it again with any program.")
            found = MARKER.search(data, at)
            if found is None:
                raise damaged
            at = found.start()
    if size is None or not scans or 0 in size:
        raise damaged
    if max(size) > MAX_SIDE or size[0] * size[1] > PIXELS_PER_BYTE * len(data):
        raise UserError(f"{where} claims {size[0]} x {size[1]} pixels in {len(data)} bytes: copy the file again.")
    return size


def decode_jpeg(data: bytes, where: str, colour: str = "refuse") -> np.ndarray:
    """A JPEG as grey levels, uint8 (H, W).

    Args:
        data: the bytes.
        where: what it is, such as "video x.avi: frame 3", for messages.
        colour: "refuse" or "average", see `grey_of`.

    Raises:
        UserError: damaged, or in colour.
    """
    jpeg_size(data, where)
    try:
        with Image.open(BytesIO(data), formats=("JPEG",)) as image:
            if image.mode == "L":
                return np.asarray(image)
            bands = np.stack([np.asarray(band) for band in image.convert("RGB").split()])
    except (OSError, ValueError, SyntaxError, struct.error):  # Pillow raises these for damaged files
        raise UserError(f"{where} is a damaged JPEG of {len(data)} bytes: copy the file again.") from None
    return grey_of(bands, where, colour)


def grey_of(
    bands: np.ndarray, where: str, colour: str = "refuse", needed: str = "a grey video", remedy: str = CONVERT
) -> np.ndarray:
    """The mean of red, green and blue, uint8 (3, H, W), as uint8 (H, W).

    Args:
        colour: "refuse" takes channels that agree within a few grey levels; "average" takes any.
        needed, remedy: what it ought to be and how it comes to that, for the message.

    Raises:
        UserError: in colour, where that is refused.
    """
    red, green, blue = bands
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return red
    if colour == "refuse" and is_tinted(bands):
        raise UserError(f"{where} is in colour, but {needed} is needed: {remedy}.")
    return np.rint(np.mean(bands, axis=0)).astype(np.uint8)


def is_tinted(bands: np.ndarray) -> bool:
    """Whether the channels (3, H, W) of a picture of bytes differ in more than single pixels."""
    spread = np.ptp(bands, axis=0)
    return bool((spread > TINT).mean() > TINTED)

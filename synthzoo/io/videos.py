"""Motion-JPEG in AVI: writes and reads the videos of the echo data sets with Pillow alone.

    RIFF 'AVI ' { LIST hdrl { avih, LIST strl { strh, strf } }, LIST movi { 00dc JPEG, 00dc JPEG ... }, idx1 }

The reader walks the chunks and trusts no size in a header: it passes over JUNK and the indices of OpenDML, enters
`rec ` lists and further RIFF segments, and knows the size of a frame from its JPEG. Every frame stands alone in this
codec, so any frames can be read without the others. A bit error that still decodes as a picture cannot be noticed.
"""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Generator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from synthzoo.errors import UserError
from synthzoo.io.files import write_bytes

QUALITY = 95  # about 1 grey level of mean error on speckle
CODECS = ("MJPG", "JPEG")
LISTS = (b"hdrl", b"strl", b"movi", b"rec ", b"AVI ", b"AVIX")  # those that are entered
KNOWN = re.compile(rb"\d\d(?:dc|db|wb|pc|tx|iv)|ix\d\d|LIST|RIFF|JUNK|idx1|indx|avih|str[dfhn]")
# Ends the data of a scan: any marker but stuffed bytes (FF00), restarts (FFD0 to FFD7) and fill bytes (FFFF).
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
MAX_BYTES = 1 << 30  # of decoded frames
MAX_SIDE = 8192
PIXELS_PER_BYTE = 1024  # no JPEG holds more
MAX_PADDING = 4096  # zeros between two chunks
MAX_FPS = 10_000.0
TINT = 6  # grey levels between the channels of a pixel that count as colour
TINTED = 0.01  # share of such pixels in a grey frame


class Cine(NamedTuple):
    """A grey video: frames uint8 (T, H, W) and frames per second."""

    frames: np.ndarray
    fps: float


class AviFile(NamedTuple):
    """What an AVI file holds: path, fps, size of the first frame, and offset and length of every frame's JPEG."""

    path: Path
    fps: float
    height: int
    width: int
    chunks: list[tuple[int, int]]

    @property
    def count(self) -> int:
        """The number of frames that are there, whatever the header says."""
        return len(self.chunks)


# --- writing ---------------------------------------------------------------------------------------------------------


def write_avi(path: str | Path, frames: Any, fps: float, quality: int = QUALITY) -> None:
    """Write a grey video as Motion-JPEG with three equal channels, whole or not at all.

    Args:
        path: the file, `.avi`.
        frames: (T, H, W) or (1, T, H, W), uint8, or a float in [0, 1].
        fps: frames per second, kept to a thousandth.
        quality: of the JPEGs, 1 to 100; chroma is not subsampled.

    Raises:
        UserError: frames of another shape, type or range, an impossible frame rate, or no space left.
    """
    path = Path(path)
    write_bytes(path, avi_bytes(as_uint8(frames, str(path)), fps, quality, str(path)))


def as_uint8(frames: Any, name: str) -> np.ndarray:
    """Frames as uint8 (T, H, W); a float is round(255 x).

    Raises:
        UserError: not (T, H, W) or (1, T, H, W), no frame, neither uint8 nor a float in [0, 1].
    """
    array = np.asarray(frames.detach().cpu() if hasattr(frames, "detach") else frames)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3 or 0 in array.shape or max(array.shape[1:]) > MAX_SIDE:
        raise UserError(
            f"{name}: frames have the shape {np.shape(array)}, but (T, H, W) with sides from 1 to {MAX_SIDE} is needed."
        )
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"{name}: frames are {array.dtype}, but must be uint8, or a float in [0, 1].")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # NaN too
        raise UserError(f"{name}: frames lie between {low:g} and {high:g}, but a float video must lie in [0, 1].")
    return np.rint(array * 255.0).astype(np.uint8)


def avi_bytes(frames: np.ndarray, fps: float, quality: int = QUALITY, name: str = "video") -> bytes:
    """The bytes of an AVI file of uint8 frames (T, H, W); equal frames give equal bytes.

    Raises:
        UserError: a frame rate that is no positive number, or more than the format can hold.
    """
    if isinstance(fps, bool) or not isinstance(fps, (int, float, np.number)) or not 0.001 <= fps <= MAX_FPS:
        raise UserError(f"{name}: fps is {fps!r}, but must be a number from 0.001 to {MAX_FPS:g}.")
    count, height, width = frames.shape
    jpegs = [_jpeg(frame, quality) for frame in frames]
    largest, offset = max(map(len, jpegs)), 4
    movi, index = [b"movi"], []
    for jpeg in jpegs:
        chunk = _chunk(b"00dc", jpeg)
        index.append(struct.pack("<4sIII", b"00dc", 0x10, offset, len(jpeg)))
        movi.append(chunk)
        offset += len(chunk)
    if offset > MAX_BYTES:
        raise UserError(f"{name}: {count} frames take {offset} bytes, more than an AVI file should hold: cut it.")
    rate = round(1000 * float(fps))
    per_second = math.ceil(largest * float(fps))
    head = (round(1e9 / rate), min(per_second, 2**32 - 1), 0, 0x10, count, 0, 1, largest, width, height)
    avih = _chunk(b"avih", struct.pack("<14I", *head, 0, 0, 0, 0))
    stream = (0, 0, 0, 0, 1000, rate, 0, count, largest, 2**32 - 1, 0, 0, 0, width, height)
    strh = _chunk(b"strh", struct.pack("<4s4sIHHIIIIIIII4h", b"vids", b"MJPG", *stream))
    bitmap = (40, width, height, 1, 24, b"MJPG", 3 * width * height, 0, 0, 0, 0)
    strf = _chunk(b"strf", struct.pack("<IiiHH4sIiiII", *bitmap))
    strl = _chunk(b"LIST", b"strl" + strh + strf)
    hdrl = _chunk(b"LIST", b"hdrl" + avih + strl)
    body = hdrl + _chunk(b"LIST", b"".join(movi)) + _chunk(b"idx1", b"".join(index))
    return _chunk(b"RIFF", b"AVI " + body)


def _jpeg(frame: np.ndarray, quality: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).convert("RGB").save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _chunk(name: bytes, data: bytes) -> bytes:
    """Name, length and data, padded to an even length."""
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


# --- reading ---------------------------------------------------------------------------------------------------------


def read_avi(path: str | Path, frames: Sequence[int] | None = None, colour: str = "refuse") -> Cine:
    """Read a Motion-JPEG AVI as grey frames.

    Args:
        path: the file.
        frames: numbers of the frames to read, in this order; None reads all.
        colour: "refuse" takes frames whose channels agree within a few grey levels; "average" takes any frame. Both
            give the mean of the channels.

    Returns:
        frames uint8 (T, H, W) and fps.

    Raises:
        UserError: what `open_avi` says; a damaged frame (with its byte in the file), frames of different sizes, colour,
            a frame number that is not there, or more frames than memory should hold.
    """
    if colour not in ("refuse", "average"):
        raise UserError(f"colour is {colour!r}, but must be refuse or average.")
    video = open_avi(path)
    chosen = range(video.count) if frames is None else [int(n) for n in frames]
    wrong = next((n for n in chosen if not 0 <= n < video.count), None)
    if wrong is not None:
        raise UserError(f"video {path} has the frames 0 to {video.count - 1}, but frame {wrong} is requested.")
    if not len(chosen):
        raise UserError(f"video {path}: an empty list of frames is requested.")
    result, shape = None, None
    with open(video.path, "rb") as file:
        for position, number in enumerate(chosen):
            offset, length = video.chunks[number]
            where = f"video {path}: frame {number} at byte {offset}"
            data = _read(file, offset, length)
            size = _jpeg_size(data, where)
            if result is None:
                shape = size
                needed = len(chosen) * shape[0] * shape[1]
                if needed > MAX_BYTES:
                    raise UserError(
                        f"video {path} holds {len(chosen)} frames of {shape[0]} x {shape[1]}, more than "
                        f"{MAX_BYTES >> 20} MiB: cut it or make it smaller."
                    )
                result = np.empty((len(chosen), *shape), np.uint8)
            if size != shape:
                raise UserError(f"{where} is {size[0]} x {size[1]}, but the first is {shape[0]} x {shape[1]}.")
            result[position] = _grey(data, where, colour)
    return Cine(result, video.fps)


def open_avi(path: str | Path) -> AviFile:
    """Find the frames of an AVI file without decoding them.

    Raises:
        UserError: missing, unreadable, empty or no AVI file; another codec (named); cut short (with the byte); no
            frame rate, no frames, or a damaged first frame.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"video {path} is a folder: give an .avi file.")
    try:
        with open(path, "rb") as file:
            return _find_frames(file, path)
    except FileNotFoundError:
        raise UserError(f"video {path} does not exist: check the path.") from None
    except OSError as error:
        raise UserError(f"video {path} cannot be read ({error.strerror or error}).") from None


def _find_frames(file: BinaryIO, path: Path) -> AviFile:
    size = os.fstat(file.fileno()).st_size
    head = file.read(12)
    if size == 0:
        raise UserError(f"video {path} is an empty file (0 bytes): copy or export it again.")
    if head[:4] != b"RIFF" or head[8:12] not in (b"AVI ", b"AVIX"):
        raise UserError(
            f"video {path} is {_kind(head)}, but only Motion-JPEG .avi files are read: convert it, for example with "
            "ffmpeg -i IN -c:v mjpeg -q:v 2 OUT.avi."
        )
    streams, stream, fps, chunks = 0, None, 0.0, []
    for name, at, length in _walk(file, path, 0, size, size):
        if name == b"avih" and length >= 4:
            interval = struct.unpack("<I", _read(file, at, 4))[0]
            fps = 1e6 / interval if interval else 0.0
        elif name == b"strh" and length >= 28:
            streams += 1
            kind, scale, rate = struct.unpack("<4s16xII", _read(file, at, 28))
            if kind == b"vids" and stream is None:
                stream = streams - 1
                fps = rate / scale if rate and scale else fps
        elif name == b"strf" and length >= 20 and stream == streams - 1:
            written = _read(file, at + 16, 4)
            codec = _text(written) if any(written) else "uncompressed"
            if codec.upper() not in CODECS:
                raise UserError(
                    f"video {path} is coded as {codec}, but only Motion-JPEG (MJPG) is read: convert it, for example "
                    "with ffmpeg -i IN -c:v mjpeg -q:v 2 OUT.avi."
                )
        elif stream is not None and name in (b"%02ddc" % stream, b"%02ddb" % stream):
            if length:
                chunks.append((at, length))
            elif chunks:  # a chunk without data repeats the frame before it
                chunks.append(chunks[-1])
    if stream is None:
        raise UserError(f"video {path} holds no video stream: export it again.")
    if not chunks:
        raise UserError(f"video {path} holds no frames: its recording was not finished; export it again.")
    if not 0 < fps <= MAX_FPS:
        raise UserError(f"video {path} states {fps:g} frames per second, which no video has: export it again.")
    height, width = _jpeg_size(_read(file, *chunks[0]), f"video {path}: frame 0 at byte {chunks[0][0]}")
    return AviFile(path, fps, height, width, chunks)


def _walk(file: BinaryIO, path: Path, start: int, end: int, size: int, depth: int = 0) -> Generator:
    """Name, place and length of each chunk's data between two bytes of a file of `size` bytes; lists are entered.

    Returns the byte that was reached, so that no byte is walked twice where lists claim to overlap.
    """
    at = start
    while at + 8 <= end:
        head = _read(file, at, 12)
        name, length = head[:4], struct.unpack("<I", head[4:8])[0]
        if name[0] == 0:  # more padding than the format asks for
            zeros = _read(file, at, min(MAX_PADDING, end - at))
            at += len(zeros) - len(zeros.lstrip(b"\0"))
            if zeros.strip(b"\0") or depth == 0 or at >= end:
                continue
            name = b"\0"
        if not all(32 <= byte < 127 for byte in name):
            if depth == 0 and at > start:
                return at  # what another program appended
            raise UserError(f"video {path} is damaged at byte {at}, where no chunk begins: copy it again.")
        stop = at + 8 + length
        if name in (b"RIFF", b"LIST") and head[8:12] in LISTS and depth < 6:
            if length == 0:  # a recording that was not finished
                stop = end
            reached = yield from _walk(file, path, at + 12, min(stop, size), size, depth + 1)
            if stop > size + 8:  # some programs count the head in
                raise UserError(_cut_short(path, head[8:12], at, length, size))
            if reached > stop:
                at = reached
                continue
        elif stop > size:
            if depth == 0 and at > start:
                return at
            raise UserError(_cut_short(path, name, at, length, size))
        else:
            yield name, at + 8, length
        at = stop
        if length % 2 and not _begins(file, at + 1) and _begins(file, at):
            continue  # a program that does not pad
        at += length % 2
    return at


def _begins(file: BinaryIO, at: int) -> bool:
    return KNOWN.match(_read(file, at, 4)) is not None


def _read(file: BinaryIO, at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length)


def _cut_short(path: Path, name: bytes, at: int, length: int, size: int) -> str:
    return (
        f"video {path} is cut short: its chunk '{_text(name)}' at byte {at} claims {length} bytes, but the file ends "
        f"at byte {size}; copy it again."
    )


def _text(code: bytes) -> str:
    shown = code.decode("latin-1").strip("\0 ")
    return shown if shown.isprintable() and shown else f"0x{code.hex()}"


def _kind(head: bytes) -> str:
    """What a file is by its first 12 bytes."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return "an MP4 or QuickTime file"
    known = {
        b"\x1a\x45\xdf\xa3": "a Matroska or WebM file",
        b"GIF8": "a GIF",
        b"\x93NUM": "a NumPy array",
        b"PK\x03\x04": "a zip archive (.npz, .pt)",
        b"\x30\x26\xb2\x75": "a Windows Media file",
        b"\x00\x00\x01\xba": "an MPEG file",
    }
    return known.get(head[:4], "no AVI file")


def _jpeg_size(data: bytes, where: str) -> tuple[int, int]:
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
            found = MARKER.search(data, at)
            if found is None:
                raise damaged
            at = found.start()
    if size is None or not scans or 0 in size:
        raise damaged
    if max(size) > MAX_SIDE or size[0] * size[1] > PIXELS_PER_BYTE * len(data):
        raise UserError(f"{where} claims {size[0]} x {size[1]} pixels in {len(data)} bytes: copy the file again.")
    return size


def _grey(data: bytes, where: str, colour: str) -> np.ndarray:
    """One JPEG as uint8 (H, W)."""
    try:
        with Image.open(BytesIO(data), formats=("JPEG",)) as image:
            if image.mode == "L":
                return np.asarray(image)
            bands = [np.asarray(band) for band in image.convert("RGB").split()]
    except (OSError, ValueError, SyntaxError, struct.error):  # Pillow raises these for damaged files
        raise UserError(f"{where} is a damaged JPEG of {len(data)} bytes: copy the file again.") from None
    red, green, blue = bands
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return red
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    if colour == "refuse" and (spread > TINT).mean() > TINTED:
        raise UserError(
            f"{where} is in colour, but a grey video is needed: export it without Doppler or tint, or convert it, for "
            "example with ffmpeg -i IN -vf format=gray -c:v mjpeg -q:v 2 OUT.avi."
        )
    return np.rint(np.mean(bands, axis=0)).astype(np.uint8)

"""Grey videos as files: Motion-JPEG in AVI is written; AVI, MP4, QuickTime and Matroska are read by PyAV.

    RIFF 'AVI ' { LIST hdrl { avih, LIST strl { strh, strf } }, LIST movi { 00dc JPEG, 00dc JPEG ... }, idx1 }

is what the writer makes. JPEG frames stand alone: any of them can be read without the others, and a damaged one is
refused only when it is needed. They are decoded by Pillow, as pictures are (FFmpeg's transform rounds 2 % of the pixels
to the other side, by one grey level). Frames of other codecs are decoded by FFmpeg, in order.
"""

from __future__ import annotations

import math
import os
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from PIL import Image

from synthzoo.errors import UserError
from synthzoo.io.dicom_pixels import MAX_FPS, fps_of, frames_of, grey_frames, read_header
from synthzoo.io.files import write_bytes
from synthzoo.io.images import read_picture
from synthzoo.io.jpeg import MAX_SIDE, decode_jpeg, grey_of, jpeg_size
from synthzoo.io.kinds import format_of, format_of_content, what_is
from synthzoo.io.volumes import read_nifti_video

QUALITY = 95  # about 1 grey level of mean error on speckle
MAX_BYTES = 1 << 30  # of decoded frames
MAX_FRAMES = 1_000_000
MAX_BOXES = 100_000  # of a file, looked at for its length
# The demuxer of each kind of file is named, so that no playlist or list of other files is ever opened.
DEMUXED = ("avi", "mov", "matroska")
CONVERT = "convert it, for example with ffmpeg -i IN -c:v mjpeg -q:v 2 OUT.avi"


class GreyVideo(NamedTuple):
    """A grey video: frames (T, H, W), uint8 or float32 in [0, 1], and frames per second, None where nothing says."""

    frames: np.ndarray
    fps: float | None


@dataclass(frozen=True)
class VideoFile:
    """What a video file holds, without its pixels.

    Attributes:
        path: the file.
        fps: frames per second, None where the file does not state them.
        height, width: of the first frame, in pixels.
        count: number of frames that are there, whatever the header says.
        decode: gives the frames of ascending numbers, each as (number, uint8 or float32 (H, W)).
    """

    path: Path
    fps: float | None
    height: int
    width: int
    count: int
    decode: Callable[[list[int], str], Iterable[tuple[int, np.ndarray]]]

    def read(self, frames: Sequence[int] | None = None, colour: str = "refuse") -> np.ndarray:
        """Frames (n, H, W), uint8, or float32 in [0, 1] where the file stores no bytes; see `read_video`."""
        if colour not in ("refuse", "average"):
            raise UserError(f"colour is {colour!r}, but must be refuse or average.")
        chosen = range(self.count) if frames is None else [int(n) for n in frames]
        wrong = next((n for n in chosen if not 0 <= n < self.count), None)
        if wrong is not None:
            raise UserError(f"video {self.path} has the frames 0 to {self.count - 1}, but frame {wrong} is requested.")
        if not len(chosen):
            raise UserError(f"video {self.path}: an empty list of frames is requested.")
        if len(chosen) * self.height * self.width > MAX_BYTES:
            raise _too_large(self, len(chosen))
        places: dict[int, list[int]] = {}
        for place, number in enumerate(chosen):
            places.setdefault(number, []).append(place)
        result = None
        for number, frame in self.each(sorted(places), colour):
            if result is None:
                result = np.empty((len(chosen), *frame.shape), frame.dtype)
            result[places[number]] = frame
        return result

    def each(self, numbers: list[int], colour: str = "refuse") -> Iterator[tuple[int, np.ndarray]]:
        """Frames of ascending numbers one after the other, each as (number, uint8 or float32 (H, W)).

        Raises:
            UserError: a frame that is damaged, missing or of another size than the first.
        """
        missing, found = set(numbers), -1
        for number, frame in self.decode(numbers, colour):
            if frame.shape != (self.height, self.width):
                said = f"{frame.shape[0]} x {frame.shape[1]}"
                raise UserError(
                    f"video {self.path}: frame {number} is {said}, but the first is {self.height} x {self.width}."
                )
            yield number, frame
            missing.discard(number)
            found = number
        if missing:
            raise UserError(
                f"video {self.path} is damaged: no frame after frame {found} can be decoded; copy it again."
            )


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


def read_video(path: str | Path, frames: Sequence[int] | None = None, colour: str = "refuse") -> GreyVideo:
    """Read a video as grey frames.

    Args:
        path: AVI, MP4, QuickTime, Matroska or DICOM by content; NIfTI, see `volumes.read_nifti_video`; or a picture,
            a video of one frame.
        frames: numbers of the frames to read, in this order; None reads all.
        colour: "refuse" takes frames whose channels agree within a few grey levels; "average" takes any frame. Both
            give the mean of the channels.

    Returns:
        frames (T, H, W), uint8, or float32 in [0, 1] where the file stores no bytes; and fps.

    Raises:
        UserError: what `open_video` says; a damaged frame, frames of different sizes, colour, a frame number that is
            not there, or more frames than memory should hold.
    """
    video = open_video(path)
    return GreyVideo(video.read(frames, colour), video.fps)


def as_unit(frames: np.ndarray) -> np.ndarray:
    """Frames as float32 in [0, 1]."""
    if frames.dtype != np.uint8:
        return frames
    levels = frames.astype(np.float32)
    levels /= np.float32(255)
    return levels


def check_video(path: str | Path, colour: str = "refuse") -> None:
    """Decode every frame of a video and keep none.

    Raises:
        UserError: what `read_video` says.
    """
    video = open_video(path)
    if video.count * video.height * video.width > MAX_BYTES:
        raise _too_large(video, video.count)
    for _ in video.each(list(range(video.count)), colour):
        pass


def _too_large(video: VideoFile, count: int) -> UserError:
    size = f"{video.height} x {video.width}"
    said = f"video {video.path} holds {count} frames of {size}, more than {MAX_BYTES >> 20} MiB"
    return UserError(f"{said}: cut it or make it smaller.")


def open_video(path: str | Path) -> VideoFile:
    """Find the frames of a video file without decoding them.

    Raises:
        UserError: missing, unreadable, empty or no video; a codec that is not known; cut short; no frame rate, no
            frames, or a damaged first frame.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"video {path} is a folder: give a video file.")
    form = format_of(path)
    if form in OTHERS and path.exists():
        return OTHERS[form](path)
    try:
        with open(path, "rb") as file:
            head = file.read(1 << 16)
            size = os.fstat(file.fileno()).st_size
            claimed = _claimed_bytes(file, head, size)
    except FileNotFoundError:
        raise UserError(f"video {path} does not exist: check the path.") from None
    except OSError as error:
        raise UserError(f"video {path} cannot be read ({error.strerror or error}).") from None
    if size == 0:
        raise UserError(f"video {path} is an empty file (0 bytes): copy or export it again.")
    if format_of_content(head) not in DEMUXED:
        said = what_is(head) or "no video file"
        raise UserError(f"video {path} is {said}, but AVI, MP4, QuickTime, Matroska and DICOM are read: {CONVERT}.")
    if claimed > size:
        raise UserError(
            f"video {path} is cut short: its header claims {claimed} bytes, but the file ends at byte {size}; copy it "
            "again."
        )
    try:
        return _find_frames(path, head)
    except (av.error.FFmpegError, EOFError) as error:
        said = f"{what_is(head)} that is damaged or whose recording was not finished"
        raise UserError(f"video {path} is {said} ({_reason(error)}): copy or export it again.") from None


def _open_nifti(path: Path) -> VideoFile:
    frames, fps = read_nifti_video(path)
    count, height, width = frames.shape
    return VideoFile(path, fps, height, width, count, lambda numbers, _: ((n, frames[n]) for n in numbers))


def _open_dicom(path: Path) -> VideoFile:
    dataset = read_header(path)
    size = int(dataset.Rows), int(dataset.Columns)
    return VideoFile(path, fps_of(dataset), *size, frames_of(dataset), partial(grey_frames, dataset, path))


def _open_picture(path: Path) -> VideoFile:
    """A picture is a video of one frame at no rate."""
    height, width = read_picture(path, 3).levels.shape[1:]
    return VideoFile(path, None, height, width, 1, lambda _, colour: [(0, read_picture(path, 1, colour).levels[0])])


OTHERS = {"nifti": _open_nifti, "dicom": _open_dicom, "png": _open_picture, "jpeg": _open_picture}


def _find_frames(path: Path, head: bytes) -> VideoFile:
    tag, fps = _avi_stream(head)
    with _container(path, head) as container:
        if not container.streams.video:
            raise UserError(f"video {path} holds no video stream: export it again.")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise UserError(f"video {path} is coded as {tag or '?'}, which is not known: {CONVERT}.")
        jpegs = stream.codec_context.name == "mjpeg"
        if fps is None:
            fps = float(stream.average_rate or 0)
        times: list[int | None] = []  # of the packets, whose data is not kept
        first = last = None
        for packet in container.demux(stream):
            if packet.size:
                first, last = first or packet, packet
                times.append(packet.pts)
            if len(times) > MAX_FRAMES:
                raise UserError(f"video {path} holds more than {MAX_FRAMES} frames: cut it.")
        if first is None:
            raise UserError(f"video {path} holds no frames: its recording was not finished; export it again.")
        if last.is_corrupt:
            raise UserError(f"video {path} is cut short in its frame {len(times) - 1}: copy it again.")
        if not 0 < fps <= MAX_FPS:
            raise UserError(f"video {path} states {fps:g} frames per second, which no video has: export it again.")
        if jpegs:
            height, width = jpeg_size(bytes(first), _frame_at(path, 0, first))
        else:
            height, width = stream.codec_context.height, stream.codec_context.width
        if not 0 < height <= MAX_SIDE or not 0 < width <= MAX_SIDE:
            raise UserError(f"video {path} claims {height} x {width} pixels: copy or export it again.")
        if not jpegs:
            return VideoFile(path, fps, height, width, len(times), partial(_decode_frames, path))
        shown = _shown(path, times) if tag else list(range(len(times)))
        return VideoFile(path, fps, height, width, len(shown), partial(_decode_jpegs, path, shown))


def _shown(path: Path, times: list[int | None]) -> list[int]:
    """Which packet each frame of an AVI shows: a chunk without data, of which there is no packet, repeats a frame."""
    if None in times or times[0] != 0 or sorted(set(times)) != times:
        return list(range(len(times)))
    if times[-1] >= MAX_FRAMES:
        raise UserError(f"video {path} claims {times[-1] + 1} frames, but at most {MAX_FRAMES} are read: cut it.")
    return [n for n, (time, end) in enumerate(zip(times, [*times[1:], times[-1] + 1])) for _ in range(time, end)]


def _container(path: Path, head: bytes | None = None) -> av.container.InputContainer:
    if head is None:
        with open(path, "rb") as file:
            head = file.read(32)
    # What a file says about itself in words (codec tags, titles) is not read, and need not be text.
    return av.open(
        f"file:{path}",
        format=format_of_content(head),
        container_options={"protocol_whitelist": "file"},
        metadata_errors="replace",
    )


def _decode_jpegs(path: Path, shown: list[int], numbers: list[int], colour: str) -> Iterator[tuple[int, np.ndarray]]:
    waiting = deque(numbers)
    with _container(path) as container:
        for place, packet in enumerate(container.demux(container.streams.video[0])):
            while waiting and shown[waiting[0]] == place:
                yield waiting[0], decode_jpeg(bytes(packet), _frame_at(path, waiting[0], packet), colour)
                waiting.popleft()
            if not waiting:
                return


def _decode_frames(path: Path, numbers: list[int], colour: str) -> Iterator[tuple[int, np.ndarray]]:
    wanted, number = set(numbers), -1
    with _container(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(MAX_SIDE**2)}
        try:
            for number, frame in enumerate(container.decode(stream)):
                if frame.is_corrupt:
                    raise UserError(f"video {path}: frame {number} is damaged: copy the file again.")
                if number in wanted:
                    bands = frame.to_ndarray(format="rgb24")
                    yield number, grey_of(bands.transpose(2, 0, 1), f"video {path}: frame {number}", colour)
                if number >= numbers[-1]:
                    return
        except (av.error.FFmpegError, EOFError) as error:
            where = f"video {path}: frame {number + 1}"
            raise UserError(f"{where} is damaged ({_reason(error)}): copy the file again.") from None


def _frame_at(path: Path, number: int, packet: av.Packet) -> str:
    return f"video {path}: frame {number} at byte {packet.pos}"


def _reason(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error)).strip()


def _claimed_bytes(file: Any, head: bytes, size: int) -> int:
    """Where the parts of an AVI or MP4 file end by their own headers; FFmpeg reads what is there without a word."""
    at = 0
    for _ in range(MAX_BOXES):
        if at + 8 > size:
            break
        file.seek(at)
        part = file.read(16)
        if part[:4] == b"RIFF":
            length = struct.unpack("<I", part[4:8])[0]
            # Some programs count the head in; a recording that was not finished says 0.
            at += 8 + length if at + 8 + length <= size or at + length != size else length
            at += length % 2
        elif format_of_content(head) == "mov" and part[4:8].isalnum():
            length = struct.unpack(">I", part[:4])[0]
            if length == 1 and len(part) == 16:
                length = struct.unpack(">Q", part[8:16])[0]
            at += length if length >= 8 else size
            if length < 8:
                return size
        else:
            return size
    return at


def _avi_stream(head: bytes) -> tuple[str, float | None]:
    """Codec and frame rate of an AVI's first video stream: FFmpeg guesses 25 where none is stated."""
    at = head.find(b"vids", head.find(b"strh"))
    at -= 8
    if head[:4] != b"RIFF" or at < 0 or head[at : at + 4] != b"strh" or len(head) < at + 64:
        return "", None
    scale, rate = struct.unpack("<II", head[at + 28 : at + 36])
    interval = struct.unpack("<I", head[32:36])[0] if head[24:28] == b"avih" else 0
    form = head.find(b"strf", at)
    tag = head[form + 24 : form + 28] if form > 0 else b""
    text = tag.decode("latin-1").strip("\0 ")
    return (
        text if text.isprintable() else f"0x{tag.hex()}",
        rate / scale if rate and scale else 1e6 / interval if interval else 0.0,
    )

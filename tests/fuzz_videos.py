"""AVI, MP4 and Matroska files whose headers hold anything, for the fuzz tests."""

import struct
from io import BytesIO

import av
import numpy as np
from fuzzing import odd_value, patched
from hypothesis import strategies as st

from synthzoo.io.mp4 import mp4_bytes
from synthzoo.io.videos import avi_bytes

FRAMES = 5
CODECS = (b"MJPG", b"mjpg", b"XVID", b"H264", b"DIB ", b"\0\0\0\0", b"RGB ", b"Y800", b"cvid", b"\xff\xfe\n\r", b"MSVC")
NAMES = (b"RIFF", b"AVI ", b"LIST", b"hdrl", b"movi", b"strh", b"strf", b"vids", b"auds", b"00dc", b"01wb", b"idx1")
BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mdat", b"free", b"uuid", b"moof", b"\0\0\0\0")


def frames() -> np.ndarray:
    x = np.linspace(0, 200, 24)
    return np.stack([np.add.outer(x[:16], x) / 2 + n for n in range(FRAMES)]).astype("u1")


def matroska() -> bytes:
    buffer = BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 16, 24, "yuv420p"
        for frame in frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray").reformat(format="yuv420p")))
        container.mux(stream.encode())
    return buffer.getvalue()


FILES = {"a.avi": avi_bytes(frames(), 30.0), "a.mp4": mp4_bytes(frames(), 30.0), "a.mkv": matroska()}


def boxes(data: bytes, at: int, end: int) -> list[int]:
    """Where the boxes of an MP4 begin, those in others too."""
    found = []
    while at + 8 <= end:
        size, name = struct.unpack(">I4s", data[at : at + 8])
        found.append(at)
        if name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
            found += boxes(data, at + 8, at + size)
        at += max(size, 8)
    return found


@st.composite
def changes_of_avi(draw, data):
    """(place, bytes) in the headers, in the heads of the chunks or in the index."""
    movi, index = data.index(b"movi"), data.index(b"idx1")
    heads = [at for at in range(movi, index) if data[at : at + 4] == b"00dc"]
    how = draw(st.sampled_from(["number", "number", "number", "codec", "name", "head", "index", "byte"]))
    if how == "codec":
        at = draw(st.sampled_from([data.index(b"MJPG"), data.rindex(b"MJPG", 0, movi)]))
        return at, draw(st.sampled_from(CODECS) | st.binary(min_size=4, max_size=4))
    if how == "name":
        name = draw(st.sampled_from(NAMES))
        return max(0, data.find(name)), draw(st.sampled_from(NAMES) | st.binary(min_size=4, max_size=4))
    if how == "head":
        return draw(st.sampled_from(heads)) + 4, draw(odd_value("I"))
    if how == "index":
        return index + 4 * draw(st.integers(1, 4 * FRAMES)), draw(odd_value("I"))
    if how == "byte":
        return draw(st.integers(0, movi)), draw(st.binary(min_size=1, max_size=2))
    return 4 * draw(st.integers(1, movi // 4)), draw(odd_value("I"))


@st.composite
def changes_of_mp4(draw, data):
    """(place, bytes) in the sizes, names and contents of boxes, big-endian."""
    at = draw(st.sampled_from(boxes(data, 0, len(data))))
    how = draw(st.sampled_from(["size", "name", "content", "content", "content"]))
    if how == "name":
        return at + 4, draw(st.sampled_from(BOXES))
    where = at if how == "size" else at + 8 + 4 * draw(st.integers(0, 24))
    if data[at + 4 : at + 8] == b"mdat" and how == "content":
        where = at
    return where, draw(odd_value("I"))[::-1]


@st.composite
def videos(draw):
    """A file's name and its bytes, changed in a few places or cut short."""
    name = draw(st.sampled_from(["a.avi", "a.avi", "a.mp4", "a.mkv"]))
    data, changes = FILES[name], []
    for _ in range(draw(st.integers(1, 3))):
        if name == "a.avi":
            changes.append(draw(changes_of_avi(data)))
        elif name == "a.mp4":
            changes.append(draw(changes_of_mp4(data)))
        else:
            changes.append((draw(st.integers(0, 500)), draw(st.binary(min_size=1, max_size=4))))
    data = patched(data, changes)
    return name, data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 9)) == 9 else data


def one(worker, tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return worker.expect("image", path)

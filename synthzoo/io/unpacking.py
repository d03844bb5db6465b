"""Bytes of NIfTI files, plain or gzip, read as far as they are asked for and never further.

A small gzip file may unpack to anything: one member to a thousand times its size, or many members in a row, each of
next to nothing. What is read is what the header promises, and the header is read by its own bounds first.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

MAX_VOXELS = int(os.environ.get("SYNTHZOO_MAX_VOXELS", 640**3))  # 1 GiB as float32; a 0.35 mm head fits
CHUNK = 1 << 16  # bytes of the file at a time
SLAB = 1 << 24  # bytes of voxels at a time
LARGEST_HEADER = 1 << 26  # bytes before the voxels: marks and extensions of scanners have less than a tenth
EMPTY_MEMBERS = 1000  # beside one for each MEMBER bytes: block gzip has members of 64 KiB and an empty one at its end
MEMBER = 512


class Layout(NamedTuple):
    """A header: its length without extensions, where it says how many axes there are, and where the voxels begin."""

    length: int
    axes: tuple[int, str]
    offset: tuple[int, str]


NIFTI_1 = Layout(352, (40, "h"), (108, "f"))
NIFTI_2 = Layout(544, (16, "q"), (168, "q"))


class Unpacked:
    """A file, or what is packed in it where it is gzip, from its beginning to its end.

    Args:
        path: the file.

    Raises (as does `take`):
        OSError: it cannot be read.
        zlib.error: damaged gzip, or members that hold next to nothing.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - `close` closes it
        self._packed = self._file.read(2) == b"\x1f\x8b"
        self._file.seek(0)
        self._member: Any = None
        self._rest, self._members, self._given = b"", 0, 0

    def __enter__(self) -> Unpacked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def take(self, count: int) -> bytes:
        """The next bytes, fewer where the file ends before."""
        if not self._packed:
            return self._file.read(count)
        parts, left = [], count
        while left > 0:
            part = self._next(left)
            if not part:
                break
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def skip(self, count: int) -> None:
        """Pass over bytes without keeping them."""
        while count > 0 and (part := self.take(min(count, CHUNK))):
            count -= len(part)

    def _next(self, most: int) -> bytes:
        """Some bytes of the members, none at the end of the file."""
        while True:
            if not self._rest:
                self._rest = self._file.read(CHUNK)
            if not self._rest:
                return b""
            if self._member is None:
                self._rest = self._rest.lstrip(b"\0")  # padding after a member
                if not self._rest:
                    continue
                self._member = zlib.decompressobj(wbits=31)
                self._members += 1
                if self._members > EMPTY_MEMBERS + self._given // MEMBER:
                    raise zlib.error("its members hold next to nothing")
            part = self._member.decompress(self._rest, most)
            ended = self._member.eof
            self._rest = self._member.unused_data if ended else self._member.unconsumed_tail
            if ended:
                self._member = None
            self._given += len(part)
            if part:
                return part


def read_head(path: str | Path) -> bytes:
    """The header of a NIfTI file with its extensions, all that stands before the voxels.

    Raises:
        EOFError: it ends before.
        ValueError: more than LARGEST_HEADER stands before its voxels.
        OSError, zlib.error: see `Unpacked`.
    """
    with Unpacked(path) as file:
        head = file.take(NIFTI_1.length)
        layout = NIFTI_1
        if head[4:7] == b"n+2":
            layout = NIFTI_2
            head += file.take(layout.length - NIFTI_1.length)
        if len(head) < layout.length:
            raise EOFError("it ends within its header")
        order = next((order for order in "<>" if 1 <= number(head, order, layout.axes) <= 7), "<")
        offset = number(head, order, layout.offset)
        if not offset <= LARGEST_HEADER:
            raise ValueError(f"its voxels begin at byte {offset:.4g}")
        parts, place = [head], layout.length
        while head[layout.length - 4] and len(said := file.take(8)) == 8:
            length = int(number(said, order, (0, "i")))
            if place + length > LARGEST_HEADER:
                raise ValueError(f"an extension of its header has {length} bytes")
            parts += [said, file.take(length - 8) if length > 8 else b""]
            place += length
            if length < 8 or 0 < offset < place + 16:
                break
        return b"".join(parts)


def number(data: bytes, order: str, place: tuple[int, str]) -> float:
    """A number of a header, by its place and its kind in the words of `struct`."""
    return float(struct.unpack_from(f"{order}{place[1]}", data, place[0])[0])


def read_voxels(path: str | Path, image: nib.Nifti1Image, shape: Sequence[int], stored: bool = False) -> np.ndarray:
    """The voxels of a NIfTI file in the unit that its header gives, slab by slab: memory holds little else.

    Args:
        path: the file.
        image: its header, see `synthzoo.io.opening.open_nifti`.
        shape: (D, H, W) or (D, H, W, C), without axes of one voxel between W and C.
        stored: give integers and floats as they are stored, in their own type and without the header's scaling.

    Returns:
        float32 (C, D, H, W), the magnitude of complex voxels; as nibabel scales them, bit for bit.

    Raises:
        EOFError: fewer bytes than the header promises.
        OSError, zlib.error: see `Unpacked`.
    """
    data = image.dataobj
    kind = data.dtype.newbyteorder("=") if stored else np.float32
    array = np.empty((*shape[3:], *shape[:3]) if len(shape) > 3 else (1, *shape), kind)
    with Unpacked(path) as file:
        file.skip(int(data.offset))
        for volume in array:
            for rows, planes in slabs(shape[:3], data.dtype.itemsize):
                size = (shape[0], rows.stop - rows.start, planes.stop - planes.start)
                raw = file.take(int(np.prod(size, dtype=np.int64)) * data.dtype.itemsize)
                if len(raw) < np.prod(size, dtype=np.int64) * data.dtype.itemsize:
                    raise EOFError(f"{path} ends before its last voxel")
                spec = (size, data.dtype, 0, *((1.0, 0.0) if stored else (data.slope, data.inter)))
                part = nib.arrayproxy.ArrayProxy(io.BytesIO(raw), spec, mmap=False)
                complex_ = data.dtype.kind == "c"
                whole = np.abs(np.asarray(part)) if complex_ else np.asarray(part, dtype=array.dtype)
                volume[:, rows, planes] = whole  # the real part alone of a complex image is none
    return array


def slabs(shape: Sequence[int], itemsize: int) -> Iterator[tuple[slice, slice]]:
    """Rows and planes, in the order of a file, of parts of a volume (D, H, W) that have about SLAB bytes."""
    line = shape[0] * itemsize
    rows = min(max(SLAB // line, 1), shape[1])
    planes = max(SLAB // (line * shape[1]), 1) if rows == shape[1] else 1
    for plane in range(0, shape[2], planes):
        for row in range(0, shape[1], rows):
            yield slice(row, min(row + rows, shape[1])), slice(plane, min(plane + planes, shape[2]))

"""Colour pictures as 3D Slicer saves them: volumes of one slice in NIfTI or NRRD, red, green, blue and maybe alpha.

Slicer holds a photograph as a vector volume. ITK, which writes it, has two ways in NIfTI: the data types RGB24 (128)
and RGBA32 (2304) for bytes, the fifth dimension for 16 bits. In NRRD the colours are the first axis (Teem's definition
of the format, https://teem.sourceforge.net/nrrd/format.html). Columns run along the first axis of the grid that is
longer than 1, rows along the second one, as Slicer puts the pixels of a PNG; the file's directions turn nothing.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthzoo.errors import UserError
from synthzoo.io.kinds import first_bytes, format_of
from synthzoo.io.opening import open_nifti
from synthzoo.io.unpacking import read_voxels

COLOURS = (3, 4)  # RGB, RGBA
LARGEST = 8192  # pixels of a side
LONGEST_HEADER = 1 << 16  # bytes of an NRRD's header
TYPES = {
    **dict.fromkeys(("unsigned char", "uchar", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("unsigned short", "ushort", "unsigned short int", "uint16", "uint16_t"), "u2"),
}
PACKED = ("gzip", "gz")
ALONG = ("domain", "space")  # kinds of NRRD axes along which pixels lie


class Header(NamedTuple):
    """What a header says of a colour picture.

    Attributes:
        grid: voxels along x, y and z, one of them 1.
        colours: numbers of a pixel, 3 or 4.
        kind: of a number, uint8 or uint16.
        spacing: mm along x, y and z.
        begin: byte of an NRRD file at which its numbers begin.
        packed: whether these are gzip.
    """

    grid: tuple[int, ...]
    colours: int
    kind: np.dtype
    spacing: tuple[float, ...]
    begin: int = 0
    packed: bool = False


def is_colour_volume(path: str | Path) -> bool:
    """Whether a NIfTI or NRRD file is one slice in colour, by its header; False for any other or damaged file."""
    return colour_header(path) is not None


def colour_header(path: str | Path) -> Header | None:
    """The header of one slice in colour, None for any other file."""
    path = Path(path)
    if not path.is_file():
        return None
    try:
        form = format_of(path)
        found = _of_nifti(path) if form == "nifti" else _of_nrrd(first_bytes(path, LONGEST_HEADER))
    except Exception:  # nibabel raises many kinds for damaged headers; whoever reads the file says what is wrong
        return None
    if found is None or found.colours not in COLOURS or found.kind.str[1:] not in ("u1", "u2"):
        return None
    return found if len(found.grid) == 3 and min(found.grid) == 1 else None


def read_colour_volume(path: str | Path) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Read one slice in colour.

    Returns:
        bands uint8 (3, H, W), 16 bits brought to 8; mm between rows and between columns, None for 1 mm, which Slicer
        gives to any PNG.

    Raises:
        UserError: no slice in colour, too large, transparent, damaged or cut short.
    """
    path = Path(path)
    header = colour_header(path)
    if header is None:
        raise UserError(f"picture {path} is no single slice in colour: save it as PNG.")
    if max(header.grid) > LARGEST:
        said = " x ".join(map(str, header.grid))
        raise UserError(f"picture {path} is {said} pixels, but at most {LARGEST} a side: make it smaller.")
    try:
        numbers = _nifti_numbers(path, header) if header.begin == 0 else _nrrd_numbers(path, header)
    except (OSError, EOFError, zlib.error, ValueError):
        raise UserError(f"picture {path} is damaged or cut short (pixels are missing): copy it again.") from None
    thin = max(axis for axis in range(3) if header.grid[axis] == 1)
    numbers = numbers.squeeze(thin + 1)
    bands = np.stack([in_bytes(band).T for band in numbers])
    across, down = (float(mm) for axis, mm in enumerate(header.spacing) if axis != thin)
    known = math.isfinite(across * down) and min(across, down) > 0 and (across, down) != (1.0, 1.0)
    return without_alpha(bands, path), (down, across) if known else None


def in_bytes(numbers: np.ndarray) -> np.ndarray:
    """Numbers of 8 or 16 bits as uint8, white is the highest of either; rounded."""
    if numbers.dtype.itemsize == 1:
        return numbers
    whole, rest = np.divmod(numbers, 257)
    return (whole + (rest > 128)).astype(np.uint8)


def without_alpha(bands: np.ndarray, path: Path) -> np.ndarray:
    """Red, green and blue of bands uint8 (3 or 4, H, W), the fourth of which is alpha.

    Raises:
        UserError: transparent pixels, for nobody knows what lies behind them.
    """
    if len(bands) == 4 and bands[3].min() < 255:
        raise UserError(f"picture {path} is transparent in places: save it without transparency.")
    return bands[:3]


def _of_nifti(path: Path) -> Header | None:
    image = open_nifti(path)
    shape, kind = tuple(int(n) for n in image.shape), image.get_data_dtype()
    spacing = tuple(float(mm) for mm in image.header.get_zooms()[:3])
    if kind.fields:
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        return Header(
            (*shape, 1)[: max(3, len(shape))], len(kind.fields), np.dtype(next(iter(kind.fields.values()))[0]), spacing
        )
    scaled = (image.dataobj.slope, image.dataobj.inter) != (1.0, 0.0)
    if len(shape) != 5 or shape[3] != 1 or scaled:
        return None
    return Header(shape[:3], shape[4], kind, spacing)


def _nifti_numbers(path: Path, header: Header) -> np.ndarray:
    """Numbers (colours, x, y, z)."""
    image = open_nifti(path)
    if image.get_data_dtype().fields:
        pixels = read_voxels(path, image, header.grid, stored=True)[0]
        return np.stack([pixels[name] for name in pixels.dtype.names])
    return read_voxels(path, image, (*header.grid, header.colours), stored=True)


def _of_nrrd(head: bytes) -> Header | None:
    """A header by the bytes with which a file begins; None where it is no NRRD, or its numbers lie in another file."""
    end = min((at + len(gap) for gap in (b"\n\n", b"\r\n\r\n") if (at := head.find(gap)) >= 0), default=0)
    if not head.startswith(b"NRRD000") or not end:
        return None
    lines = [line for line in head[:end].decode("latin-1").splitlines()[1:] if line[:1] != "#" and ":=" not in line]
    said = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    elsewhere = {"data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip"} & set(said)
    encoding, kind = said["encoding"].lower(), TYPES.get(said["type"].lower(), "")
    kinds, sizes = said.get("kinds", "").split(), tuple(int(size[:9]) for size in said["sizes"].split())
    if elsewhere or encoding not in ("raw", *PACKED) or not kind or not 3 <= len(sizes) == len(kinds) <= 4:
        return None
    if kinds[0] in ALONG or any(word not in ALONG for word in kinds[1:]) or min(sizes) < 1:
        return None
    order = ">" if said.get("endian", "little").lower() == "big" else "<"
    grid = (*sizes[1:], 1)[:3]
    spacing = _nrrd_spacing(said, len(sizes))
    return Header(grid, sizes[0], np.dtype(order + kind), (*spacing, 1.0)[:3], end, encoding in PACKED)


def _nrrd_spacing(said: dict[str, str], axes: int) -> tuple[float, ...]:
    """mm along the axes of pixels; 1 where the header says nothing."""
    vectors = said.get("space directions", "").replace("none", "").replace(" ", "").strip("()").split(")(")
    if len(vectors) == axes - 1 and all(vectors):
        return tuple(math.hypot(*(float(part) for part in vector.split(","))) for vector in vectors)
    spacings = said.get("spacings", "").split()[1:]
    return tuple(map(float, spacings)) if len(spacings) == axes - 1 else (1.0,) * (axes - 1)


def _nrrd_numbers(path: Path, header: Header) -> np.ndarray:
    """Numbers (colours, x, y, z)."""
    shape = (header.colours, *header.grid)
    count = math.prod(shape) * header.kind.itemsize
    with open(path, "rb") as file:
        file.seek(header.begin)
        raw = file.read(2 * count + LONGEST_HEADER if header.packed else count)  # no gzip of this is longer
    if header.packed:
        raw = zlib.decompressobj(wbits=31).decompress(raw, count)
    if len(raw) < count:
        raise EOFError(f"{path} ends before its last pixel")
    return np.frombuffer(raw, header.kind).reshape(shape, order="F")

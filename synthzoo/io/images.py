"""2D images as levels in [0, 1], with the size of their pixels.

They are PNG, JPEG, DICOM (CR, DX, MG and single frames), or one slice in colour as 3D Slicer saves it.
"""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from synthzoo.errors import UserError
from synthzoo.io.colour_volumes import LARGEST, is_colour_volume, read_colour_volume, without_alpha
from synthzoo.io.dicom_pixels import frames_of, pixels_of, read_header, spacing_of
from synthzoo.io.jpeg import CONVERT, grey_of, jpeg_size
from synthzoo.io.kinds import ENDINGS, first_bytes, format_of_content, what_is

MAX_BYTES = 1 << 29  # of a file: 16 bits a colour of the largest picture, not compressed
READ = ("png", "jpeg", "dicom")


class Picture(NamedTuple):
    """A 2D image: levels float32 (C, H, W) in [0, 1], and mm between rows and between columns, None where unknown."""

    levels: np.ndarray
    spacing_mm: tuple[float, float] | None


def read_picture(
    path: str | Path, channels: int = 1, colour: str = "refuse", needed: str = "a grey picture", remedy: str = CONVERT
) -> Picture:
    """Read a 2D image.

    Grey of 16 bits keeps all its levels: level k is k / 65535. Colours have 8 bits, whatever the file has; a palette is
    looked up, alpha that is opaque everywhere is left out, and EXIF says which way is up. DICOM is shown as
    `synthzoo.io.dicom_pixels` says.

    Args:
        path: PNG, JPEG, DICOM of one frame, or one slice in colour in NIfTI or NRRD, see `synthzoo.io.colour_volumes`;
            the content decides, not the name.
        channels: 1 for grey, 3 for red, green and blue (grey images three times).
        colour: what one channel is made of: "refuse" takes channels that agree within a few grey levels, "average" the
            mean of any.
        needed, remedy: for the sentence that refuses colour.

    Raises:
        UserError: missing, empty, damaged, cut short, another kind of file, several frames, too large, transparent,
            in colours for print, or in colour where grey is needed.
    """
    path = Path(path)
    if channels not in (1, 3):
        raise UserError(f"channels is {channels!r}, but a picture has 1 or 3.")
    if path.is_dir():
        raise UserError(f"picture {path} is a folder: give one file.")
    if not path.exists():
        raise UserError(f"picture {path} does not exist: check the path.")
    head = first_bytes(path)
    form = format_of_content(head)
    if not head:
        raise UserError(f"picture {path} is an empty file (0 bytes) or cannot be read: copy or export it again.")
    coloured = form not in READ and is_colour_volume(path)
    if form not in READ and not coloured:
        endings = ", ".join(ending for known in READ for ending in ENDINGS[known])
        raise UserError(f"picture {path} is {what_is(head) or 'no picture'}: give PNG, JPEG or DICOM ({endings}).")
    spacing = None
    if coloured:
        bands, spacing = read_colour_volume(path)
    elif form == "dicom":
        dataset = read_header(path)
        _expect_size(path, int(dataset.Columns), int(dataset.Rows))
        if frames_of(dataset) > 1:
            raise UserError(f"picture {path} has {frames_of(dataset)} frames, but one is needed: give it as a video.")
        bands, spacing = pixels_of(dataset, path), spacing_of(dataset)
        bands = bands[None] if bands.ndim == 2 else bands.transpose(2, 0, 1)
    else:
        bands = _bands(path, form)
    if len(bands) == 3 and channels == 1:
        bands = grey_of(bands, f"picture {path}", colour, needed, remedy)[None]
    if bands.dtype != np.float32:
        bands = bands.astype(np.float32) / np.float32(np.iinfo(bands.dtype).max)
    return Picture(np.ascontiguousarray(np.repeat(bands, channels // len(bands), axis=0)), spacing)


def _bands(path: Path, form: str) -> np.ndarray:
    """Channels of a PNG or JPEG, uint8 or uint16 (1, H, W), or uint8 (3, H, W)."""
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"picture {path} has more than {MAX_BYTES >> 20} MiB: save it again, or make it smaller.")
    try:
        if form == "jpeg":
            jpeg_size(path.read_bytes(), f"picture {path}")
        else:
            _expect_size(path, *struct.unpack(">II", first_bytes(path)[16:24]))  # Pillow raises at some sizes
        with Image.open(path, formats=["PNG", "JPEG"]) as opened:
            _expect_size(path, *opened.size)
            opened.load()
            picture = ImageOps.exif_transpose(opened)  # telephones store how the picture was held
    except UserError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, struct.error):
        raise UserError(f"picture {path} is a damaged {form.upper()}: copy or export it again.") from None
    if picture.mode.startswith("I"):
        return np.asarray(picture).astype(np.uint16)[None]
    if picture.mode in ("CMYK", "YCCK"):
        raise UserError(f"picture {path} has colours for print ({picture.mode}): save it as RGB or in grey.")
    if "A" in picture.mode or "transparency" in picture.info:
        return without_alpha(np.asarray(picture.convert("RGBA")).transpose(2, 0, 1), path)
    if picture.mode in ("L", "1"):
        return np.asarray(picture.convert("L"))[None]
    return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)


def read_label_picture(path: str | Path) -> np.ndarray:
    """The integers of a flat label map, (H, W) of a grey PNG of 8 or 16 bits, as they stand.

    Raises:
        UserError: see `read_picture`; another format than PNG, or colours.
    """
    path = Path(path)
    head = first_bytes(path)
    if format_of_content(head) != "png":
        raise UserError(f"label map {path} is {what_is(head) or 'no picture'}: a flat one must be a PNG.")
    bands = _bands(path, "png")
    if len(bands) != 1:
        raise UserError(f"label map {path} has colours: save it with one number a pixel, in grey of 8 or 16 bits.")
    return bands[0]


def _expect_size(path: Path, width: int, height: int) -> None:
    """Refuse a size before anything is decoded."""
    if max(width, height) > LARGEST:
        said = f"{width} x {height}"
        raise UserError(f"picture {path} is {said} pixels, but at most {LARGEST} a side: make it smaller.")


def png_bytes(array: np.ndarray) -> bytes:
    """PNG of [H, W] or [3, H, W]: floats in [0, 1] with 16 bits in grey and 8 in colour, integers as they are."""
    if array.dtype.kind == "f":
        array = np.rint(array * (65535 if array.ndim == 2 else 255)).astype(np.uint16 if array.ndim == 2 else np.uint8)
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(array if array.ndim == 2 else array.transpose(1, 2, 0))).save(buffer, "PNG")
    return buffer.getvalue()

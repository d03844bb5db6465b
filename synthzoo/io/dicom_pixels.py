"""DICOM pictures and videos: grey levels as they are meant to be shown, sizes of pixels, rates of frames.

    levels = VOI(slope * stored + intercept), in [0, 1], and 1 - levels for MONOCHROME1

VOI is the table or else the window of the file, the first of several, by DICOM's own functions (PS3.3 C.11.2). Padding,
which is no part of the image (PS3.3 C.7.5.1.1.2), is black.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.encaps import generate_pixel_data_frame
from pydicom.pixel_data_handlers.util import apply_modality_lut, apply_voi, convert_color_space

from synthzoo.errors import UserError, first_line, printable
from synthzoo.io.jpeg import MAX_SIDE, decode_jpeg, grey_of
from synthzoo.io.jpeg_lossless import decode_lossless
from synthzoo.io.opening import open_dicom
from synthzoo.io.unpacking import MAX_VOXELS

MAX_BYTES = 1 << 30  # of stored pixels
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")  # pydicom's own handlers lack it
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")  # in this order
MAX_FPS = 10_000.0
CENTIMETRES = 3  # unit of a region of an ultrasound picture


@contextmanager
def readable(named: str) -> Iterator[None]:
    """Say in one sentence what a DICOM file has damaged: its elements are only read when they are asked for.

    Args:
        named: what it is, such as "image a.dcm".

    Raises:
        UserError: whatever pydicom or a conversion raises.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # pydicom raises many kinds for damaged elements
        raise UserError(f"{named} is damaged DICOM ({first_line(error)}): export it again.") from error


def integer_of(dataset: pydicom.Dataset, key: str, default: int = 0) -> int:
    """An integer element; `default` where it is missing or empty.

    Raises:
        ValueError: it holds something else.
    """
    value = dataset.get(key)
    if value is None or value == "":
        return default
    try:
        if (number := int(value)) == float(value):
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{key} is {printable(str(value), 40)}, which is no integer")


def number_of(dataset: pydicom.Dataset, key: str) -> float | None:
    """The first number of an element that may be missing; None where it is no finite number."""
    try:
        number = float(_first(dataset.get(key)))
    except Exception:  # pydicom raises many kinds for damaged elements
        return None
    return number if math.isfinite(number) else None


def read_header(path: str | Path) -> pydicom.Dataset:
    """A DICOM file, its pixels not decoded yet.

    Raises:
        UserError: missing, unreadable, no DICOM, cut short, without pixels, or larger than memory should hold.
    """
    path = Path(path)
    try:
        dataset = open_dicom(path)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"image {path} does not exist: check the path.") from None
    except Exception as error:  # pydicom raises many kinds for damaged files
        raise UserError(f"image {path} is not readable DICOM ({first_line(error)}): export it again.") from None
    with readable(f"image {path}"):
        expect_pixels(dataset, f"image {path}")
    return dataset


def expect_pixels(dataset: pydicom.Dataset, named: str) -> None:
    """Make sure that a data set has pixels, in a size that can be and that memory holds.

    Args:
        dataset: see `readable` for what it may raise beside the following.
        named: what it is, such as "image a.dcm".

    Raises:
        UserError: no pixels, an impossible size or kind of pixels, or too many of them.
    """
    if "PixelData" not in dataset:
        what = str(dataset.get("SOPClassUID", "")) or "no class"
        name = pydicom.uid.UID(what).name
        raise UserError(f"{named} is DICOM without pixels ({name}): give a file that holds an image.")
    rows, columns, frames = integer_of(dataset, "Rows"), integer_of(dataset, "Columns"), frames_of(dataset)
    if not 0 < rows <= 4 * MAX_SIDE or not 0 < columns <= 4 * MAX_SIDE or frames < 1:
        said = "" if frames == 1 else f" in {frames} frames"
        raise UserError(f"{named} claims {rows} x {columns} pixels{said}: export it again.")
    samples, bits = integer_of(dataset, "SamplesPerPixel", 1), integer_of(dataset, "BitsAllocated")
    if samples not in (1, 3) or bits not in (1, 8, 16, 32, 64):
        raise UserError(f"{named} claims {samples} values of {bits} bits a pixel: export it again.")
    if rows * columns * samples * frames > MAX_VOXELS:
        raise UserError(
            f"{named} has {rows} x {columns} pixels in {frames} frames, and {MAX_VOXELS} values are taken at most: cut "
            "it or make it smaller, or set SYNTHZOO_MAX_VOXELS where the memory is there."
        )
    if rows * columns * samples * frames * bits // 8 > MAX_BYTES:
        raise UserError(f"{named} holds more than {MAX_BYTES >> 20} MiB of pixels: cut it or make it smaller.")
    if not isinstance(dataset.PixelData, bytes):
        raise UserError(f"{named} holds no bytes as its pixels: export it again.")


def frames_of(dataset: pydicom.Dataset) -> int:
    """The number of frames."""
    return integer_of(dataset, "NumberOfFrames", 1) or 1


def pixels_of(dataset: pydicom.Dataset, path: str | Path) -> np.ndarray:
    """Decoded pixels: uint8 (..., H, W, 3) in RGB, or float32 levels (..., H, W) in [0, 1] as they are to be shown.

    Raises:
        UserError: cut short, damaged, or compressed in a way that cannot be decoded here.
    """
    try:
        lossless = str(dataset.file_meta.get("TransferSyntaxUID", "")) in JPEG_LOSSLESS
        stored = lossless_frames(dataset, path) if lossless else dataset.pixel_array
        if integer_of(dataset, "SamplesPerPixel", 1) > 1:
            return _expect_shape(_coloured(stored, dataset), dataset, path, 3)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            from pydicom.pixel_data_handlers.util import apply_color_lut

            coloured = apply_color_lut(stored, dataset)
            return _expect_shape((coloured >> (8 * (coloured.itemsize - 1))).astype(np.uint8), dataset, path, 3)
        levels = _expect_shape(shown_levels(stored, dataset), dataset, path)
    except (UserError, MemoryError):
        raise
    except (NotImplementedError, RuntimeError) as error:
        if name := compression_of(dataset):
            raise UserError(
                f"image {path} is compressed as {name}, which cannot be decoded here ({first_line(error)}): "
                "convert it, for example with gdcmconv --raw IN OUT."
            ) from None
        raise UserError(f"image {path} is damaged ({first_line(error)}): export it again.") from None
    except Exception as error:  # pydicom, Pillow and NumPy raise many kinds for damaged pixels
        raise UserError(f"image {path} is damaged or cut short ({first_line(error)}): copy it again.") from None
    if not np.isfinite(levels).all():
        raise UserError(f"image {path} has a window or a rescaling that gives no numbers: export it again.")
    return levels


def _coloured(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Stored colours (..., H, W, 3) as uint8 in RGB, a frame at a time: what is computed takes much more."""
    if stored.ndim > 3:
        return np.stack([_coloured(frame, dataset) for frame in stored])
    return _as_bytes(convert_color_space(stored, str(dataset.PhotometricInterpretation), "RGB"), dataset)


def _expect_shape(pixels: np.ndarray, dataset: pydicom.Dataset, path: str | Path, *bands: int) -> np.ndarray:
    """The same pixels, if they have the size that the header states: a damaged table makes fewer of them."""
    frames = frames_of(dataset)
    stated = (*[frames] * (frames > 1), int(dataset.Rows), int(dataset.Columns), *bands)
    if pixels.shape != stated:
        said = " x ".join(map(str, pixels.shape))
        raise UserError(f"image {path} is damaged: {said} values are there, not {' x '.join(map(str, stated))}.")
    return pixels


def compression_of(dataset: pydicom.Dataset) -> str:
    """The name of the compression of a data set's pixels; "" for none, and where nobody knows the code."""
    try:
        syntax = pydicom.uid.UID(dataset.file_meta.TransferSyntaxUID)
        return syntax.name if syntax.is_compressed else ""
    except Exception:  # pydicom raises many kinds for damaged elements and codes of its own
        return ""


def rescaled(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Stored values in their unit: by the table of the file, else float64 by its slope and intercept, else as stored.

    Raises:
        ValueError: slope or intercept is no number.
    """
    if dataset.get("ModalityLUTSequence"):
        return apply_modality_lut(stored, dataset)
    slope, intercept = scale_of(dataset)
    return stored if (slope, intercept) == (1.0, 0.0) else stored.astype(np.float64) * slope + intercept


def scale_of(dataset: pydicom.Dataset) -> tuple[float, float]:
    """Slope and intercept, 1 and 0 where they are missing or empty; each may stand alone.

    Raises:
        ValueError: one of them is no finite number, or several.
    """
    found = []
    for key, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        value = dataset.get(key)
        number = default if value is None or value == "" else number_of(dataset, key)
        if number is None or isinstance(value, (list, tuple, pydicom.multival.MultiValue)):
            raise ValueError(f"{key} is {printable(str(value), 40)}, which is no number")
        found.append(number)
    return found[0], found[1]


def lossless_frames(dataset: pydicom.Dataset, path: str | Path) -> np.ndarray:
    """Stored values of grey frames in JPEG Lossless, (H, W) or (T, H, W), of the type that the file states.

    Raises:
        UserError: see `decode_lossless`; frames are missing or have another size than the file states.
    """
    count, bits = frames_of(dataset), int(dataset.BitsAllocated)
    parts = list(generate_pixel_data_frame(dataset.PixelData, count))
    frames = [decode_lossless(part, f"image {path}") for part in parts]
    shape = (int(dataset.Rows), int(dataset.Columns))
    if len(frames) != count or any(frame.shape != shape for frame in frames) or bits not in (8, 16):
        raise UserError(f"image {path} does not hold {count} frames of {shape[0]} x {shape[1]} pixels: copy it again.")
    stored = np.stack(frames).astype(np.uint8 if bits == 8 else np.uint16)
    stored = stored.view(stored.dtype.str.replace("u", "i")) if int(dataset.get("PixelRepresentation") or 0) else stored
    return stored if count > 1 else stored[0]


def shown_levels(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Stored values as levels to be shown, float32 in [0, 1]: rescaled, windowed, MONOCHROME1 turned to white on black.

    Without a table or window, black and white are the ends of the stored bits.
    """
    if stored.ndim > 2:  # a frame at a time: what is computed takes several times eight bytes a pixel
        shown = np.empty(stored.shape, np.float32)
        for frame, levels in zip(stored, shown):
            levels[...] = shown_levels(frame, dataset)
        return shown
    values = rescaled(stored, dataset)
    if dataset.get("VOILUTSequence"):
        table = dataset.VOILUTSequence[0].LUTDescriptor
        levels = apply_voi(values.astype(stored.dtype), dataset).astype(np.float64) / (2.0 ** int(table[2]) - 1)
    elif "WindowCenter" in dataset and "WindowWidth" in dataset:
        levels = _windowed(np.asarray(values, np.float64), dataset)
    else:
        bits, signed = int(dataset.BitsStored), int(dataset.get("PixelRepresentation") or 0)
        low = -(2.0 ** (bits - 1)) if signed else 0.0
        levels = (stored.astype(np.float64) - low) / (2.0**bits - 1)
    levels = np.clip(levels, 0, 1)
    levels = (1 - levels if dataset.PhotometricInterpretation == "MONOCHROME1" else levels).astype(np.float32)
    padding = padded(stored, dataset)
    if padding is not None:
        levels[padding] = 0
    return levels


def padded(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray | None:
    """Where stored values are padding, bool of their shape; None where the file states none."""
    if dataset.get("PixelPaddingValue") is None:
        return None
    bits = 8 * stored.itemsize
    ends = []
    for key in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = dataset.get(key, ends[0] if ends else None)
        value = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
        # Files state a negative number as unsigned, too, and the other way round.
        value %= 1 << bits
        ends.append(value - (1 << bits) if stored.dtype.kind == "i" and value >= 1 << (bits - 1) else value)
    return (stored >= min(ends)) & (stored <= max(ends))


def _windowed(values: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    centre, width = (float(_first(dataset[key].value)) for key in ("WindowCenter", "WindowWidth"))
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - centre) / width))
    if function == "LINEAR":
        centre, width = centre - 0.5, max(width - 1, 1e-6)
    return (values - centre) / width + 0.5


def spacing_of(dataset: pydicom.Dataset) -> tuple[float, float] | None:
    """Millimetres between rows and between columns, of the patient or else at the detector; None where unknown."""
    for key in SPACINGS:
        try:
            rows, columns = (float(value) for value in dataset.get(key))
        except Exception:  # missing, or not two numbers
            continue
        if 0 < rows < math.inf and 0 < columns < math.inf:
            return rows, columns
    try:
        regions = [one for one in dataset.get("SequenceOfUltrasoundRegions") or () if isinstance(one, pydicom.Dataset)]
    except Exception:  # pydicom raises many kinds for damaged elements
        return None
    for region in regions:
        units = {number_of(region, f"PhysicalUnits{axis}Direction") for axis in "XY"}
        sizes = [abs(number_of(region, f"PhysicalDelta{axis}") or 0) for axis in "YX"]
        if units == {CENTIMETRES} and min(sizes) > 0:
            return 10 * sizes[0], 10 * sizes[1]
    return None


def fps_of(dataset: pydicom.Dataset) -> float | None:
    """Frames per second by FrameTime, FrameTimeVector or CineRate, in this order; None where nothing says."""
    step = number_of(dataset, "FrameTime") or 0
    if step <= 0:
        try:
            steps = [float(step) for step in dataset.get("FrameTimeVector") or ()][1:]
            step = sum(steps) / len(steps)
        except Exception:  # missing, or no numbers
            step = 0
    rates = [1000 / step if step > 0 else 0]
    rates += [number_of(dataset, key) or 0 for key in ("CineRate", "RecommendedDisplayFrameRate")]
    return next((rate for rate in rates if 0 < rate <= MAX_FPS), None)


def grey_frames(
    dataset: pydicom.Dataset, path: str | Path, numbers: list[int], colour: str
) -> Iterator[tuple[int, np.ndarray]]:
    """Frames of ascending numbers as (number, grey levels (H, W)): uint8 of colour, else float32 in [0, 1]."""
    if dataset.file_meta.get("TransferSyntaxUID") == JPEG_BASELINE:
        wanted = set(numbers)
        with readable(f"video {path}"):
            for number, data in enumerate(generate_pixel_data_frame(dataset.PixelData, frames_of(dataset))):
                if number in wanted:
                    yield number, decode_jpeg(data, f"video {path}: frame {number}", colour)
        return
    pixels = pixels_of(dataset, path)
    pixels = pixels if frames_of(dataset) > 1 else pixels[None]
    for number in numbers:
        frame = pixels[number]
        where = f"video {path}: frame {number}"
        yield number, grey_of(frame.transpose(2, 0, 1), where, colour) if frame.ndim == 3 else frame


def _as_bytes(array: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    return array if array.dtype == np.uint8 else (array >> (int(dataset.BitsStored) - 8)).astype(np.uint8)


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, (list, tuple, pydicom.multival.MultiValue)) else value

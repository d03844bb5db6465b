"""DICOM pictures and videos: grey levels as they are meant to be shown, sizes of pixels, rates of frames.

    levels = VOI(slope * stored + intercept), in [0, 1], and 1 - levels for MONOCHROME1

VOI is the table or else the window of the file, the first of several, by DICOM's own functions (PS3.3 C.11.2). Padding,
which is no part of the image (PS3.3 C.7.5.1.1.2), is black.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.encaps import generate_pixel_data_frame
from pydicom.pixel_data_handlers.util import apply_modality_lut, apply_voi, convert_color_space

from synthzoo.errors import UserError
from synthzoo.io.jpeg import MAX_SIDE, decode_jpeg, grey_of
from synthzoo.io.opening import open_dicom

MAX_BYTES = 1 << 30  # of stored pixels
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")  # in this order
CENTIMETRES = 3  # unit of a region of an ultrasound picture


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
        raise UserError(f"image {path} is not readable DICOM ({_first_line(error)}): export it again.") from None
    if "PixelData" not in dataset:
        what = str(dataset.get("SOPClassUID", "")) or "no class"
        name = pydicom.uid.UID(what).name
        raise UserError(f"image {path} is DICOM without pixels ({name}): give a file that holds an image.")
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if not 0 < rows <= 4 * MAX_SIDE or not 0 < columns <= 4 * MAX_SIDE:
        raise UserError(f"image {path} claims {rows} x {columns} pixels: export it again.")
    samples, bits = (int(dataset.get(key) or 1) for key in ("SamplesPerPixel", "BitsAllocated"))
    if rows * columns * samples * frames_of(dataset) * bits // 8 > MAX_BYTES:
        raise UserError(f"image {path} holds more than {MAX_BYTES >> 20} MiB of pixels: cut it or make it smaller.")
    return dataset


def frames_of(dataset: pydicom.Dataset) -> int:
    """The number of frames."""
    return int(dataset.get("NumberOfFrames") or 1)


def pixels_of(dataset: pydicom.Dataset, path: str | Path) -> np.ndarray:
    """Decoded pixels: uint8 (..., H, W, 3) in RGB, or float32 levels (..., H, W) in [0, 1] as they are to be shown.

    Raises:
        UserError: cut short, damaged, or compressed in a way that cannot be decoded here.
    """
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    try:
        stored = dataset.pixel_array
        if int(dataset.get("SamplesPerPixel") or 1) > 1:
            return _as_bytes(convert_color_space(stored, str(dataset.PhotometricInterpretation), "RGB"), dataset)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            from pydicom.pixel_data_handlers.util import apply_color_lut

            coloured = apply_color_lut(stored, dataset)
            return (coloured >> (8 * (coloured.itemsize - 1))).astype(np.uint8)
    except (NotImplementedError, RuntimeError) as error:
        if syntax is not None and syntax.is_compressed:
            raise UserError(
                f"image {path} is compressed as {syntax.name}, which cannot be decoded here ({_first_line(error)}): "
                "convert it, for example with gdcmconv --raw IN OUT."
            ) from None
        raise UserError(f"image {path} is damaged ({_first_line(error)}): export it again.") from None
    except Exception as error:  # pydicom, Pillow and NumPy raise many kinds for damaged pixels
        raise UserError(f"image {path} is damaged or cut short ({_first_line(error)}): copy it again.") from None
    levels = shown_levels(stored, dataset)
    if not np.isfinite(levels).all():
        raise UserError(f"image {path} has a window or a rescaling that gives no numbers: export it again.")
    return levels


def shown_levels(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Stored values as levels to be shown, float32 in [0, 1]: rescaled, windowed, MONOCHROME1 turned to white on black.

    Without a table or window, black and white are the ends of the stored bits.
    """
    values = apply_modality_lut(stored, dataset)
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
        value = dataset.get(key)
        if value and len(value) == 2 and min(map(float, value)) > 0:
            return float(value[0]), float(value[1])
    for region in dataset.get("SequenceOfUltrasoundRegions") or ():
        if region.get("PhysicalUnitsXDirection") == region.get("PhysicalUnitsYDirection") == CENTIMETRES:
            return 10 * abs(float(region.PhysicalDeltaY)), 10 * abs(float(region.PhysicalDeltaX))
    return None


def fps_of(dataset: pydicom.Dataset) -> float | None:
    """Frames per second by FrameTime, FrameTimeVector or CineRate, in this order; None where nothing says."""
    if float(dataset.get("FrameTime") or 0) > 0:
        return 1000 / float(dataset.FrameTime)
    steps = [float(step) for step in dataset.get("FrameTimeVector") or ()][1:]
    if steps and sum(steps) > 0:
        return 1000 * len(steps) / sum(steps)
    for key in ("CineRate", "RecommendedDisplayFrameRate"):
        if float(dataset.get(key) or 0) > 0:
            return float(dataset[key].value)
    return None


def grey_frames(
    dataset: pydicom.Dataset, path: str | Path, numbers: list[int], colour: str
) -> Iterator[tuple[int, np.ndarray]]:
    """Frames of ascending numbers as (number, grey levels (H, W)): uint8 of colour, else float32 in [0, 1]."""
    if dataset.file_meta.get("TransferSyntaxUID") == JPEG_BASELINE:
        wanted = set(numbers)
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


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]

"""DICOM volumes: a folder of slices or one file of many frames, checked before it is believed.

Geometry comes from each slice's own position and orientation, or from the functional groups of an enhanced file, never
from file names, instance numbers or slice thickness. What is not one series on one regular grid is refused, and the
sentence names what is wrong: two series, a gap, a slice that stands twice, planes of several orientations.

    world (LPS) = position + column * spacing_x * x_axis + row * spacing_y * y_axis;  slices in the order of their place
    along x_axis x y_axis
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom

from synthzoo.errors import UserError, first_line
from synthzoo.io.dicom_pixels import (
    compression_of,
    expect_pixels,
    frames_of,
    integer_of,
    readable,
    rescaled,
    scale_of,
)
from synthzoo.io.kinds import first_bytes, format_of_content, stated_modality
from synthzoo.io.opening import open_dicom
from synthzoo.io.unpacking import MAX_VOXELS

SAME = 1e-3  # of direction cosines
UNEVEN = 0.03  # of the median step; rounded positions of real scanners stay below
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
PIXELLESS = ("1.2.840.10008.1.3.10",)  # a DICOMDIR


class Plane(NamedTuple):
    """Where one slice lies: position (3,) and axes (2, 3) in mm LPS, mm between columns and between rows."""

    position: np.ndarray
    axes: np.ndarray
    spacing: tuple[float, float]


def dicom_files(path: str | Path) -> list[Path]:
    """The DICOM files of a folder by their content, or the one file; hidden ones and other files do not count."""
    path = Path(path)
    if path.is_file():
        return [path]
    files = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith(".")]
    marked = [file for file in files if format_of_content(first_bytes(file)) == "dicom"]
    return marked or [file for file in files if file.suffix.lower() in (".dcm", ".ima", ".dicom")]


def modality_of(path: str | Path) -> str:
    """What a DICOM file or folder says that it is, such as "MR"; "" for anything else and where it says nothing."""
    path = Path(path)
    files = dicom_files(path) if path.is_dir() or format_of_content(first_bytes(path)) == "dicom" else []
    for file in files:
        try:
            header = open_dicom(file, stop_before_pixels=True, specific_tags=["Modality", "SOPClassUID"])
            stated = stated_modality(header)
        except Exception:  # pydicom raises many kinds for damaged files; whoever reads it says what is wrong with it
            continue
        if stated:
            return stated
    return ""


def read_series(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a DICOM volume.

    Args:
        path: a folder that holds the slices of one series directly, or a file of many frames.

    Returns:
        array float32 (columns, rows, slices) in the unit that the slope and intercept give, affine [4, 4] float64, RAS.

    Raises:
        UserError: not one series of one size and orientation; slices that are missing, stand twice or have no place;
            colour; damaged or compressed in a way that cannot be decoded here; larger than memory should hold.
    """
    path = Path(path)
    with readable(f"image {path}"):
        return _read_series(path)


def _read_series(path: Path) -> tuple[np.ndarray, np.ndarray]:
    slices = _headers(path)
    _expect_one_series(path, slices)
    planes, counts = [], []
    for file, dataset in slices:
        own = _planes(path, file, dataset)
        planes += own
        counts.append(len(own))
    if len(planes) < 2:
        raise UserError(f"image {path} is 2D or no single series: it holds one slice, and a 3D volume is needed.")
    order, affine = _grid(path, planes)
    size = (len(planes), int(slices[0][1].Rows), int(slices[0][1].Columns))
    if size[0] * size[1] * size[2] > MAX_VOXELS:
        said = " x ".join(map(str, size[::-1]))
        raise UserError(
            f"image {path} has {said} voxels, and {MAX_VOXELS} are taken at most: crop it or make it coarser, or set "
            "SYNTHZOO_MAX_VOXELS where the memory is there."
        )
    volume, places = np.empty(size[::-1], np.float32), iter(np.argsort(order))
    for count in counts:
        file, dataset = slices.pop(0)  # what was read is let go
        for plane in _pixels(path, file, dataset, count):
            volume[:, :, next(places)] = plane.T
    return volume, affine


def _headers(path: Path) -> list[tuple[Path, pydicom.Dataset]]:
    """Every file of the series with its content; pixels are not decoded yet."""
    found = []
    for file in dicom_files(path):
        try:
            dataset = open_dicom(file, force=file.suffix.lower() in (".dcm", ".ima"))
        except UserError:
            raise
        except Exception as error:  # pydicom raises many kinds for damaged files
            raise UserError(
                f"image {path} is not one readable DICOM series: {file.name} ({first_line(error)})."
            ) from None
        with readable(f"image {path}: {file.name}"):
            if str(dataset.get("SOPClassUID", "")) in PIXELLESS:
                continue
            if "PixelData" not in dataset or not integer_of(dataset, "Rows") or not integer_of(dataset, "Columns"):
                raise UserError(f"image {path} is not one readable DICOM series: {file.name} holds no pixels.")
            expect_pixels(dataset, f"image {path}: {file.name}")
        if not hasattr(dataset, "file_meta") or "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta = getattr(dataset, "file_meta", None) or pydicom.dataset.FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        found.append((file, dataset))
    if not found:
        raise UserError(f"image {path} is a folder without DICOM slices: give a volume.")
    return found


def _expect_one_series(path: Path, slices: Sequence[tuple[Path, pydicom.Dataset]]) -> None:
    names: dict[str, list[pydicom.Dataset]] = {}
    for _, dataset in slices:
        names.setdefault(str(dataset.get("SeriesInstanceUID", "")), []).append(dataset)
    if len(names) > 1:
        said = [f"'{_title(group[0])}' with {len(group)} files" for group in names.values()]
        raise UserError(
            f"image {path} holds {len(names)} DICOM series ({', '.join(said[:4])}): put the one that is meant into a "
            "folder of its own."
        )
    for key, what in (("Rows", "rows"), ("Columns", "columns"), ("Modality", "modality")):
        values = {str(dataset.get(key, "")) for _, dataset in slices}
        if len(values) > 1:
            raise UserError(
                f"image {path} is no single series: its slices differ in {what}, {', '.join(sorted(values))}."
            )
    if any(integer_of(dataset, "SamplesPerPixel", 1) > 1 for _, dataset in slices):
        raise UserError(f"image {path} is in colour, but a volume of grey levels is needed.")


def _title(dataset: pydicom.Dataset) -> str:
    """What a series calls itself, else the end of its number."""
    return str(dataset.get("SeriesDescription", "") or dataset.get("ProtocolName", "")) or (
        f"...{str(dataset.get('SeriesInstanceUID', ''))[-12:]}"
    )


def _planes(path: Path, file: Path, dataset: pydicom.Dataset) -> list[Plane]:
    """The place of each frame of a file."""
    count = frames_of(dataset)
    shared = _first(dataset.get("SharedFunctionalGroupsSequence"))
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if count == 1 and not frames:
        return [_plane(path, file, dataset, dataset, dataset)]
    if len(frames) != count:
        raise UserError(f"image {path}: {file.name} has {count} frames and places for {len(frames)}: export it again.")
    found = []
    for frame in frames:
        where, axes, size = (
            _first(frame.get(name)) or _first(shared.get(name) if shared else None)
            for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
        )
        found.append(_plane(path, file, where, axes, size))
    return found


def _first(sequence: Any) -> pydicom.Dataset | None:
    return sequence[0] if sequence else None


def _plane(path: Path, file: Path, where: Any, axes: Any, size: Any) -> Plane:
    try:
        position = np.array([float(v) for v in where.ImagePositionPatient])
        cosines = np.array([float(v) for v in axes.ImageOrientationPatient]).reshape(2, 3)
        rows, columns = (float(v) for v in size.PixelSpacing)
    except (AttributeError, TypeError, ValueError):
        raise UserError(
            f"image {path}: {file.name} does not say where it lies (position, orientation, pixel spacing): export the "
            "series again, or convert it with dcm2niix and look at the result."
        ) from None
    right = np.abs(cosines @ cosines.T - np.eye(2)).max() < 10 * SAME
    if not (right and position.shape == (3,) and np.isfinite(position).all() and 0 < rows < np.inf > columns > 0):
        raise UserError(f"image {path}: {file.name} states an orientation or a pixel size that is impossible.")
    return Plane(position, cosines, (columns, rows))


def _grid(path: Path, planes: Sequence[Plane]) -> tuple[np.ndarray, np.ndarray]:
    """Order of the slices along their normal, and the affine of the grid that they form."""
    first = planes[0]
    if any(np.abs(plane.axes - first.axes).max() > 10 * SAME for plane in planes):
        raise UserError(
            f"image {path} is no volume: its slices have several orientations, as those of a localizer; give one that "
            "has one."
        )
    if any(not np.allclose(plane.spacing, first.spacing, rtol=1e-3) for plane in planes):
        raise UserError(f"image {path} is no single series: its slices differ in pixel spacing.")
    normal = np.cross(*first.axes)
    places = np.array([plane.position for plane in planes])
    along = places @ normal
    order = np.argsort(along, kind="stable")
    steps = np.diff(along[order])
    step = float(np.median(steps))
    if (steps < 0.01 * max(step, 0.01)).any():
        twice = along[order][int(np.argmin(steps))]
        raise UserError(
            f"image {path} has several slices at one place ({twice:.1f} mm along their normal): it holds more than one "
            "image, such as echoes, phases or a repeated scan; put one into a folder of its own."
        )
    wide = np.flatnonzero(np.abs(steps - step) > UNEVEN * step)
    if wide.size:
        at = along[order][wide[0]]
        missing = int(round(float(steps[wide[0]]) / step)) - 1
        said = f"{missing} slices are missing" if missing > 0 else "slices are unevenly spaced"
        raise UserError(
            f"image {path}: {said} after {at:.1f} mm along their normal, where the step is {steps[wide[0]]:.2f} mm "
            f"instead of {step:.2f} mm; give the whole series."
        )
    vector = (places[order][-1] - places[order][0]) / (len(planes) - 1)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = first.axes[0] * first.spacing[0], first.axes[1] * first.spacing[1]
    affine[:3, 2], affine[:3, 3] = vector, places[order][0]
    drift = np.abs(places[order] - (affine[:3, 3] + np.outer(np.arange(len(planes)), vector))).max()
    if drift > max(0.1, 0.5 * UNEVEN * step):
        raise UserError(
            f"image {path}: its slices lie up to {drift:.1f} mm beside a straight line; give a whole series."
        )
    return order, LPS_TO_RAS @ affine


def _pixels(path: Path, file: Path, dataset: pydicom.Dataset, count: int) -> Iterator[np.ndarray]:
    """Frames float32 (rows, columns) of a file, with its slope and intercept, one after the other."""
    try:
        stored = np.asarray(dataset.pixel_array).reshape(count, int(dataset.Rows), int(dataset.Columns))
        del dataset.PixelData
        frames = dataset.get("PerFrameFunctionalGroupsSequence") or [None] * count
        shared = _first(dataset.get("SharedFunctionalGroupsSequence"))
        for part, frame in zip(stored, frames):
            own = rescaled(part, dataset) if frame is None else _scaled(part, frame, shared)
            yield np.asarray(own, np.float32)
    except MemoryError:
        raise
    except Exception as error:  # pydicom and its decoders raise many kinds
        remedy = (
            "decompress the series, for instance with gdcmconv --raw" if compression_of(dataset) else "export it again"
        )
        raise UserError(
            f"image {path}: the pixels of {file.name} cannot be decoded ({first_line(error)}): {remedy}."
        ) from None


def _scaled(stored: np.ndarray, frame: pydicom.Dataset, shared: pydicom.Dataset | None) -> np.ndarray:
    """One frame of an enhanced file in its unit."""
    name = "PixelValueTransformationSequence"
    rule = _first(frame.get(name)) or _first(shared.get(name) if shared else None)
    slope, intercept = (1.0, 0.0) if rule is None else scale_of(rule)
    return stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)

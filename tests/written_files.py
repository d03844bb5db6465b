"""What a result file must hold by its bundle's metadata, a check per kind of file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from synthzoo.io.marks import read_mark
from synthzoo.io.videos import read_video

HU = (-1024, 3071)


def check_written(path: Path, kind: str, metadata: dict[str, Any], source: Path | None) -> None:
    """Fail where a result is not what its metadata says.

    Args:
        path: the file.
        kind: its key under `synthzoo#outputs`.
        metadata: of the bundle.
        source: the volume that it was made from, on whose grid it must lie; None if it was made from nothing.
    """
    check = next((check for ending, check in CHECKS.items() if path.name.endswith(ending)), None)
    assert check, f"{path.name}: no check knows files of this kind; write one in {Path(__file__).name}"
    check(path, kind, metadata, source)
    if path.suffix != ".tsv":  # whose sidecar alone is marked
        record, mark = _record(path), read_mark(path)
        assert mark and mark.record["bundle"] == record["bundle"], f"{path.name} does not say what made it"
        of_an_input = "input" in record and kind in ("heat_map", "confidence", "label")
        assert mark.synthetic != of_an_input, f"{path.name} says '{mark}'"


def _volume(path: Path, kind: str, metadata: dict[str, Any], source: Path | None) -> None:
    image = nib.load(path)
    voxels = np.asarray(image.dataobj)
    assert np.isfinite(voxels).all()
    assert image.header.get_xyzt_units()[0] == "mm"
    if source and metadata["synthzoo"]["task"] == "synthesis":  # painted on a label map: on its own grid, at its place
        assert list(image.shape) == _shape(metadata)
        middles = [(i.affine @ [*(np.array(i.shape[:3]) / 2), 1])[:3] for i in (image, nib.load(source))]
        assert np.linalg.norm(middles[0] - middles[1]) < 60
    elif source and metadata["synthzoo"]["outputs"][kind].get("finer_grid"):
        return _finer(image, nib.load(source))
    elif source:
        scan = nib.load(source)
        assert image.shape == scan.shape
        assert np.allclose(image.affine, scan.affine, atol=1e-4)
    else:
        assert list(image.shape) == _shape(metadata)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    if kind in ("image", "heat_map", "confidence"):
        assert np.issubdtype(voxels.dtype, np.floating)
        low, high = HU if path.name.endswith("_ct.nii.gz") else (0, 1)
        assert low <= voxels.min() and voxels.max() <= high
        assert voxels.std() > 0


def _finer(image: Any, scan: Any) -> None:
    """The scan's field of view with its voxels split, in its own unit."""
    factors = np.array(image.shape) / np.array(scan.shape)
    assert (factors == np.round(factors)).all() and factors.max() > 1
    for corner in (np.zeros(3), np.array(scan.shape)):
        ends = [i.affine @ [*(corner * k - 0.5), 1] for i, k in ((image, factors), (scan, np.ones(3)))]
        assert np.allclose(*ends, atol=1e-3)
    fine, own = (np.asarray(i.dataobj) for i in (image, scan))
    assert np.issubdtype(fine.dtype, np.floating) and fine.min() >= own.min() - 1e-3 * np.ptp(own)
    assert 0.7 * np.ptp(own) < np.ptp(fine) < 1.5 * np.ptp(own)


def _video(path: Path, kind: str, metadata: dict[str, Any], source: Path | None) -> None:
    frames, fps = read_video(path)
    assert list(frames.shape) == _shape(metadata)
    facts = _record(path)
    assert fps == facts["fps"] and list(frames.shape) == facts["shape"]
    text = json.dumps(metadata["network_data_format"]["outputs"]["pred"]["channel_def"])
    assert f"{fps:g} a second" in text, f"channel_def says {text}, the file holds {fps:g} frames a second"
    grey = frames.astype(np.float32)
    assert grey.max() - grey.min() > 64, "a video of one grey"
    assert (np.abs(np.diff(grey, axis=0)).max((1, 2)) > 4).all(), "two frames in a row are one picture"


def _picture(path: Path, kind: str, metadata: dict[str, Any], source: Path | None) -> None:
    from PIL import Image

    with Image.open(path) as picture:
        modes = ("L", "I;16", "I") if kind == "label" else ("I;16", "I")
        assert picture.mode in modes, f"{path.name} has the mode {picture.mode}, but {modes[0]} is needed"
        pixels = np.asarray(picture)
    facts = _record(path)
    assert list(pixels.shape) == list(facts["shape"])[-2:]
    if source is None:
        assert list(pixels.shape) == _shape(metadata)
    assert kind == "label" or pixels.max() > pixels.min()  # labels may have found nothing


def _table(path: Path, kind: str, metadata: dict[str, Any], source: Path | None) -> None:
    header, *rows = (line.split("\t") for line in path.read_text().splitlines())
    assert header == metadata["synthzoo"]["outputs"][kind]["columns"]
    assert len(rows) == _record(path)["rows"] > 0
    assert all(len(row) == len(header) for row in rows)
    for name, *cells in zip(header, *rows):
        try:
            assert np.isfinite([float(cell) for cell in cells if cell != "n/a"]).all(), f"{name}: {cells}"
        except ValueError:  # a column of texts
            assert all(cells), f"{name} has empty cells"


def _shape(metadata: dict[str, Any]) -> list[int]:
    """Sizes of one result: as `pred`."""
    return metadata["network_data_format"]["outputs"]["pred"]["spatial_shape"]


def _record(path: Path) -> dict[str, Any]:
    """The sidecar: `shape` and `fps` of images and videos, `rows` of tables."""
    (sidecar,) = path.parent.glob("*.json")
    return json.loads(sidecar.read_text())


CHECKS: dict[str, Callable[[Path, str, dict[str, Any], Path | None], None]] = {
    ".nii.gz": _volume,
    ".avi": _video,
    ".mp4": _video,
    ".png": _picture,
    ".tsv": _table,
}

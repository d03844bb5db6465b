"""A child process that reads files as the library does and says what came of it, a line of JSON each.

It has 2 GiB of address space beyond its modules, and reports the memory and the time that each reading took. An answer
is compared with what nibabel, pydicom or PyAV read from the same bytes.
"""

from __future__ import annotations

import gzip
import importlib
import json
import os
import resource
import sys
import time
import traceback
import warnings
from contextlib import suppress
from pathlib import Path

import av
import nibabel as nib
import numpy as np
import pydicom
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from PIL import Image

from synthzoo.errors import UserError
from synthzoo.io.dicom import study_of
from synthzoo.io.kinds import is_input
from synthzoo.io.marks import read_mark
from synthzoo.io.nifti import nifti_bytes, spaces_of
from synthzoo.io.reading import read_image
from synthzoo.io.series import modality_of

SPACE = 2 << 30  # bytes


def main() -> None:
    """Answer {"target": name, "path": file, ...} until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(answer(request.pop("target"), **request)) + "\n")
        answers.flush()


def answer(target: str, path: str, **options) -> dict:
    """What a reading gives: "sentence", "right", "wrong" or "traceback", with seconds of CPU and bytes of memory."""
    read, compare, *modules = TARGETS[target]
    for module in modules:  # PyTorch is large, and is there before memory is bounded
        importlib.import_module(module)
    base = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory counts from here
    size = memory("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (size + SPACE, resource.RLIM_INFINITY))
    began = time.process_time()
    found = None
    try:
        found = read(Path(path), **options)
        said = {"kind": "right", "text": ""}
    except UserError as error:
        said = {"kind": "sentence", "text": str(error)}
    except BaseException:
        said = {"kind": "traceback", "text": traceback.format_exc()}
    said |= {"seconds": time.process_time() - began, "bytes": memory("VmHWM") - base}
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    if said["kind"] == "right":
        try:
            said["text"] = str(compare(Path(path), found))
        except BaseException:
            said |= {"kind": "wrong", "text": traceback.format_exc()}
    return said


def memory(key: str) -> int:
    """A value of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return 1024 * int(line.split()[1])
    return 0


# --- images ----------------------------------------------------------------------------------------------------------


def read_input(path: Path, channels: int = 1):
    """All that happens to a file or folder that is given as an image, up to the network."""
    for kinds in (("volume",), ("image", "video")):
        is_input(path, kinds)
    modality_of(path)
    if path.is_file():
        with suppress(UserError):
            read_mark(path)
    item = read_image(path, channels)
    if item.kind == "volume":
        study_of("case", "identity", given=path)
        shape = item.array.shape[1:]
        spaces = spaces_of(path, shape, item.affine)
        back = nifti_bytes(np.zeros((2, 2, 2), np.uint8), item.affine, False, spaces=spaces)
        return item, back
    return item, None


def compare_input(path: Path, found) -> str:
    """Compare shape, values and geometry with those of other readers."""
    item, back = found
    assert item.array.dtype == np.float32 and item.array.flags.c_contiguous
    assert np.isfinite(item.array).all()
    head = path.read_bytes()[:352] if path.is_file() else b""
    if path.is_dir() or head[128:132] == b"DICM":
        compare_dicom(path, item)
    elif path.name.lower().endswith((".nii", ".nii.gz")):
        compare_nifti(path, item)
    elif head[:4] == b"RIFF" or head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide") or head[:4] == b"\x1a\x45\xdf\xa3":
        compare_video(path, item)
    else:
        compare_picture(path, item)
    if back is not None:
        made = nib.Nifti1Image.from_bytes(back)
        assert np.allclose(made.affine, item.affine, atol=1e-3, rtol=1e-4), (made.affine, item.affine)
    return f"{item.kind} {item.array.shape}"


def compare_nifti(path: Path, item) -> None:
    try:
        image = nib.load(path)
    except (ImageFileError, HeaderDataError):
        return  # nibabel reads on in gzip and in extensions beyond what is needed, and stumbles there
    data = np.asarray(image.dataobj)
    if item.kind == "image":  # a slice in colour
        assert item.array.min() >= 0 and item.array.max() <= 1
        assert sorted((*item.array.shape[1:], 1)) == sorted((*data.shape, 1)[:3])
        return
    data = (np.abs(data) if data.dtype.kind == "c" else data).astype(np.float32)
    data = np.nan_to_num(data, nan=0.0, posinf=np.inf, neginf=-np.inf)  # NaN around an image is background
    if item.kind == "video":
        data = data.reshape(data.shape[0], data.shape[1], -1).transpose(2, 1, 0)
        high = 255 if data.max() > 1 else 1
        assert np.allclose(item.array[0], data / np.float32(high))
        assert item.fps is None or np.isfinite(item.fps) and item.fps > 0
        return
    data = np.squeeze(data)
    assert np.squeeze(item.array).shape == data.shape and np.allclose(np.squeeze(item.array), data, rtol=1e-5)
    assert np.allclose(item.affine, image.affine) and np.isfinite(item.affine).all()


def compare_dicom(path: Path, item) -> None:
    files = [path] if path.is_file() else [file for file in sorted(path.iterdir()) if file.is_file()]
    sets = [pydicom.dcmread(file, force=True) for file in files]
    sets = [one for one in sets if "PixelData" in one]
    for one in sets:
        if "TransferSyntaxUID" not in one.file_meta:
            one.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    rows, columns = int(sets[0].Rows), int(sets[0].Columns)
    frames = sum(int(one.get("NumberOfFrames") or 1) for one in sets)
    if item.kind == "volume":
        assert item.array.shape == (1, columns, rows, frames), (item.array.shape, rows, columns, frames)
        assert np.isfinite(item.affine).all()
        stored = np.concatenate([one.pixel_array.reshape(-1, rows, columns) for one in sets]).astype(np.float64)
        if any("ModalityLUTSequence" in one or "PerFrameFunctionalGroupsSequence" in one for one in sets):
            return
        scales = [
            [default if one.get(key) in (None, "") else float(one.get(key)) for one in sets]
            for key, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
        ]
        if set(scales[0]) == {1.0} and len(set(scales[1])) == 1:
            stored += scales[1][0]
            assert np.allclose(np.sort(item.array.ravel()), np.sort(stored.ravel()), rtol=1e-5)
        return
    assert item.array.min() >= 0 and item.array.max() <= 1
    assert item.array.shape[-2:] == (rows, columns)
    assert item.kind != "video" or item.array.shape[1] == frames
    assert item.fps is None or np.isfinite(item.fps) and item.fps > 0
    assert item.affine is None or np.isfinite(item.affine).all() and (np.diag(item.affine)[:2] > 0).all()


def compare_video(path: Path, item) -> None:
    assert item.kind == "video" and item.array.min() >= 0 and item.array.max() <= 1
    assert item.fps is not None and np.isfinite(item.fps) and 0 < item.fps <= 10_000
    with av.open(str(path), options={"protocol_whitelist": "file"}, metadata_errors="replace") as container:
        stream, packets, frames, last = container.streams.video[0], 0, [], 0
        for packet in container.demux(stream):
            packets += packet.size > 0
            last = packet.pts if packet.size and packet.pts is not None else last
            with suppress(av.error.FFmpegError):  # what stands alone is read by Pillow, whatever the header says of it
                frames += [frame.to_ndarray(format="gray") for frame in packet.decode()]
    # A chunk of an AVI without data repeats a frame, so that times count and not packets.
    assert item.array.shape[1] in (len(frames), packets, last + 1), (item.array.shape, len(frames), packets, last)
    if item.array.shape[1] == len(frames) and {frame.shape for frame in frames} == {item.array.shape[2:]}:
        apart = np.abs(255 * item.array[0] - np.stack(frames)).mean()
        assert apart < 4, apart


def compare_picture(path: Path, item) -> None:
    assert item.kind == "image" and item.array.min() >= 0 and item.array.max() <= 1
    if path.read_bytes()[:4] == b"NRRD":
        return
    with Image.open(path) as opened:
        assert sorted(opened.size) == sorted(item.array.shape[1:])


# --- tables and sidecars ---------------------------------------------------------------------------------------------

CONDITIONS = {
    "age": {"type": "number", "minimum": 20, "maximum": 90, "unit": "years"},
    "count": {"type": "integer", "minimum": 0, "maximum": 9},
    "sex": {"type": "string", "enum": ["F", "M"]},
}


def read_rows(path: Path, which: str):
    """The rows of a table of requests, of participants or of cells."""
    from synthzoo.cases.requests import read_table
    from synthzoo.datasets.participants import read_participants
    from synthzoo.io.tables import table_cells

    if which == "cells":
        return list(table_cells(path, ["age"], "give a file", "the columns are age"))
    return (read_table if which == "requests" else read_participants)(path, CONDITIONS)


def compare_rows(path: Path, rows) -> str:
    """Every value is in its range, and no row is without a line of the file."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":  # a packed table is read by its content, whatever its name
        content = gzip.decompress(content)
    lines = len(content.splitlines())
    for row in rows:
        held = row.get("requested", {}) if isinstance(row, dict) else {}
        assert held.get("age") is None or 20 <= held["age"] <= 90
        assert held.get("count") is None or held["count"] in range(10)
        assert held.get("sex") in (None, "F", "M")
    assert 0 < len(rows) < max(lines, 2)
    return f"{len(rows)} rows"


def read_sidecar(path: Path):
    """Whether a case with this sidecar is done; its file lies beside it."""
    from synthzoo.cases.requests import RequestTable

    root = path.parent
    case = root / "sub-0001"
    case.mkdir(exist_ok=True)
    (case / "sub-0001_T1w.nii.gz").write_bytes(b"x")
    (case / "sub-0001_T1w.json").write_bytes(path.read_bytes())
    with suppress(UserError):
        read_mark(path)
    try:
        return RequestTable(CONDITIONS, {"age": 50}, output_dir=str(root)).skipped
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from None


TARGETS = {
    "image": (read_input, compare_input),
    "rows": (read_rows, compare_rows, "synthzoo.datasets.participants"),
    "sidecar": (read_sidecar, lambda path, found: f"{found} done", "synthzoo.cases.requests"),
}

if __name__ == "__main__":
    main()

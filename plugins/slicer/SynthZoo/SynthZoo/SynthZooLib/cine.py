"""A cine (NIfTI with time as its fourth axis) as a sequence that Slicer plays."""

from __future__ import annotations

import gzip
import os
import struct
import zlib

import numpy as np
import slicer
import vtk

from . import volumes
from .errors import ZooError

TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
HEADER = 348
MS = {8: 1000.0, 16: 1.0, 24: 0.001}  # NIfTI's units of time -> ms
USUAL_FRAME_MS = 40.0


def read_frames(path: str) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Frames [t, k, j, i], voxel to world (RAS, mm), and ms per frame where the file says it.

    Raises:
        ZooError: not NIfTI-1, damaged, or of a voxel type that is not known.
    """
    name = os.path.basename(path)
    try:
        with open(path, "rb") as file:
            raw = file.read()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        order = "<" if struct.unpack("<i", raw[:4])[0] == HEADER else ">"
        if struct.unpack(f"{order}i", raw[:4])[0] != HEADER:
            raise ValueError
        shape = struct.unpack(f"{order}8h", raw[40:56])
        kind = struct.unpack(f"{order}h", raw[70:72])[0]
        pixdim = struct.unpack(f"{order}8f", raw[76:108])
        offset, slope, inter = struct.unpack(f"{order}3f", raw[108:120])
        i, j, k, t = (max(1, int(length)) for length in (shape[1 : 1 + max(0, min(4, shape[0]))] + (1, 1, 1, 1))[:4])
        array = np.frombuffer(raw, order + TYPES[kind], i * j * k * t, int(offset)).reshape(t, k, j, i)
        affine = affine_of(raw, order, pixdim)
    except (OSError, EOFError, zlib.error, struct.error, KeyError, ValueError) as error:
        raise ZooError(f"{name} cannot be read as a cine ({type(error).__name__}): it is no NIfTI-1 file.") from error
    if slope not in (0.0, 1.0) or inter:
        array = array * np.float32(slope or 1.0) + np.float32(inter)
    unit = MS.get(raw[123] & 0x38)
    frame_ms = pixdim[4] * unit if unit and pixdim[4] > 0 else None
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))), affine, frame_ms


def is_video(path: str) -> bool:
    """Whether a file is a cine of more than one frame; who reads it says what else is wrong with it."""
    try:
        return len(read_frames(path)[0]) > 1
    except ZooError:
        return False


def affine_of(raw: bytes, order: str, pixdim: tuple) -> np.ndarray:
    """Voxel to world of a header: sform, else qform, else the spacing alone."""
    qform, sform = struct.unpack(f"{order}2h", raw[252:256])
    affine = np.eye(4)
    if sform > 0:
        affine[:3] = np.array(struct.unpack(f"{order}12f", raw[280:328])).reshape(3, 4)
    elif qform > 0:
        b, c, d, x, y, z = struct.unpack(f"{order}6f", raw[256:280])
        a = max(0.0, 1.0 - b * b - c * c - d * d) ** 0.5
        turn = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        affine[:3, :3] = turn * np.array([pixdim[1], pixdim[2], pixdim[3] * (-1 if pixdim[0] < 0 else 1)])
        affine[:3, 3] = x, y, z
    else:
        affine[:3, :3] = np.diag(pixdim[1:4])
    return affine


def show(scene, path: str, name: str, frame_ms: float | None = None, window=None):
    """A cine as sequence, browser and the volume that plays it; gives (volume, browser, sequence).

    Args:
        scene: where to.
        path: NIfTI-1 with time as its fourth axis.
        name: of the nodes.
        frame_ms: ms per frame; None takes the file's, else 40.
        window: (low, high) for all frames; None takes percentiles of the whole cine.
    """
    frames, affine, own_ms = read_frames(path)
    frame_ms = float(frame_ms or own_ms or USUAL_FRAME_MS)
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(affine[row, column]))
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", scene.GenerateUniqueName(f"{name} frames"))
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("ms")
    for number, frame in enumerate(frames):
        node = slicer.vtkMRMLScalarVolumeNode()
        node.SetName(f"{name} {number}")
        node.SetIJKToRASMatrix(matrix)
        slicer.util.updateVolumeFromArray(node, frame)
        sequence.SetDataNodeAtValue(node, f"{number * frame_ms:g}")
    # The volume that plays is ours, with a display node of its own, so that the window stays while it plays.
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    volume.SetIJKToRASMatrix(matrix)
    slicer.util.updateVolumeFromArray(volume, frames[0].copy())
    volume.CreateDefaultDisplayNodes()
    low, high = window or (float(part) for part in np.percentile(frames, volumes.WINDOW_PERCENTILES))
    display = volume.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(low, high if high > low else low + 1)
    browser = slicer.vtkMRMLSequenceBrowserNode()
    browser.SetName(scene.GenerateUniqueName(f"{name} browser"))
    browser = scene.AddNode(browser)
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(volume, sequence, False)
    browser.SetPlaybackRateFps(1000.0 / frame_ms)
    browser.SetPlaybackLooped(True)
    browser.SetSelectedItemNumber(0)
    return volume, browser, sequence

"""Volumes between files and the scene: nothing of the file's numbers or place is lost on the way."""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import slicer
import vtk

from .errors import ZooError
from .png import is_picture, pixels_of

STUDY, MODEL, SIDECAR, SEEN = "SynthZoo.study", "SynthZoo.model", "SynthZoo.sidecar", "SynthZoo.fingerprint"
VIDEO = "video"  # instead of the fingerprint of a volume that shows one frame after the other
WINDOW_PERCENTILES = (0.5, 99.5)
MOST_LOOKED_AT = 500_000
MOST_SHEAR = 1e-3
CT_WINDOW = (-160.0, 240.0)
SCALAR, VECTOR, LABELMAP = "vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode", "vtkMRMLLabelMapVolumeNode"


def read_volume(scene, path: str, name: str, labelmap: bool = False, grey: bool = False):
    """A file as a volume node, with a display node; a picture is one voxel thick, and one in colour a vector volume.

    Args:
        scene: where to.
        path: of the file.
        name: of the node.
        labelmap: make it a label map.
        grey: refuse colours, as of a map.

    Raises:
        ZooError: the file cannot be read, or has colours where single numbers are needed.
    """
    file = os.path.basename(path)
    kinds = [LABELMAP] if labelmap else [SCALAR] if grey else [SCALAR, VECTOR]
    if is_picture(path):  # slicer-core alone, as on the web page, has no reader of its own for them
        pixels = pixels_of(path)
        if pixels is None:
            raise ZooError(f"{file} cannot be read as a picture: it is damaged or of another format.")
        if pixels.ndim == 3 and kinds[-1] != VECTOR:
            raise ZooError(f"{file} has colours, but one number per pixel is needed: save it in grey.")
        node = scene.AddNewNodeByClass(kinds[-1] if pixels.ndim == 3 else kinds[0], scene.GenerateUniqueName(name))
        slicer.util.updateVolumeFromArray(node, pixels[None])
        node.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)  # as Slicer puts a picture
        node.CreateDefaultDisplayNodes()
        return node
    for kind in kinds if os.path.isfile(path) else ():
        node = scene.AddNewNodeByClass(kind, scene.GenerateUniqueName(name))
        # Not kept in the scene: the file is a temporary one, and the node shall ask for a place when it is saved.
        storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
        storage.SetFileName(path)
        storage.SetSingleFile(1)
        told = vtk.vtkObject.GetGlobalWarningDisplay()
        vtk.vtkObject.SetGlobalWarningDisplay(told and kind == kinds[-1])  # colours are no scalars: no error yet
        read = storage.ReadData(node)
        vtk.vtkObject.SetGlobalWarningDisplay(told)
        if read and node.GetImageData() is not None:
            node.CreateDefaultDisplayNodes()
            return node
        scene.RemoveNode(node)
    raise ZooError(f"{file} cannot be read as a volume: it is damaged or of another format.")


def write_volume(node, folder: str) -> str:
    """Write a volume node as .nii.gz where it stands in the world; gives the path.

    Raises:
        ZooError: no voxels, several components, a transform that is not linear, a sheared grid, a full disk.
    """
    image = node.GetImageData() if node is not None else None
    if image is None or not image.GetNumberOfPoints():
        raise ZooError("The volume has no voxels: choose another one.")
    if image.GetNumberOfScalarComponents() != 1:
        raise ZooError(f"{node.GetName()} has colours or several components: choose a scan with one number per voxel.")
    axes = affine_of(node)[:3, :3]
    axes = axes / np.linalg.norm(axes, axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > MOST_SHEAR:  # the writer would straighten it without a word
        raise ZooError(f"{node.GetName()} is sheared, as after an affine registration: resample it to a straight grid.")
    copy = slicer.vtkMRMLScalarVolumeNode()
    copy.SetAndObserveImageData(image)
    copy.SetIJKToRASMatrix(world_matrix(node))
    path = os.path.join(folder, "scan.nii.gz")
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(path)
    storage.SetUseCompression(1)
    if not storage.WriteData(copy):
        raise ZooError(f"{node.GetName()} cannot be written to {folder}: free some space there.")
    return path


def world_matrix(node) -> vtk.vtkMatrix4x4:
    """Voxel to world (RAS, mm) with the node's transforms.

    Raises:
        ZooError: a transform that is not linear.
    """
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    parent = node.GetParentTransformNode()
    if parent is None:
        return matrix
    if not parent.IsTransformToWorldLinear():
        raise ZooError(f"{node.GetName()} is under a transform that is not linear: harden the transform first.")
    to_world, made = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(to_world)
    vtk.vtkMatrix4x4.Multiply4x4(to_world, matrix, made)
    return made


def affine_of(node) -> np.ndarray:
    """Voxel (i, j, k) to world, 4 x 4."""
    matrix = world_matrix(node)
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def voxels(node) -> np.ndarray:
    """The node's own voxels, [k, j, i]."""
    return slicer.util.arrayFromVolume(node)


def set_window(node, modality: str = "", stated=None) -> tuple[float, float]:
    """Set window and level; gives the lowest and the highest shown value.

    Args:
        node: a scalar volume, or one in colour, which is shown as it is.
        modality: "CT" in Hounsfield units has a window of its own.
        stated: (low, high) that the model states.
    """
    array = voxels(node)
    if array.ndim > 3:
        low, high = 0.0, float(np.iinfo(array.dtype).max) if array.dtype.kind == "u" else float(array.max())
    elif stated:
        low, high = float(stated[0]), float(stated[1])
    elif modality.upper() == "CT" and float(array.min()) < -500:
        low, high = CT_WINDOW
    else:
        sample = array.ravel()[:: max(1, array.size // MOST_LOOKED_AT)]
        inside = sample[sample != sample.min()]  # without the empty background
        inside = inside if inside.size else sample
        low, high = (float(number) for number in np.percentile(inside, WINDOW_PERCENTILES))
        low = min(low, float(np.median(sample)))
    if high <= low:
        high = low + 1.0
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(low, high)
    return low, high


# --- where a node came from ------------------------------------------------------------------------------------------


def mark(node, model: str = "", study: str = "", sidecar: dict | None = None, video: bool = False) -> None:
    """Write into a node where it came from; it is saved with the scene."""
    for key, value in ((MODEL, model), (STUDY, study)):
        if value:
            node.SetAttribute(key, value)
    if sidecar:
        node.SetAttribute(SIDECAR, json.dumps(sidecar))
        node.SetDescription(told(sidecar))
    if study:
        node.SetAttribute(SEEN, VIDEO if video else fingerprint(node))


def study_of(node) -> str:
    """The id in the server's datastore of a node that has not been changed since it came from there, or ""."""
    study = node.GetAttribute(STUDY) or ""
    if not study or node.GetAttribute(SEEN) == VIDEO:
        return study
    return study if node.GetAttribute(SEEN) == fingerprint(node) else ""


def find_study(scene, study: str):
    """The unchanged volume of a study that is in the scene already, or None."""
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
        node = scene.GetNthNodeByClass(number, "vtkMRMLScalarVolumeNode")
        if node.GetAttribute(STUDY) == study and study_of(node):
            return node
    return None


def fingerprint(node) -> str:
    """Of the voxels and the place."""
    digest = hashlib.sha256(np.ascontiguousarray(voxels(node)).tobytes())
    digest.update(np.round(affine_of(node), 4).tobytes())
    return digest.hexdigest()[:24]


def told(sidecar: dict) -> str:
    """What is known of a result: "requested age 70 years, sex M; seed 3; score 0.2; measured age 68 years"."""
    units = sidecar.get("units") or {}
    parts = [with_units("requested", sidecar.get("requested"), units)]
    parts += [with_units("", {key: sidecar.get(key)}, {}) for key in ("seed", "score", "class", "probability")]
    parts += [with_units("measured", sidecar.get("measured"), units)]
    return "; ".join(part for part in parts if part)


def with_units(before: str, values, units: dict) -> str:
    """Numbers and words with their names and units after a first word; "" where there is none."""
    texts = []
    for key, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, (int, float, str)):
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            texts.append(f"{key} {shown}{' ' + units[key] if units.get(key) else ''}")
    return f"{before} {', '.join(texts)}".strip() if texts else ""

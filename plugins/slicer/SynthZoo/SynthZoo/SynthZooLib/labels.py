"""Label maps as segmentations, with the server's names and steady colours."""

from __future__ import annotations

import colorsys
import re

import numpy as np
import slicer

from . import layout, pictures, volumes
from .errors import ZooError
from .png import is_picture

GOLDEN = 0.61803398875


def color_of(value: int, stated=None) -> tuple:
    """Red, green, blue of a label: what the model states, else one that is far from its neighbours'."""
    if isinstance(stated, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", stated):
        return tuple(int(stated[place : place + 2], 16) / 255 for place in (1, 3, 5))
    if isinstance(stated, (list, tuple)) and len(stated) == 3:
        scale = 255.0 if max(stated) > 1 else 1.0
        return tuple(float(part) / scale for part in stated)
    return colorsys.hsv_to_rgb((0.02 + GOLDEN * (value - 1)) % 1.0, 0.62, 0.95)


def read_segmentation(scene, path: str, name: str, names: dict, reference=None, stated: dict | None = None):
    """A label map file as a segmentation; gives the node and the voxels [k, j, i] of the map.

    Args:
        scene: where to.
        path: of the file.
        name: of the node.
        names: name of a segment -> value in the map; values need not be consecutive, and 0 is no segment.
        reference: volume whose grid the segmentation takes.
        stated: name -> "#rrggbb" or (red, green, blue).

    Raises:
        ZooError: the file cannot be read.
    """
    labelmap = volumes.read_volume(scene, path, f"{name} labels", labelmap=True)
    if is_picture(path):
        pictures.settle(labelmap, reference)
    array = np.array(volumes.voxels(labelmap))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference if reference is not None else labelmap)
    slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(labelmap, node)
    scene.RemoveNode(labelmap)
    by_value = {int(value): key for key, value in names.items()}
    segmentation = node.GetSegmentation()
    for number in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(number)
        value = int(segment.GetLabelValue())
        segment.SetName(by_value.get(value, f"label {value}"))
        segment.SetColor(*color_of(value, (stated or {}).get(by_value.get(value, ""))))
    return node, array


def write_labels(node, folder: str) -> str:
    """Write a segmentation, or a label map, as a label map file with the segments' own values; gives the path.

    A flat one becomes a PNG, pixel by pixel, for it lies on the pixels of a flat image.

    Raises:
        ZooError: it has no voxels, or cannot be written.
    """
    if not node.IsA("vtkMRMLSegmentationNode"):
        return write_plain(node, folder)
    segmentation = node.GetSegmentation()
    labelmap = slicer.vtkMRMLLabelMapVolumeNode()
    scene = node.GetScene()
    labelmap.SetName(scene.GenerateUniqueName(f"{node.GetName()} to send"))
    labelmap = scene.AddNode(labelmap)
    try:
        export = slicer.vtkSlicerSegmentationsModuleLogic.ExportAllSegmentsToLabelmapNode
        export(node, labelmap)
        if layout.is_flat(labelmap):  # whole, not what the segments fill of it
            export(node, labelmap, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY)
        if labelmap.GetImageData() is None or not labelmap.GetImageData().GetNumberOfPoints():
            raise ZooError(f"{node.GetName()} has no voxels: draw something, or choose another one.")
        # The export numbers the segments in their order; the model knows them by their values.
        table = np.zeros(segmentation.GetNumberOfSegments() + 1, np.uint8)
        for number in range(segmentation.GetNumberOfSegments()):
            table[number + 1] = segmentation.GetNthSegment(number).GetLabelValue()
        slicer.util.updateVolumeFromArray(labelmap, table[volumes.voxels(labelmap)])
        return write_plain(labelmap, folder)
    finally:
        scene.RemoveNode(labelmap)


def write_plain(labelmap, folder: str) -> str:
    """Write a label map as a volume, or, where it is flat, as a PNG; gives the path."""
    if layout.is_flat(labelmap):
        return pictures.write_numbers(labelmap, folder)
    return volumes.write_volume(labelmap, folder)


def show_as_outlines(node, opacity: float = 0.25) -> None:
    """Outlines over a faint fill, so that the scan below stays readable; 0 over a map, which has the colours itself."""
    display = node.GetDisplayNode()
    display.SetVisibility2DOutline(True)
    display.SetOpacity2DFill(float(opacity))
    display.SetOpacity2DOutline(1.0)


def segments(node) -> dict[str, int]:
    """Name -> value of each segment."""
    found = node.GetSegmentation()
    parts = [found.GetNthSegment(number) for number in range(found.GetNumberOfSegments())]
    return {part.GetName(): int(part.GetLabelValue()) for part in parts}

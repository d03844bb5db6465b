"""Where images stand: one large view for a flat image or a video, and the reader's own layout for volumes."""

from __future__ import annotations

import numpy as np
import slicer

from . import volumes
from .slices import nodes_of

LARGE = "Red"  # the slice view that Slicer's layout with one slice view has
FORMER, TURNED = "SynthZoo.formerLayout", "SynthZoo.formerOrientation"
# Axis of the world that a view looks along (R, A, S) -> where its right and its upper edge point to.
EDGES = {0: ((0, -1, 0), (0, 0, 1)), 1: ((-1, 0, 0), (0, 0, 1)), 2: ((-1, 0, 0), (0, 1, 0))}


def is_flat(volume) -> bool:
    """Whether a volume is a 2D image, or the frame of a video: one voxel thick."""
    image = volume.GetImageData() if volume is not None else None
    return image is not None and min(image.GetDimensions()) == 1 and image.GetNumberOfPoints() > 1


def face(view, volume) -> None:
    """Turn a slice view (its node) to a flat image, upright as anatomy is shown, and bring it to the image's middle."""
    affine, shape = volumes.affine_of(volume), volume.GetImageData().GetDimensions()
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    thin = int(np.argmin(shape))
    right, up = EDGES[int(np.abs(axes[:, thin]).argmax())]
    plane = [axes[:, axis] * sign for axis in range(3) if axis != thin for sign in (1, -1)]
    across = max(plane, key=lambda axis: float(axis @ right))
    along = max((axis for axis in plane if abs(axis @ across) < 0.5), key=lambda axis: float(axis @ up))
    turned = np.eye(4)
    turned[:3, :3] = np.column_stack([across, along, -np.cross(across, along)])  # Slicer looks at slices from below
    turned[:3, 3] = (affine @ [*((length - 1) / 2 for length in shape), 1])[:3]
    view.GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(turned))
    view.UpdateMatrices()


def arrange(scene, volume) -> None:
    """Give what is shown its layout: a flat image one large view, a volume the layout that was there before.

    Args:
        scene: whose layout node decides; without one, such as in a script, only the view is turned.
        volume: that lies behind.
    """
    node = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    large = [view for view in nodes_of(scene, "vtkMRMLSliceNode") if view.GetLayoutName() == LARGE]
    one = slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    former = node.GetAttribute(FORMER) if node is not None else None
    if is_flat(volume):
        if node is not None and node.GetViewArrangement() != one:
            node.SetAttribute(FORMER, str(node.GetViewArrangement()))
            node.SetAttribute(TURNED, large[0].GetOrientation() if large else "")
            node.SetViewArrangement(one)
        for view in large:
            face(view, volume)
    elif former:
        if node.GetViewArrangement() == one:  # else the reader has chosen another one meanwhile
            node.SetViewArrangement(int(former))
        for view in large:
            if view.HasSliceOrientationPreset(node.GetAttribute(TURNED) or ""):
                view.SetOrientation(node.GetAttribute(TURNED))
        node.RemoveAttribute(FORMER)

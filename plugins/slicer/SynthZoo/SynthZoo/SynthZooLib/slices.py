"""The slice views through their nodes: what lies in front, how opaque, and where they are. No window is needed."""

from __future__ import annotations

import slicer


def nodes_of(scene, kind: str) -> list:
    """All nodes of a class."""
    return [scene.GetNthNodeByClass(number, kind) for number in range(scene.GetNumberOfNodesByClass(kind))]


def show_layers(scene, background=None, foreground=None, opacity: float | None = None) -> None:
    """Set layers of every slice view; what is None stays."""
    for composite in nodes_of(scene, "vtkMRMLSliceCompositeNode"):
        if background is not None:
            composite.SetBackgroundVolumeID(background.GetID())
        if foreground is not None:
            composite.SetForegroundVolumeID(foreground.GetID())
        if opacity is not None:
            composite.SetForegroundOpacity(float(opacity))


def clear_foreground(scene) -> None:
    """Nothing in front any more."""
    for composite in nodes_of(scene, "vtkMRMLSliceCompositeNode"):
        composite.SetForegroundVolumeID(None)


def jump(scene, ras) -> None:
    """Bring every slice view to a point of the world (R, A, S in mm), with the crosshair on it."""
    point = [float(mm) for mm in ras]
    for view in nodes_of(scene, "vtkMRMLSliceNode"):
        view.JumpSliceByOffsetting(*point)
    for crosshair in nodes_of(scene, "vtkMRMLCrosshairNode"):
        crosshair.SetCrosshairRAS(point)
        crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowSmallBasic)


def offsets(scene) -> dict[str, float]:
    """Name of each slice view -> offset in mm."""
    views = nodes_of(scene, "vtkMRMLSliceNode")
    return {view.GetLayoutName() or view.GetName(): view.GetSliceOffset() for view in views}

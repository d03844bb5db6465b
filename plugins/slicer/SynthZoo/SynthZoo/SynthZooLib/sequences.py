"""A video as a sequence that Slicer plays: a sequence node, its browser, and the volume that shows a frame."""

from __future__ import annotations

import os

import numpy as np
import slicer
import vtk

from . import videos, volumes

USUAL_FRAME_MS = 40.0


def show(scene, path: str, name: str, frame_ms: float | None = None, window=None):
    """A video as sequence, browser and the volume that plays it; gives (volume, browser, sequence).

    Args:
        scene: where to.
        path: NIfTI-1 with time as its fourth axis.
        name: of the nodes.
        frame_ms: ms per frame; None takes the file's, else 40.
        window: (low, high) for all frames; None takes percentiles of the whole video.
    """
    frames, affine, own_ms = videos.read_frames(path)
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


def browser_of(node):
    """The browser of the sequence that a volume plays, or None for a volume that stands still."""
    scene = node.GetScene()
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")) if scene else ():
        browser = scene.GetNthNodeByClass(number, "vtkMRMLSequenceBrowserNode")
        if browser.GetSequenceNode(node) is not None and browser.GetNumberOfItems() > 1:
            return browser
    return None


def write(node, folder: str) -> str:
    """Write the whole video that a volume plays, whatever frame it shows; gives the path.

    Raises:
        ZooError: a transform that is not linear, frames of several components, a full disk.
    """
    browser = browser_of(node)
    sequence = browser.GetSequenceNode(node)
    frames = [sequence.GetNthDataNode(number) for number in range(sequence.GetNumberOfDataNodes())]
    path = os.path.join(folder, "video.nii.gz")
    array = np.stack([volumes.voxels(frame) for frame in frames])
    videos.write_frames(path, array, volumes.affine_of(node), 1000.0 / browser.GetPlaybackRateFps())
    return path

"""A volume in 3D, coloured by its own window: presets for CT and MR know Hounsfield units and a scanner's numbers only."""

from __future__ import annotations

import numpy as np
import slicer.util

# Part of the window -> opacity per millimetre-sized step, and brightness.
OPACITY = ((0.0, 0.0), (0.25, 0.0), (0.45, 0.06), (1.0, 0.35))
GREY = ((0.0, (0.05, 0.05, 0.06)), (0.5, (0.62, 0.55, 0.5)), (1.0, (1.0, 0.97, 0.93)))


def window_of(volume) -> tuple[float, float]:
    """The values between which a volume's contrast lies: its 2nd and 99th percentile above the background."""
    array = slicer.util.arrayFromVolume(volume)
    inside = array[array > array.min()]
    if inside.size == 0:
        return float(array.min()), float(array.min()) + 1.0
    low, high = np.percentile(inside, (2, 99))
    return float(low), float(max(high, low + 1e-6))


def render_volume(app, volume) -> None:
    """Show one volume in the 3D view, and no other."""
    scene = app.scene
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLVolumeRenderingDisplayNode")):
        scene.GetNthNodeByClass(number, "vtkMRMLVolumeRenderingDisplayNode").SetVisibility(False)
    if volume is None:
        return
    display = app.volume_rendering.create_display_node(volume)
    low, high = window_of(volume)
    properties = display.GetVolumePropertyNode().GetVolumeProperty()
    opacity, colour = properties.GetScalarOpacity(), properties.GetRGBTransferFunction()
    opacity.RemoveAllPoints()
    colour.RemoveAllPoints()
    for part, value in OPACITY:
        opacity.AddPoint(low + part * (high - low), value)
    for part, rgb in GREY:
        colour.AddRGBPoint(low + part * (high - low), *rgb)
    properties.GetGradientOpacity().RemoveAllPoints()
    properties.SetDisableGradientOpacity(True)
    properties.ShadeOn()
    properties.SetInterpolationTypeToLinear()
    display.SetVisibility(True)

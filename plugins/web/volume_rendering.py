"""A volume in 3D, coloured by its own window: Slicer's presets know Hounsfield units and a scanner's numbers only."""

from __future__ import annotations

# Part of the window -> opacity of a step of 1 mm, and colour.
OPACITY = ((0.0, 0.0), (0.25, 0.0), (0.45, 0.06), (1.0, 0.35))
FAINT = 0.3  # times that, where regions lie inside
GREY = ((0.0, (0.05, 0.05, 0.06)), (0.5, (0.62, 0.55, 0.5)), (1.0, (1.0, 0.97, 0.93)))


def render_volume(app, volume, behind: bool = False) -> None:
    """Show one volume in the 3D view, and no other.

    Args:
        app: Slicer's core.
        volume: with its window set; None shows none.
        behind: True where surfaces inside have to be seen through it.
    """
    scene = app.scene
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLVolumeRenderingDisplayNode")):
        scene.GetNthNodeByClass(number, "vtkMRMLVolumeRenderingDisplayNode").SetVisibility(False)
    if volume is None:
        return
    display = app.volume_rendering.create_display_node(volume)
    shown = volume.GetDisplayNode()
    low, high = shown.GetWindowLevelMin(), shown.GetWindowLevelMax()
    properties = display.GetVolumePropertyNode().GetVolumeProperty()
    opacity, colour = properties.GetScalarOpacity(), properties.GetRGBTransferFunction()
    opacity.RemoveAllPoints()
    colour.RemoveAllPoints()
    for part, value in OPACITY:
        opacity.AddPoint(low + part * (high - low), value * (FAINT if behind else 1.0))
    for part, rgb in GREY:
        colour.AddRGBPoint(low + part * (high - low), *rgb)
    properties.GetGradientOpacity().RemoveAllPoints()
    properties.SetDisableGradientOpacity(True)
    properties.ShadeOn()
    properties.SetInterpolationTypeToLinear()
    display.SetVisibility(True)

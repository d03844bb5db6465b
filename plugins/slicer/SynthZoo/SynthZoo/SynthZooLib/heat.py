"""An anomaly map over a scan: colours, opacity, threshold, and the way to the worst region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer

from . import slices, volumes

COLORS = "AnomalyHeat"
# Value -> red, green, blue: dark violet over red and orange to pale yellow, brighter with every step.
STOPS = ((0.0, (0.23, 0.04, 0.43)), (0.3, (0.76, 0.08, 0.38)), (0.6, (0.97, 0.45, 0.06)), (1.0, (1.0, 1.0, 0.65)))
SHADES = 256
OPACITY, THRESHOLD = 0.6, 0.25
ABOVE_ALL = 1e9


@dataclass(frozen=True)
class Region:
    """A region of a map.

    Args:
        label: its value in the label map; 0 is the map's peak where there is no region.
        volume_ml: its size; 0 in a flat image.
        peak: highest value of the map in it.
        at: the point of the peak, R, A, S in mm.
        area_share: its share of a flat image.
    """

    label: int
    volume_ml: float
    peak: float
    at: tuple
    area_share: float = 0.0

    def text(self) -> str:
        """For the list."""
        if not self.label:
            return f"Peak {self.peak:.2f}, below the threshold of a region"
        size = f"{100 * self.area_share:.1f} % of the image" if self.area_share else f"{self.volume_ml:g} mL"
        return f"Region {self.label}: peak {self.peak:.2f}, {size}"


def colors(scene):
    """The colour table of maps, one for the scene."""
    found = scene.GetFirstNodeByName(COLORS)
    if found is not None and found.IsA("vtkMRMLColorTableNode"):
        return found
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(COLORS)
    node.SetTypeToUser()
    node.SetNumberOfColors(SHADES)
    at = [stop for stop, _ in STOPS]
    for shade in range(SHADES):
        value = shade / (SHADES - 1)
        red, green, blue = (float(np.interp(value, at, [color[part] for _, color in STOPS])) for part in range(3))
        node.SetColor(shade, f"{value:.2f}", red, green, blue, 1.0)
    node.SetHideFromEditors(0)
    return scene.AddNode(node)


def threshold_of(sidecar: dict) -> float:
    """The threshold that the regions were made with, or a usual one."""
    found = sidecar.get("threshold", (sidecar.get("settings") or {}).get("threshold"))
    found = found.get("value") if isinstance(found, dict) else found
    return float(found) if isinstance(found, (int, float)) else THRESHOLD


def show(scene, node, background=None, threshold: float = THRESHOLD, opacity: float = OPACITY) -> None:
    """Put a map in front of a scan in every slice view, clear below the threshold."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(colors(scene).GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, max(1.0, float(volumes.voxels(node).max())))
    display.SetInterpolate(1)
    set_threshold(node, threshold)
    slices.show_layers(scene, background, node, opacity)


def set_threshold(node, value: float) -> None:
    """Hide what is below a value. Exactly 0, which is outside the body, is always hidden."""
    display = node.GetDisplayNode()
    display.AutoThresholdOff()
    display.SetThreshold(max(float(value), 1e-6), ABOVE_ALL)
    display.ApplyThresholdOn()


def regions(node, sidecar: dict, labels=None) -> list[Region]:
    """The regions, the worst first: highest peak, then largest. Without one, the peak of the whole map.

    Args:
        node: the map.
        sidecar: with `regions`.
        labels: voxels [k, j, i] of the label map on the same grid; without it a region's middle is its point.
    """
    heat, affine = volumes.voxels(node), volumes.affine_of(node)
    if labels is not None and labels.shape != heat.shape:
        labels = None
    found = []
    for item in sidecar.get("regions") or []:
        label = int(item.get("label", 0))
        inside = labels == label if labels is not None else None
        if inside is not None and inside.any():
            place = highest(np.where(inside, heat, -np.inf), affine)
        elif item.get("centre_mm"):
            place = tuple(float(mm) for mm in item["centre_mm"])
        else:
            continue
        size = float(item.get("volume_ml", 0)), float(item.get("peak", 0))
        found.append(Region(label, *size, place, float(item.get("area_share", 0))))
    found.sort(key=lambda region: (-region.peak, -region.volume_ml, -region.area_share, region.label))
    if not found and heat.size and float(heat.max()) > 0:
        found.append(Region(0, 0.0, float(heat.max()), highest(heat, affine)))
    return found


def highest(heat: np.ndarray, affine: np.ndarray) -> tuple:
    """The point of the highest value, in the middle of a plateau: the one nearest to the plateau's mean."""
    places = np.argwhere(heat == heat.max())
    place = places[np.argmin(((places - places.mean(0)) ** 2).sum(1))]
    return tuple(float(mm) for mm in (affine @ np.array([*place[::-1], 1.0]))[:3])

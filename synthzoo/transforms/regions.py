"""Regions of a heat map: label map, volumes in mL or shares of a picture, peaks, and the image's score."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy import ndimage as ndi


class HeatMapRegionsd(MapTransform):
    """Label what lies above a threshold, largest first.

    Args:
        keys: heat map (1, D, H, W) in [0, 1], a MetaTensor with its affine.
        threshold: of the map.
        smallest_ml: regions below this volume are left out.
        label_key: label map (1, D, H, W) uint8, 1 is the largest region, at most 255.
        regions_key: list of {"label", "volume_ml", "peak", "mean", "centre_mm" (RAS)}.
        score_key: image score, the mean of the map over the brain.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        threshold: float = 0.5,
        smallest_ml: float = 0.3,
        label_key: Hashable = "dseg",
        regions_key: Hashable = "regions",
        score_key: Hashable = "score",
    ) -> None:
        super().__init__(keys)
        self.threshold, self.smallest_ml = float(threshold), float(smallest_ml)
        self.label_key, self.regions_key, self.score_key = label_key, regions_key, score_key

    def __call__(self, data: dict) -> dict:
        data = dict(data)
        for key in self.keys:
            heat = np.asarray(torch.as_tensor(data[key]).cpu(), dtype=np.float32)[0]
            affine = np.asarray(data[key].affine, dtype=np.float64).reshape(4, 4)
            labels, regions = label_regions(heat, affine, self.threshold, self.smallest_ml)
            data[self.label_key] = MetaTensor(torch.from_numpy(labels)[None], affine=torch.from_numpy(affine))
            data[self.regions_key] = regions
            inside = heat > 0
            data[self.score_key] = round(float(heat[inside].mean()), 5) if inside.any() else 0.0
            data["peak"] = round(float(heat.max()), 5)
            data["threshold"] = {"value": self.threshold, "chosen_on": "healthy phantoms only"}
        return data


def label_regions(
    heat: np.ndarray, affine: np.ndarray, threshold: float, smallest_ml: float
) -> tuple[np.ndarray, list[dict]]:
    """Label map uint8 (D, H, W) and the list of regions, largest first."""
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    names, count = ndi.label(heat >= threshold, ndi.generate_binary_structure(3, 3))
    sizes = np.bincount(names.ravel(), minlength=count + 1)[1:] * voxel_ml
    order = [i for i in np.argsort(-sizes, kind="stable") if sizes[i] >= smallest_ml][:255]
    table = np.zeros(count + 1, np.uint8)
    regions = []
    for label, i in enumerate(order, start=1):
        table[i + 1] = label
        inside = names == i + 1
        centre = np.array(ndi.center_of_mass(heat * inside))
        regions.append(
            {
                "label": label,
                "volume_ml": round(float(sizes[i]), 3),
                "peak": round(float(heat[inside].max()), 4),
                "mean": round(float(heat[inside].mean()), 4),
                "centre_mm": [round(float(mm), 1) for mm in affine[:3, :3] @ centre + affine[:3, 3]],
            }
        )
    return table[names], regions


class HeatMapAreasd(MapTransform):
    """Label what lies above a threshold in a picture, largest first, with boxes in pixels.

    Args:
        keys: heat map (1, H, W) in [0, 1].
        threshold: of the map.
        smallest_share: regions below this share of the picture's pixels are left out.
        label_key: label map (1, H, W) uint8, 1 is the largest region, at most 255.
        regions_key: list of {"label", "area_share", "peak", "mean", "box" (x, y, width, height in pixels)}.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        threshold: float = 0.5,
        smallest_share: float = 0.001,
        label_key: Hashable = "dseg",
        regions_key: Hashable = "regions",
    ) -> None:
        super().__init__(keys)
        self.threshold, self.smallest_share = float(threshold), float(smallest_share)
        self.label_key, self.regions_key = label_key, regions_key

    def __call__(self, data: dict) -> dict:
        data = dict(data)
        for key in self.keys:
            heat = np.asarray(torch.as_tensor(data[key]).cpu(), dtype=np.float32)[0]
            labels, regions = label_areas(heat, self.threshold, self.smallest_share)
            data[self.label_key] = MetaTensor(torch.from_numpy(labels)[None], affine=data[key].affine)
            data[self.regions_key] = regions
            data["peak"] = round(float(heat.max()), 5)
            data["threshold"] = {"value": round(self.threshold, 5), "chosen_on": "healthy phantoms only"}
        return data


def label_areas(heat: np.ndarray, threshold: float, smallest_share: float) -> tuple[np.ndarray, list[dict]]:
    """Label map uint8 (H, W) and the list of regions, largest first."""
    names, count = ndi.label(heat >= threshold, ndi.generate_binary_structure(2, 2))
    sizes = np.bincount(names.ravel(), minlength=count + 1)[1:] / heat.size
    order = [i for i in np.argsort(-sizes, kind="stable") if sizes[i] >= smallest_share][:255]
    table = np.zeros(count + 1, np.uint8)
    places, regions = ndi.find_objects(names), []
    for label, i in enumerate(order, start=1):
        table[i + 1] = label
        rows, columns = places[i]
        inside = heat[places[i]][names[places[i]] == i + 1]
        regions.append(
            {
                "label": label,
                "area_share": round(float(sizes[i]), 5),
                "peak": round(float(inside.max()), 4),
                "mean": round(float(inside.mean()), 4),
                "box": [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start],
            }
        )
    return table[names], regions

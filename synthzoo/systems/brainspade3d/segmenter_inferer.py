"""Segmentation of a head: extract the brain, read it along three axes, and say on the scan's own grid what is where."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform
from scipy import ndimage as ndi

from synthzoo.instruments.brain.extraction import brain_mask, expect_brain
from synthzoo.phantoms.brain.pathology.lesion import PARTS
from synthzoo.phantoms.brain.pathology.scans import TISSUES
from synthzoo.systems.brainspade3d.segmenter import CLASSES, BrainSegmenter, scan_channels
from synthzoo.transforms.head_grid import resample

NAMES = (*TISSUES[1:3], "white_matter", "deep_grey", "ventricle", *(f"lesion_{part}" for part in PARTS))


class SegmenterInferer(Inferer):
    """Compute class probabilities of heads.

    Called with heads (B, 1, D, H, W) on the head grid at 2 mm, any intensity unit, and a `BrainSegmenter`; returns
    (B, len(CLASSES), D, H, W) with the background's 1 outside the brain.

    Args:
        flips: read every slice in a mirror, too.

    Raises:
        UserError: no brain was found, or what was found does not look like one.
    """

    def __init__(self, flips: bool = True) -> None:
        self.flips = flips

    def __call__(self, inputs: torch.Tensor, network: BrainSegmenter, *args: Any, **kwargs: Any) -> torch.Tensor:
        heads = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        with torch.no_grad():  # the fit of the template takes gradients of its own
            found = [self.read_head(head[0].float().cpu().numpy(), network, heads.device) for head in heads]
        return torch.stack(found)

    def read_head(self, head: np.ndarray, network: BrainSegmenter, device: torch.device) -> torch.Tensor:
        """Probabilities (len(CLASSES), D, H, W) of one head (D, H, W)."""
        mask = brain_mask(head, network.extractor, device)
        expect_brain(head, mask, sides=True)  # of 200 mL of tumour one side shows no tissues
        channels = scan_channels(head, mask)
        source, target = windows(mask, network.grid)
        volume = np.zeros((2, *network.grid), np.float32)
        volume[(slice(None), *target)] = channels[(slice(None), *source)]
        found = network.read(torch.from_numpy(volume).to(device), flips=self.flips)
        out = torch.zeros(len(CLASSES), *head.shape, device=device)
        out[0] = 1
        out[(slice(None), *source)] = found[(slice(None), *target)]
        return out


def windows(mask: np.ndarray, grid: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of a head and of the network's grid that belong together.

    The head's middle plane is the grid's; front to back and bottom to top the brain's box lies in the middle.
    """
    found = np.argwhere(mask)
    middle = (found.min(0) + found.max(0) + 1) / 2
    middle[0] = mask.shape[0] / 2
    start = np.round(middle - np.array(grid) / 2).astype(int)
    source = tuple(slice(max(s, 0), min(s + g, n)) for s, g, n in zip(start, grid, mask.shape))
    target = tuple(slice(a.start - s, a.stop - s) for a, s in zip(source, start))
    return source, target


class DecideOnScand(MapTransform):
    """Labels on the scan's own grid from probabilities on the head grid.

    Args:
        keys: probabilities (len(CLASSES), D, H, W) on the head grid.
        threshold: of all lesion parts together, such as the network's own.
        smallest_ml: lesions below this volume are left out.
        reference_key: what lies on the head grid with its affine.
        affine_key, shape_key: the scan's own, see `ToHeadGridd`.
        label_key: gets the label map (1, D, H, W) uint8, 0 outside the brain, else 1 + the place in `NAMES`.

    The sample also gets "labels", {value: name}, "volumes_ml", {name: mL} of what was found, "lesion_ml" and
    "threshold".
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        threshold: float | torch.Tensor = 0.5,
        smallest_ml: float = 0.3,
        reference_key: Hashable = "image",
        affine_key: Hashable = "scan_affine",
        shape_key: Hashable = "scan_shape",
        label_key: Hashable = "dseg",
    ) -> None:
        super().__init__(keys)
        self.threshold, self.smallest_ml = float(threshold), float(smallest_ml)
        self.reference_key, self.affine_key, self.shape_key = reference_key, affine_key, shape_key
        self.label_key = label_key

    def __call__(self, data: Mapping) -> dict:
        data = dict(data)
        grid_affine = np.asarray(data[self.reference_key].affine, dtype=np.float64).reshape(4, 4)
        affine = np.asarray(data[self.affine_key], dtype=np.float64).reshape(4, 4)
        shape = tuple(int(n) for n in np.asarray(data[self.shape_key]).ravel())
        voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
        for key in self.keys:
            found = np.asarray(torch.as_tensor(data[key]).cpu(), np.float32)
            labels = labels_on_grid(found, grid_affine, shape, affine, self.threshold)
            labels = without_specks(labels, voxel_ml, self.smallest_ml)
            data[self.label_key] = MetaTensor(torch.from_numpy(labels)[None], affine=torch.from_numpy(affine))
            counts = np.bincount(labels.ravel(), minlength=len(NAMES) + 1)[1:] * voxel_ml
            data["labels"] = {str(value): name for value, name in enumerate(NAMES, start=1)}
            data["volumes_ml"] = {name: round(float(ml), 2) for name, ml in zip(NAMES, counts) if ml > 0}
            data["lesion_ml"] = round(float(counts[len(TISSUES) - 1 :].sum()), 2)
            data["threshold"] = {"value": round(self.threshold, 4), "chosen_on": "phantoms only"}
        return data


def labels_on_grid(
    found: np.ndarray, grid_affine: np.ndarray, shape: tuple[int, ...], affine: np.ndarray, threshold: float
) -> np.ndarray:
    """Labels uint8 of `shape` from probabilities (len(CLASSES), D, H, W), class by class within the brain's box.

    Everything is interpolated before it is compared, so that edges are smooth on a scan that is finer than the grid.
    """
    brain = found[0] < 0.5
    labels = np.zeros(shape, np.uint8)
    if not brain.any():
        return labels
    corners = np.argwhere(brain)
    low, high = corners.min(0) - 2, corners.max(0) + 2
    box = np.array(np.meshgrid(*zip(low, high), indexing="ij")).reshape(3, -1)
    moved = np.linalg.inv(affine) @ grid_affine @ np.vstack([box, np.ones(8)])
    start = np.clip(np.floor(moved[:3].min(1)).astype(int), 0, shape)
    stop = np.clip(np.ceil(moved[:3].max(1)).astype(int) + 1, start, shape)
    inner = tuple(stop - start)
    if not all(inner):
        return labels
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, :3] @ start
    best = {False: np.full(inner, -1, np.float32), True: np.full(inner, -1, np.float32)}
    which = {False: np.zeros(inner, np.uint8), True: np.zeros(inner, np.uint8)}
    lesion = np.zeros(inner, np.float32)
    for number in range(len(CLASSES)):
        sick = number >= len(TISSUES)
        if sick and found[number].max() < 0.02:
            continue
        if number:
            share = resample(found[number], grid_affine, inner, shifted)
        else:  # beyond the grid there is nothing
            share = 1 - resample(1 - found[0], grid_affine, inner, shifted)
        better = share > best[sick]
        best[sick][better], which[sick][better] = share[better], number
        if sick:
            lesion += share
    labels[tuple(slice(a, b) for a, b in zip(start, stop))] = np.where(lesion > threshold, which[True], which[False])
    return labels


def without_specks(labels: np.ndarray, voxel_ml: float, smallest_ml: float) -> np.ndarray:
    """Labels without lesions, all parts of one taken together, below `smallest_ml`; these become white matter."""
    sick = labels >= len(TISSUES)
    names, count = ndi.label(sick, ndi.generate_binary_structure(3, 3))
    small = np.bincount(names.ravel(), minlength=count + 1) * voxel_ml < smallest_ml
    small[0] = False
    out = labels.copy()
    out[small[names]] = TISSUES.index("white")
    return out

"""The cases of a label-to-image bundle: requests of label maps to be generated, or label maps of one's own.

A label map of one's own is a volume of any orientation and spacing; it comes to the network's grid, which its brain is
centred on, as shares of each voxel, and a slice of it where the network is two-dimensional. Such a network also takes a
flat one, a PNG as it writes them itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from synthzoo.cases.images import ImageTable, stamped
from synthzoo.cases.requests import RequestTable
from synthzoo.cases.table import CaseTable
from synthzoo.datasets.brain.label_tables import AUTO, OVERLAYS, laid_over, named_values, translate
from synthzoo.datasets.brain.styles import SUFFIXES
from synthzoo.datasets.participants import to_grid
from synthzoo.errors import UserError
from synthzoo.io.images import read_label_picture
from synthzoo.io.kinds import format_of
from synthzoo.io.nifti import affine_of
from synthzoo.io.volumes import read_volume
from synthzoo.phantoms.brain.label_maps import CLASSES
from synthzoo.phantoms.brain.label_pool import HEIGHTS, as_picture, inside_levels
from synthzoo.phantoms.brain.pool import GRID, SPACING_MM

MIDDLE_HEIGHT = 0.6
SMALLEST_MM, LARGEST_MM = 80.0, 230.0  # longest side of a brain


def label_cases(
    images: str | Path | Sequence[str | Path],
    conditions: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, Any],
    requests: str | None = None,
    num_samples: int | None = 1,
    seed: int = 0,
    noise_shape: Sequence[int] = (3, 28, 24),
    loader: Any = None,
    suffix: str = "slice.png",
    sampler: Mapping[str, Any] | None = None,
    painting: Mapping[str, Any] | None = None,
    output_dir: str | Path | None = None,
    output_format: str = "native",
    folder: str = "",
    bundle: str = "",
    bundle_root: str | None = None,
    weights: str | None = None,
    overwrite: bool = False,
) -> CaseTable:
    """The table of label maps, or, where none are given, of requests.

    Args:
        images: label maps, see `ImageTable`; empty for requests.
        conditions, values, requests, num_samples, seed, noise_shape: see `RequestTable`.
        loader: reads a label map, see `ImageTable`.
        suffix: of the painted image.
        sampler: settings of generated label maps, for the sidecar.
        painting: what painted images depend on: style, lesions ..., for the sidecar; a file stands there by its name
            and SHA-256.
        output_dir, output_format, folder, bundle, bundle_root, weights, overwrite: see `CaseTable`.

    Raises:
        UserError: what the tables say; lesions without a label map that they lie over.
    """
    shared: dict[str, Any] = {"output_dir": output_dir, "output_format": output_format, "folder": folder}
    shared |= {"bundle": bundle, "bundle_root": bundle_root, "weights": weights, "overwrite": overwrite}
    shared["other_suffixes"] = SUFFIXES if suffix in SUFFIXES else ()
    settings = {
        name: [stamped(one) for one in value] if isinstance(value, (list, tuple)) else stamped(value)
        for name, value in dict(painting or {}).items()
        if value is not None and value != []
    }
    if images == "":
        if "lesions" in settings:
            raise UserError("lesions are laid over the tissues of a label map: give that as images, or leave them out.")
        settings = {**dict(sampler or {}), **settings}
        known = {name: dict(rule) for name, rule in conditions.items()}
        rows = (requests, num_samples, seed, tuple(noise_shape))
        return RequestTable(known, dict(values), *rows, suffix=suffix, settings=settings, **shared)
    height = values.get("slice_height")
    settings = {**settings, "slice_height": height} if height is not None else settings
    return ImageTable(images, kinds=["label"], loader=loader, suffix=suffix, settings=settings, **shared)


class ReadLabelMapd(Transform):
    """Read the label map of a path as shares of each voxel on the network's grid; noise passes as it is.

    The sample gets "label_table", the table that its values were read by.

    Args:
        table: see `synthzoo.datasets.brain.label_tables.translate`.
        lesions: a second label map, with lesions alone (such as one of BraTS), on the same grid, laid over the first.
        grid, spacing_mm: voxels (X, Y, Z) of the grid and their side.
        height: of the axial slice, 0 to 1 between the lowest and the highest with brain; None keeps the volume.
        key: of the path.

    Raises:
        UserError: see `translate` and `read_volume`; lesions without tissues, or of another grid; a flat map where a
            volume is needed, or of another size than the network's.
    """

    def __init__(
        self,
        table: str = AUTO,
        lesions: str | Path | None = None,
        grid: Sequence[int] = GRID,
        spacing_mm: float = SPACING_MM,
        height: float | None = MIDDLE_HEIGHT,
        key: str = "image",
    ) -> None:
        if height is not None and not HEIGHTS[0] <= float(height) <= HEIGHTS[1]:
            unit, (low, high) = "of the brain's height", HEIGHTS
            raise UserError(f"slice_height is {height:g} {unit}, but must lie between {low:g} and {high:g} {unit}.")
        self.table, self.lesions, self.key = table, lesions or None, key
        self.grid, self.spacing_mm, self.height = tuple(grid), float(spacing_mm), height

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        data = dict(data)
        path = data[self.key]
        if isinstance(path, torch.Tensor):
            return data
        numbers, affine, data["label_table"] = read_labels(path, self.table)
        flat = numbers.ndim == 2
        if flat:
            self.expect_size(numbers, path)
        if data["label_table"] in OVERLAYS:
            raise UserError(
                f"label map {path} holds lesions alone (table {data['label_table']}): give a map of the tissues as "
                "images, such as SynthSeg's, and this one as lesions."
            )
        if self.lesions is not None:
            over, its_affine, _ = read_labels(self.lesions, self.table if self.table in OVERLAYS else OVERLAYS[0])
            if over.shape != numbers.shape or not (flat or np.allclose(its_affine, affine, atol=1e-3)):
                raise UserError(f"label map {self.lesions} is on another grid than {path}: resample it to that one.")
            numbers = laid_over(numbers, over)
        if flat:
            maps = (numbers == np.arange(len(CLASSES))[:, None, None]).astype(np.float32)
        else:
            maps, grid_affine = maps_on_grid(numbers, affine, self.grid, self.spacing_mm)
            if self.height is None:
                data[self.key] = MetaTensor(torch.from_numpy(maps), affine=torch.from_numpy(grid_affine))
                return data
            levels = inside_levels(maps, (self.height, self.height + 0.02))[0]
            maps = as_picture(maps[..., int(levels[0])])
        data[self.key] = torch.from_numpy(np.ascontiguousarray(maps))
        return data

    def expect_size(self, numbers: np.ndarray, path: str | Path) -> None:
        """Make sure that a flat map is wanted, and has the network's pixels.

        Raises:
            UserError: it is not, or has not.
        """
        if self.height is None:
            raise UserError(f"label map {path} is flat, but this model takes volumes: give a NIfTI file.")
        size = self.grid[1::-1]
        if numbers.shape != size:
            said, wanted = (f"{shape[1]} x {shape[0]}" for shape in (numbers.shape, size))
            raise UserError(
                f"label map {path} has {said} pixels, but a flat one has {wanted} of {self.spacing_mm:g} mm, as this "
                "model writes them: give the volume that the slice is of, or bring it to that size."
            )


def read_labels(path: str | Path, table: str = AUTO) -> tuple[np.ndarray, np.ndarray, str]:
    """Numbers of classes uint8 (D, H, W) in RAS order, affine, and the table of a label volume; see `translate`.

    Of a PNG the numbers are (H, W) as it shows them, and the affine is that of pixels.
    """
    if format_of(path) == "png":
        plane, chosen = translate(read_label_picture(path), path, table)
        return plane, np.eye(4), chosen
    array, affine = read_volume(path)
    numbers, chosen = translate(array[0], path, table)
    turned = nib.as_closest_canonical(nib.Nifti1Image(numbers, affine))
    return np.asarray(turned.dataobj), turned.affine, chosen


def maps_on_grid(
    numbers: np.ndarray, affine: np.ndarray, grid: Sequence[int] = GRID, spacing_mm: float = SPACING_MM
) -> tuple[np.ndarray, np.ndarray]:
    """Shares float32 (len(CLASSES), *grid) of numbers of classes (D, H, W), the brain's box in the middle, and the
    grid's affine.

    Raises:
        UserError: the labels span what no brain does.
    """
    inside = np.argwhere(numbers > 0)
    low, high = inside.min(0), inside.max(0) + 1
    shape = np.array(grid)
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    size_mm = (high - low) * sides
    if size_mm.max() > LARGEST_MM or size_mm.max() < SMALLEST_MM:
        said = " x ".join(f"{mm:.0f}" for mm in size_mm)
        raise UserError(f"the labels span {said} mm, which no brain does: check the voxel size of the label map.")
    box = tuple(slice(max(a - 4, 0), b + 4) for a, b in zip(low, high))
    start = np.array([part.start for part in box])
    numbers = numbers[box]
    own = affine.copy()
    own[:3, 3] = affine[:3, :3] @ start + affine[:3, 3]
    middle = affine[:3, :3] @ ((low + high - 1) / 2) + affine[:3, 3]
    grid_affine = np.diag([spacing_mm] * 3 + [1.0])
    grid_affine[:3, 3] = middle - spacing_mm * (shape - 1) / 2
    maps = np.zeros((len(CLASSES), *shape), np.float32)
    for number in np.unique(numbers[numbers > 0]):
        maps[number] = to_grid((numbers == number).astype(np.float32), own, grid_affine, shape.tolist())
    maps[0] = np.clip(1 - maps[1:].sum(0), 0, 1)
    return maps / maps.sum(0), grid_affine


class PlaceOnGridd(MapTransform):
    """Give volumes on the network's grid their place: that of the label map that was given, else around the origin.

    Args:
        keys: volumes (1, X, Y, Z).
        spacing_mm: side of a voxel where none was given.
        reference_key: what the network was given: a label map that `ReadLabelMapd` placed, or noise.
    """

    def __init__(self, keys: KeysCollection, spacing_mm: float = SPACING_MM, reference_key: str = "image") -> None:
        super().__init__(keys)
        self.spacing_mm, self.reference_key = float(spacing_mm), reference_key

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        data = dict(data)
        given = data.get(self.reference_key)
        for key in self.key_iterator(data):
            shape = tuple(data[key].shape[1:])
            placed = isinstance(given, MetaTensor) and tuple(given.shape[1:]) == shape
            affine = given.affine if placed else torch.from_numpy(affine_of(self.spacing_mm, shape))
            data[key] = MetaTensor(data[key], affine=affine)
        return data


class NameLabels(Transform):
    """Put "labels", value -> name of a written label map, into the sample, for its sidecar."""

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {**data, "labels": named_values()}


def prepare_labels(batch: dict, device: Any = None, non_blocking: bool = False, **_: Any) -> tuple:
    """A batch of requests or of label maps -> (inputs, no target, (), conditions), for MONAI's SupervisedEvaluator."""
    inputs = batch["image"].to(device, non_blocking=non_blocking)
    known = {"conditions": batch["conditions"].to(device)} if "conditions" in batch else {}
    return inputs, None, (), known

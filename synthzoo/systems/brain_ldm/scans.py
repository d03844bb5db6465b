"""Scans of one's own on the grid and in the units of the diffusion prior, and results on the grid of the scan.

The prior knows skull-stripped T1w brains in MNI space at one voxel size. A scan that lies on its grid stays as it is;
any other one is turned and shifted, not scaled, to where the ICBM152 template fits it best.
"""

from __future__ import annotations

import tempfile
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from synthzoo.cases.examples import write_example
from synthzoo.cases.images import EXAMPLE, LoadVolumed, expect_modality
from synthzoo.cases.marks import on_grid
from synthzoo.errors import UserError
from synthzoo.instruments.brain.extraction import SMALLEST_BRAIN_ML, STRIPPED_ML
from synthzoo.instruments.brain.template_fit import COARSE_MM, FittedTemplate
from synthzoo.transforms.head_grid import ToHeadGridd, remove_background, resample, same_grid, to_canonical

BRIGHT, TOP = 98.0, 0.85  # percentile of the brain's levels, and where the prior has it
TOUCHED = 0.05  # share of a voxel that is marked from which it counts as unknown
OTHER_SEED = 1  # of the example that is interpolated to


class OnPrior(NamedTuple):
    """A scan as the prior sees it.

    Attributes:
        image: float32 (D, H, W) on the prior's grid, in [0, 1], 0 outside the brain.
        affine: of that grid in the scan's own world, (4, 4), voxel to RAS mm.
        factor, offset: the scan's value is factor x image + offset.
    """

    image: np.ndarray
    affine: np.ndarray
    factor: float
    offset: float


def to_prior(
    array: np.ndarray,
    affine: np.ndarray,
    shape: tuple[int, ...],
    prior_affine: np.ndarray,
    marked: np.ndarray | None = None,
) -> OnPrior:
    """Bring a stripped scan to the prior.

    Args:
        array: float32 (D, H, W), any unit.
        affine: voxel to RAS mm, (4, 4).
        shape, prior_affine: the prior's grid in MNI space.
        marked: bool (D, H, W), voxels that belong to the head but say nothing of its brightness.

    Raises:
        UserError: no brain without a skull.
    """
    straight = remove_background(array)
    head = straight != 0 if marked is None else (straight != 0) | marked
    if same_grid(array.shape, affine, shape, prior_affine):
        grid_affine, image, seen = prior_affine, straight, head
    else:
        canonical = to_canonical(straight, affine)
        whole, _ = to_canonical(head.astype(np.float32), affine)
        spacing = float(np.linalg.norm(np.asarray(prior_affine)[:3, :3], axis=0).mean())
        grid_affine = aligned(whole, canonical[1], shape, spacing)
        image = resample(*canonical, shape, grid_affine, smooth=True)
        seen = resample(whole, canonical[1], shape, grid_affine, smooth=True) > 0.5
    ml = float(seen.sum()) * abs(float(np.linalg.det(grid_affine[:3, :3]))) / 1000
    _expect_stripped(ml)
    known = straight != 0 if marked is None else (straight != 0) & ~marked
    sound = image[image > 0]
    top = float(np.percentile(straight[known], BRIGHT)) if known.any() and sound.size else 0.0
    if top <= 0:
        raise UserError("the scan shows nothing brighter than its background within the brain: check its values.")
    slope, offset = np.polyfit(straight[known].astype(np.float64), array[known].astype(np.float64), 1)
    return OnPrior(np.clip(image * (TOP / top), 0, 1), grid_affine, float(slope) * top / TOP, float(offset))


def aligned(head: np.ndarray, affine: np.ndarray, shape: Sequence[int], spacing_mm: float) -> np.ndarray:
    """The affine, (4, 4), of a grid of the prior's shape and spacing that lies over a brain.

    Args:
        head: 1 in the brain, float32 (D, H, W), axes as RAS.
        affine: its voxels to RAS mm.
        shape, spacing_mm: of the grid.
    """
    sample = {"image": MetaTensor(torch.from_numpy(head)[None], affine=torch.from_numpy(affine))}
    found = ToHeadGridd("image", spacing_mm=COARSE_MM)(sample)["image"]
    share = (found[0] > 0).float().numpy()
    _expect_stripped(float(share.sum()) * COARSE_MM**3 / 1000)
    from_middle = np.diag([COARSE_MM] * 3 + [1.0])
    from_middle[:3, 3] = -(np.array(share.shape) - 1) / 2 * COARSE_MM
    own = np.diag([spacing_mm] * 3 + [1.0])
    own[:3, 3] = -(np.array(shape) - 1) / 2 * spacing_mm
    world = np.asarray(found.affine, np.float64) @ np.linalg.inv(from_middle)
    return world @ FittedTemplate(share).motion() @ own


def _expect_stripped(ml: float) -> None:
    if not SMALLEST_BRAIN_ML < ml < STRIPPED_ML:
        raise UserError(
            f"{ml:.0f} mL of the scan differ from its background, and a brain without a skull has "
            f"{SMALLEST_BRAIN_ML:.0f} to {STRIPPED_ML:.0f}: strip the skull, for instance with SynthStrip, and set the "
            "background to 0."
        )


class ToPriord(MapTransform):
    """Bring the scan of a sample to the prior; see `to_prior`.

    Args:
        keys: the scan, a MetaTensor (1, D, H, W) with its affine.
        shape, affine: the prior's grid.
        mark_key: bool (1, D, H, W), a MetaTensor on any grid, where the sample has it.
        unknown_key: gets 1 where the mark touches the prior's grid, float32 (1, *shape).
        units_key: gets the factor and the offset of the way back.
        marked: a sample without a mark is refused.

    Raises:
        UserError: no brain without a skull; no mark where one is needed; one that marks nothing of the brain, or all.
    """

    def __init__(
        self,
        keys: KeysCollection,
        shape: Sequence[int],
        affine: Sequence[Sequence[float]],
        mark_key: Hashable = "mark",
        unknown_key: Hashable = "unknown",
        units_key: Hashable = "units",
        marked: bool = False,
    ) -> None:
        super().__init__(keys)
        self.shape, self.affine = tuple(int(n) for n in shape), np.asarray(affine, np.float64)
        self.mark_key, self.unknown_key, self.units_key, self.marked = mark_key, unknown_key, units_key, marked

    def __call__(self, data: Mapping) -> dict:
        data = dict(data)
        if self.marked and self.mark_key not in data:
            raise UserError(
                "marks is empty, but what shall be filled must be marked: give --marks <mask>, on a server source_tag, "
                "the tag of a label of the image."
            )
        for key in self.key_iterator(data):
            scan = data[key]
            array, affine = np.asarray(scan, np.float32)[0], np.asarray(scan.affine, np.float64).reshape(4, 4)
            marked = None
            if self.mark_key in data:
                mark = data[self.mark_key]
                marked = on_grid(np.asarray(mark, bool)[0], np.asarray(mark.affine, np.float64), array.shape, affine)
            found = to_prior(array, affine, self.shape, self.affine, marked)
            data[key] = MetaTensor(torch.from_numpy(found.image)[None], affine=torch.from_numpy(found.affine))
            data[self.units_key] = torch.tensor([found.factor, found.offset], dtype=torch.float64)
            if marked is not None:
                unknown = resample(marked.astype(np.float32), affine, self.shape, found.affine, smooth=False) > TOUCHED
                known = (found.image > 0) & ~unknown
                if not unknown.any() or known.sum() < unknown.sum():
                    raise UserError("marks: nothing of the brain is marked, or more than half; check the mask's grid.")
                data[self.unknown_key] = torch.from_numpy(unknown.astype(np.float32))[None]
        return data


class WithOtherd(Transform):
    """Give each sample a second scan on the prior's grid.

    Args:
        path: of the scan; "example" is a phantom.
        shape, affine: the prior's grid.
        key: gets it, float32 (1, *shape).

    Raises:
        UserError: no path; see `LoadVolumed` and `to_prior`.
    """

    def __init__(
        self, path: str | Path, shape: Sequence[int], affine: Sequence[Sequence[float]], key: Hashable = "other"
    ) -> None:
        if not str(path).strip():
            raise UserError("other is empty: give the second scan, --other <path>, or the word example.")
        self.path, self.key = path, key
        self.to_prior = ToPriord("image", shape, affine)

    @cached_property
    def other(self) -> torch.Tensor:
        """The second scan."""
        if str(self.path) == EXAMPLE:
            path = write_example("brain_t1w", Path(tempfile.mkdtemp(prefix="synthzoo_")), OTHER_SEED)
        else:
            path = Path(self.path).expanduser()
            expect_modality(path, "MR")
        return self.to_prior(LoadVolumed("image")({"image": str(path)}))["image"].as_tensor()

    def __call__(self, data: Mapping) -> dict:
        return {**data, self.key: self.other}


class OnScand(MapTransform):
    """Put a result that lies on the prior's grid where it belongs.

    Args:
        keys: (1, D, H, W) on the prior's grid.
        how: "grid", the prior's own, in [0, 1]; "hole", the scan, of which marked voxels alone are the result's;
            "change", the scan and what the result adds to the image that went in.
        image_key: what went in, with the grid's affine.
        scan_key: the scan (1, ...), a MetaTensor on its own grid; not needed for "grid".
        mark_key: needed for "hole".
        units_key: see `ToPriord`.
        mask_key: gets where the result was put, uint8 on the scan's grid; of "grid" nothing.

    Raises:
        UserError: another word.
    """

    HOW = ("grid", "hole", "change")

    def __init__(
        self,
        keys: KeysCollection = "pred",
        how: str = "grid",
        image_key: Hashable = "image",
        scan_key: Hashable = "scan",
        mark_key: Hashable = "mark",
        units_key: Hashable = "units",
        mask_key: Hashable = "mask",
    ) -> None:
        super().__init__(keys)
        if how not in self.HOW:
            raise UserError(f"how = {how!r}: a result is put on one of {', '.join(self.HOW)}.")
        self.how, self.image_key, self.scan_key = how, image_key, scan_key
        self.mark_key, self.units_key, self.mask_key = mark_key, units_key, mask_key

    def __call__(self, data: Mapping) -> dict:
        data = dict(data)
        grid = np.asarray(data[self.image_key].affine, np.float64).reshape(4, 4)
        for key in self.key_iterator(data):
            result = np.asarray(torch.as_tensor(data[key]).cpu(), np.float32)
            if self.how == "grid":
                data[key] = MetaTensor(torch.from_numpy(result), affine=torch.from_numpy(grid))
                continue
            scan = data[self.scan_key]
            before = np.asarray(torch.as_tensor(scan).cpu(), np.float32)[0]
            affine = np.asarray(scan.affine, np.float64).reshape(4, 4)
            factor, offset = (float(one) for one in data[self.units_key])
            if self.how == "hole":
                mark = data[self.mark_key]
                marked = np.asarray(torch.as_tensor(mark).cpu(), bool)[0]
                put = on_grid(marked, np.asarray(mark.affine, np.float64), before.shape, affine)
                after = factor * resample(result[0], grid, before.shape, affine) + offset
            else:
                shown = np.asarray(torch.as_tensor(data[self.image_key]).cpu(), np.float32)
                change = resample(result[0] - shown[0], grid, before.shape, affine)
                put, after = np.abs(change) > 0, before + factor * change
            out = np.where(put, after, before).astype(np.float32)
            data[key] = MetaTensor(torch.from_numpy(out)[None], affine=torch.from_numpy(affine))
            data[self.mask_key] = MetaTensor(
                torch.from_numpy(put.astype(np.uint8))[None], affine=torch.from_numpy(affine)
            )
        return data

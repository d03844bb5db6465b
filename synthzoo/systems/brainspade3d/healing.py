"""A scan in which what is marked becomes healthy, in its own contrast and grid; every voxel outside stays to the bit.

What belongs there is read from the other side of the same brain: the scan's mirror image is laid over the tissue
around the mark by a smooth deformation that sees neither the mark nor its mirror image, so that what the lesion has
pushed aside joins on. Where the other side is marked, too, or ends, the template says which tissue belongs there, and
the scan how bright that tissue is nearby. Brightness is matched to the surroundings, and the edge is joined.

Mass effect stays: tissue outside of the mark is where the lesion pushed it, because it is not touched.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from scipy import ndimage as ndi
from torch.nn import functional as F

from synthzoo.cases.marks import on_grid
from synthzoo.errors import UserError
from synthzoo.instruments.brain.template_fit import FittedTemplate
from synthzoo.phantoms.brain.pathology.scans import LABELS, TISSUES
from synthzoo.systems.brainspade3d.mirror_fit import fit_mirror
from synthzoo.transforms.head_grid import resample

GROUPS = {"white": ("white",), "grey": ("cortex", "deep"), "fluid": ("csf", "ventricle")}
RING_MM = 16.0  # around the mark, from where brightness is taken
GAIN_MM, TISSUE_MM, JOIN_MM = 8.0, 12.0, 2.5  # widths of the means of the mirror's gain, a tissue and the edge
GAIN = (0.6, 1.6)  # bounds of the mirror's gain
FADE_MM = 4.0  # depth at which what joins the edge has fallen to 1/e
COARSE_MM = 4.0
MOST_ML = 400.0  # of a mark
MOST_GROW_MM = 10.0


class Healed(NamedTuple):
    """A healed scan.

    Attributes:
        image: float32 (D, H, W); where `mask` is 0 it is the scan to the bit.
        mask: uint8 (D, H, W), the voxels that were made again.
        ml: their volume.
        other_side: share of them that the other side gave; the template gave the rest.
    """

    image: np.ndarray
    mask: np.ndarray
    ml: float
    other_side: float


def lesions_of(labels: np.ndarray) -> np.ndarray:
    """What a label map by `scans.LABELS` calls lesion, bool."""
    return labels >= len(TISSUES)


def heal(
    image: np.ndarray,
    marked: np.ndarray,
    tissue: np.ndarray,
    affine: np.ndarray,
    upright: np.ndarray,
    shape: tuple[int, ...],
    grow_mm: float = 2.0,
    seed: int = 0,
) -> Healed:
    """Make healthy what is marked.

    Args:
        image: float32 (D, H, W), any unit.
        marked: bool (D, H, W).
        tissue: its labels uint8 (D, H, W) as the segmenter gives them, see `scans.LABELS`; 0 is outside the brain.
        affine: voxel to RAS mm, (4, 4).
        upright: affine of a grid whose middle along its first axis is the head's middle plane, see `ToHeadGridd`.
        shape: of that grid.
        grow_mm: the mark grows by so much within the brain, for a lesion fades beyond its outline.
        seed: of the noise where the template is taken.

    Raises:
        UserError: shapes that differ, a mark outside the brain, one of more than 400 mL.
    """
    if not image.shape == marked.shape == tissue.shape:
        raise UserError(f"mask: has shape {marked.shape}, the image {image.shape}, its tissues {tissue.shape}.")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    voxel_ml = float(np.prod(spacing)) / 1000
    if not marked.any():
        return Healed(image.copy(), np.zeros(image.shape, np.uint8), 0.0, 0.0)
    if not (marked & (tissue > 0)).any():
        raise UserError("mask: marks nothing of the brain; check that it belongs to this image.")
    brain, mask = (tissue > 0) | marked, np.zeros(image.shape, bool)
    near = _box(marked, (RING_MM + grow_mm) / spacing + 1)  # the rest of a fine scan is not worth the time
    brain[near] = ndi.binary_fill_holes(brain[near])
    mask[near] = (ndi.distance_transform_edt(~marked[near], sampling=spacing) <= grow_mm) & brain[near]
    ml = float(mask.sum() * voxel_ml)
    if ml > MOST_ML:
        raise UserError(f"mask: marks {ml:.0f} mL, and {MOST_ML:.0f} mL are healed at most.")
    box = _box(mask, RING_MM / spacing + 1)
    where = np.zeros(3, int) + [s.start for s in box]
    own, inside, region = image[box], mask[box], brain[box] & (image[box] != 0)
    ring = region & ~inside
    mirrored, valid = _mirrored(image, mask, brain, affine, upright, shape, where, own.shape)
    blur = GAIN_MM / spacing
    weight = (ring & (valid > 0.9)).astype(np.float32)
    gain = np.clip(_mean(own, weight, blur) / _away(_mean(mirrored, weight, blur)), *GAIN)
    mirrored = mirrored * gain
    filled = mirrored
    if (valid[inside] < 0.98).any():
        moved = affine.copy()
        moved[:3, 3] += affine[:3, :3] @ where
        rest = _painted_template(own, tissue[box], ring, brain, affine, upright, shape, moved, spacing, seed)
        filled = valid * mirrored + (1 - valid) * rest
    # What is left at the edge fades inwards, so that nothing shows where the mark began.
    depth = ndi.distance_transform_edt(inside, sampling=spacing)
    left = _mean(own - filled, ring.astype(np.float32), JOIN_MM / spacing)
    filled = filled + left * np.exp(-depth / FADE_MM)
    low, high = np.percentile(own[ring], (0.5, 99.5)) if ring.any() else (own.min(), own.max())
    out = image.copy()
    out[box][inside] = np.clip(filled, min(low, high), high).astype(np.float32)[inside]
    return Healed(out, mask.astype(np.uint8), ml, float(valid[inside].mean()))


def _box(mask: np.ndarray, margin: np.ndarray) -> tuple[slice, ...]:
    """The box of a mask with a margin in voxels."""
    found = ndi.find_objects(mask.astype(np.uint8))[0]
    return tuple(slice(max(s.start - int(m), 0), min(s.stop + int(m), n)) for s, m, n in zip(found, margin, mask.shape))


def _mean(values: np.ndarray, weight: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Mean of the weighted values around each voxel, by a Gaussian, wider where nothing is near."""
    out = np.full(values.shape, float((values * weight).sum() / max(float(weight.sum()), 1e-6)), np.float32)
    for wider in (4.0, 2.0, 1.0):
        size = ndi.gaussian_filter(weight, wider * sigma)
        mean = ndi.gaussian_filter(values * weight, wider * sigma) / np.maximum(size, 1e-6)
        trust = np.clip(size / 0.05, 0, 1)
        out = trust * mean + (1 - trust) * out
    return out


def _away(values: np.ndarray) -> np.ndarray:
    """Values without those near 0, by which nothing can be divided."""
    least = 0.02 * max(float(np.abs(values).max()), 1e-6)
    return np.where(np.abs(values) < least, least, values)


def _coarser(affine: np.ndarray, factor: float) -> np.ndarray:
    """The affine of a grid whose voxels are `factor` as long and begin at the same corner."""
    out = affine @ np.diag([factor] * 3 + [1.0])
    out[:3, 3] = affine[:3, 3] + affine[:3, :3] @ np.full(3, (factor - 1) / 2)
    return out


def _mirrored(
    image: np.ndarray,
    mask: np.ndarray,
    brain: np.ndarray,
    affine: np.ndarray,
    upright: np.ndarray,
    shape: tuple[int, ...],
    where: np.ndarray,
    size: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """The other side's intensity at a box of voxels, and how far it is there and unmarked, in [0, 1]."""
    factor = COARSE_MM / float(np.linalg.norm(upright[:3, 0]))
    coarse = _coarser(upright, factor)
    grid = tuple(int(n // factor) for n in shape)
    seen = resample(np.where(brain, image, 0), affine, grid, coarse, smooth=True)
    hidden = resample(mask.astype(np.float32), affine, grid, coarse, smooth=False) > 0.1
    flow = fit_mirror(seen, (seen != 0) & ~ndi.binary_dilation(hidden))
    index = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij")).reshape(3, -1) + where[:, None]
    there = np.linalg.inv(coarse) @ affine
    at = there[:3, :3] @ index + there[:3, 3:]
    at = at + np.stack([ndi.map_coordinates(f, at, order=1, mode="nearest") for f in flow])
    at[0] = grid[0] - 1 - at[0]
    back = np.linalg.inv(there)
    source = back[:3, :3] @ at + back[:3, 3:]
    free = (brain & ~mask).astype(np.float32)
    values = ndi.map_coordinates(image * free, source, order=1, mode="constant").reshape(size)
    share = ndi.map_coordinates(free, source, order=1, mode="constant").reshape(size)
    return values / np.maximum(share, 0.3), np.clip(1.5 * share - 0.5, 0, 1)


def _painted_template(
    own: np.ndarray,
    tissue: np.ndarray,
    ring: np.ndarray,
    brain: np.ndarray,
    affine: np.ndarray,
    upright: np.ndarray,
    shape: tuple[int, ...],
    moved: np.ndarray,
    spacing: np.ndarray,
    seed: int,
) -> np.ndarray:
    """The template's tissues over a box, each as bright as it is nearby, with the scan's noise."""
    whole = resample(brain.astype(np.float32), affine, shape, upright, smooth=True)
    factor = COARSE_MM / float(np.linalg.norm(upright[:3, 0]))
    share = F.avg_pool3d(torch.from_numpy(whole)[None, None], int(round(factor)))[0, 0].numpy()
    coarse = _coarser(upright, factor)
    white, fluid = (
        resample(np.ascontiguousarray(one), coarse, own.shape, moved) for one in FittedTemplate(share).tissues()
    )
    shares = {"white": white, "fluid": fluid, "grey": np.clip(1 - white - fluid, 0, 1)}
    painted, total = np.zeros(own.shape, np.float32), np.zeros(own.shape, np.float32)
    for name, members in GROUPS.items():
        found = (ring & np.isin(tissue, [LABELS[member] for member in members])).astype(np.float32)
        if found.any():
            painted += shares[name] * _mean(own, found, TISSUE_MM / spacing)
            total += shares[name]
    fine = np.abs(own - ndi.gaussian_filter(own, 0.8))[ring]
    noise = 1.4826 * float(np.median(fine)) if fine.size else 0.0  # edges of tissues are no noise
    grain = np.random.default_rng([int(seed), 83]).standard_normal(own.shape)
    return painted / np.maximum(total, 1e-3) + noise * grain.astype(np.float32)


class HealLesiond(Transform):
    """Heal what is marked in the scan of a sample; see `heal`.

    Args:
        grow_mm, seed: see `heal`.
        scan_key: the scan (1, D, H, W), a MetaTensor on its own grid.
        label_key: its tissues (1, D, H, W) by `scans.LABELS` on the same grid.
        head_key: what lies on the upright head grid with its affine.
        mark_key: the mark, a MetaTensor (1, D, H, W); where the sample has none, the segmenter's lesions are the mark.
        image_key: gets the healed scan.
        mask_key: gets what was made again, uint8 (1, D, H, W).

    The sample also gets "healed": who marked, the volume in mL, which share the other side gave, and what became of the
    mass effect.
    """

    def __init__(
        self,
        grow_mm: float = 2.0,
        seed: int = 0,
        scan_key: Hashable = "scan",
        label_key: Hashable = "dseg",
        head_key: Hashable = "image",
        mark_key: Hashable = "mark",
        image_key: Hashable = "pred",
        mask_key: Hashable = "mask",
    ) -> None:
        if not 0 <= float(grow_mm) <= MOST_GROW_MM:
            raise UserError(f"grow_mm = {grow_mm}: a mark grows by 0 to {MOST_GROW_MM:g} mm.")
        self.grow_mm, self.seed = float(grow_mm), int(seed)
        self.scan_key, self.label_key, self.head_key, self.mark_key = scan_key, label_key, head_key, mark_key
        self.image_key, self.mask_key = image_key, mask_key

    def __call__(self, data: Mapping) -> dict:
        data = dict(data)
        scan, head = data[self.scan_key], data[self.head_key]
        affine, upright = (np.asarray(one.affine, dtype=np.float64).reshape(4, 4) for one in (scan, head))
        image = np.asarray(torch.as_tensor(scan).cpu(), np.float32)[0]
        tissue = np.asarray(torch.as_tensor(data[self.label_key]).cpu(), np.uint8)[0]
        mark, given = data.get(self.mark_key), self.mark_key in data
        if given:
            marked = np.asarray(torch.as_tensor(mark).cpu(), bool)[0]
            marked = on_grid(marked, np.asarray(mark.affine, dtype=np.float64), image.shape, affine)
        else:
            marked = lesions_of(tissue)
        done = heal(image, marked, tissue, affine, upright, tuple(head.shape[1:]), self.grow_mm, self.seed)
        data[self.image_key] = MetaTensor(torch.from_numpy(done.image)[None], affine=torch.from_numpy(affine))
        data[self.mask_key] = MetaTensor(torch.from_numpy(done.mask)[None], affine=torch.from_numpy(affine))
        data["healed"] = {
            "marked_by": "the mask that was given" if given else "the segmenter",
            "ml": round(done.ml, 3),
            "from_the_other_side": round(done.other_side, 3),
            "mass_effect": "stays: tissue outside the mask is not moved",
        }
        return data

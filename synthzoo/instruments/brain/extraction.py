"""Brain extraction: a network's probability, corrected by a template that is fitted to it.

The network has seen phantom heads only, and at times takes muscle for brain. So the ICBM152 template's outline (rigid
motion and one scale per axis, fitted to the probability) has a say: what lies outside of it must be the surer the
further out it lies, and what lies deep inside needs little probability. A scan without skull keeps its own outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional as F

from synthzoo.errors import UserError

SMALLEST_BRAIN_ML, STRIPPED_ML = 200.0, 1900.0
COARSE_MM = 4.0  # the extractor's voxel
OUTSIDE_MM, INSIDE_MM, PER_MM, MOST = 3.0, 4.0, 0.6, 6.0  # of the prior, in logits per mm
FARTHEST_MM = 12.0  # a stripped scan's rests further out than this from the template are cut


def brain_mask(
    head: np.ndarray, extractor: torch.nn.Module, device: str | torch.device = "cpu", spacing_mm: float = 2.0
) -> np.ndarray:
    """Brain mask, bool (D, H, W), of a head on the head grid (RAS, `spacing_mm` = 2, even shape).

    Raises:
        UserError: no brain was found.
    """
    seen = np.abs(head) > 1e-6 * max(float(np.abs(head).max()), 1e-12)
    own = _largest(ndi.binary_fill_holes(ndi.binary_closing(seen, iterations=1) | seen))
    voxel_ml = spacing_mm**3 / 1000
    coarse = F.avg_pool3d(torch.from_numpy(head)[None, None], 2)[0, 0].numpy()
    share = find_brain(coarse, extractor, device)
    distance = template_distance(share) if (share > 0.5).any() else np.full(share.shape, -1.0, np.float32)
    mask = _largest(_finer(posterior(share, distance)) > 0)
    mask = _largest(ndi.binary_opening(mask, iterations=2)) & seen if mask.any() else mask
    mask = ndi.binary_fill_holes(_largest(mask))
    overlap = 2 * (mask & own).sum() / max(mask.sum() + own.sum(), 1)
    stripped = SMALLEST_BRAIN_ML < own.sum() * voxel_ml < STRIPPED_ML
    if overlap > 0.92 or (stripped and (overlap > 0.85 or overlap < 0.5)):
        mask = own if overlap < 0.5 else own & (_finer(distance) < FARTHEST_MM)
    if mask.sum() * voxel_ml < SMALLEST_BRAIN_ML:
        raise UserError(
            "no brain was found in the image: check that it is a head or brain MR scan with a correct affine."
        )
    return mask


def find_brain(coarse: np.ndarray, extractor: torch.nn.Module, device: str | torch.device = "cpu") -> np.ndarray:
    """Brain probability float32 (D, H, W) of a head at 4 mm, the mean of two passes.

    At the second one the head is moved so that the brain found first lies in the middle.
    """
    first = extract(coarse, extractor, device)
    if first.max() <= 0.5:
        return first
    found = np.argwhere(_largest(first > 0.5))
    middle = np.round((found.min(0) + found.max(0)) / 2 - (np.array(coarse.shape) - 1) / 2 - (0, 0, 2)).astype(int)
    second = _shift(extract(_shift(coarse, -middle), extractor, device), middle)
    return (first + second) / 2


def extract(coarse: np.ndarray, extractor: torch.nn.Module, device: str | torch.device = "cpu") -> np.ndarray:
    """Brain probability float32 (D, H, W) of a head at 4 mm, as the extractor gives it."""
    seen = np.abs(coarse[np.abs(coarse) > 1e-6])
    top = float(np.percentile(seen, 98)) if seen.size else 1.0
    image = np.clip(coarse / max(top, 1e-6), -1, 2).astype(np.float32)
    with torch.no_grad():
        return extractor(torch.from_numpy(image)[None, None].to(device)).sigmoid()[0, 0].float().cpu().numpy()


def posterior(share: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Logits of brain from the network's probability and the distance to the fitted template in mm, outside > 0."""
    share = np.clip(share, 1e-4, 1 - 1e-4)
    outside = np.clip(distance - OUTSIDE_MM, 0, None)
    inside = np.clip(-distance - INSIDE_MM, 0, MOST / PER_MM)
    return (np.log(share / (1 - share)) - PER_MM * outside + PER_MM * inside).astype(np.float32)


@lru_cache(maxsize=1)
def template_outline() -> torch.Tensor:
    """Signed distance in mm to the outline of the ICBM152 brain, outside > 0: (56, 64, 56) at 4 mm, in the middle."""
    import nilearn.datasets

    folder = Path(nilearn.datasets.__file__).parent / "data"
    t1w = np.asarray(nib.load(folder / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz").dataobj, np.float32)
    d, h, w = (n // 4 for n in t1w.shape)
    small = t1w[: 4 * d, : 4 * h, : 4 * w].reshape(d, 4, h, 4, w, 4).mean((1, 3, 5))
    brain = ndi.binary_fill_holes(small > 0.1 * t1w.max())
    brain = brain[tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(brain))]
    room = [(grid - n) for grid, n in zip((56, 64, 56), brain.shape)]
    brain = np.pad(brain, [(r // 2, r - r // 2) for r in room])
    distance = ndi.distance_transform_edt(~brain) - ndi.distance_transform_edt(brain)
    return torch.from_numpy((distance * COARSE_MM).astype(np.float32))[None, None]


def template_distance(share: np.ndarray, steps: int = 60) -> np.ndarray:
    """Distance in mm to the template's outline, fitted to a brain probability (D, H, W) at 4 mm; outside > 0.

    Nine numbers (shift, rotation vector, logarithms of three scales) minimise 1 - soft Dice at 8 mm, with a mild pull
    towards no rotation and equal scales.
    """
    target = F.avg_pool3d(torch.from_numpy(share)[None, None], 2)
    found = np.argwhere(share > 0.5)
    middle = (torch.from_numpy(found.min(0) + found.max(0) + 1) - torch.tensor(share.shape)).float() * COARSE_MM / 2
    numbers = torch.zeros(9, requires_grad=True)
    optimiser = torch.optim.Adam([numbers], lr=0.03)
    with torch.enable_grad():
        for _ in range(steps):
            shift, turn, scale = numbers.split(3)
            inside = torch.sigmoid(-_moved_template(numbers, middle, target.shape[2:], 2 * COARSE_MM) / COARSE_MM)
            dice = 2 * (inside * target).sum() / (inside.sum() + target.sum())
            pull = 0.08 * (turn**2).sum() + 0.05 * ((scale - scale.mean()) ** 2).sum()
            optimiser.zero_grad()
            (1 - dice + pull).backward()
            optimiser.step()
    with torch.no_grad():
        return _moved_template(numbers, middle, share.shape, COARSE_MM)[0, 0].numpy()


def _moved_template(
    numbers: torch.Tensor, middle: torch.Tensor, shape: Sequence[int], spacing_mm: float
) -> torch.Tensor:
    """The template's distance map (1, 1, *shape) under shift (units of 50 mm), rotation vector and log scales."""
    shift, (a, b, c), scale = numbers.split(3)
    zero = torch.zeros(())
    skew = torch.stack([zero, -c, b, c, zero, -a, -b, a, zero]).view(3, 3)
    matrix = torch.diag(torch.exp(-scale)) @ torch.linalg.matrix_exp(skew)
    axes = [(torch.arange(n) + 0.5 - n / 2) * spacing_mm for n in shape]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) - middle - 50 * shift
    outline = template_outline()
    half = torch.tensor(outline.shape[2:]) * COARSE_MM / 2
    where = ((points @ matrix.T) / half).flip(-1)[None]
    return F.grid_sample(outline, where, align_corners=False, padding_mode="border")


def _finer(coarse: np.ndarray) -> np.ndarray:
    fine = F.interpolate(torch.from_numpy(coarse)[None, None], scale_factor=2, mode="trilinear", align_corners=False)
    return fine[0, 0].numpy()


def _shift(volume: np.ndarray, by: np.ndarray) -> np.ndarray:
    out = np.zeros_like(volume)
    source = tuple(slice(max(-b, 0), n - max(b, 0)) for b, n in zip(by, volume.shape))
    target = tuple(slice(max(b, 0), n - max(-b, 0)) for b, n in zip(by, volume.shape))
    out[target] = volume[source]
    return out


def _largest(mask: np.ndarray) -> np.ndarray:
    names, count = ndi.label(mask)
    return mask if count < 2 else names == 1 + int(np.argmax(np.bincount(names.ravel())[1:]))

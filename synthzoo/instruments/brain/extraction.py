"""Brain extraction: a network's probability, corrected by a template that is fitted to it.

The network has seen phantom heads only, and at times takes muscle for brain. So the ICBM152 template's outline (rigid
motion and one scale per axis, fitted to the probability) has a say: what lies outside of it must be the surer the
further out it lies, and what lies deep inside needs little probability. A scan without skull keeps its own outline.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional as F

from synthzoo.errors import UserError
from synthzoo.instruments.brain.template_fit import FittedTemplate, tissue_agreement

SMALLEST_BRAIN_ML, STRIPPED_ML = 200.0, 1900.0
OUTSIDE_MM, INSIDE_MM, PER_MM, MOST = 3.0, 4.0, 0.6, 6.0  # of the prior, in logits per mm
FARTHEST_MM = 12.0  # a stripped scan's rests further out than this from the template are cut
LEAST_AGREEMENT = 0.05  # real heads and phantoms have 0.2 to 0.9, noise and things that are no head less
CLEAR_AGREEMENT = 0.15  # of one side: smooth noise agrees with half a brain by chance more than with a whole one


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
    distance = FittedTemplate(share).distance() if (share > 0.5).any() else np.full(share.shape, -1.0, np.float32)
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


def expect_brain(head: np.ndarray, mask: np.ndarray, sides: bool = False) -> None:
    """Make sure that what was taken for a brain looks like one; with `sides` one side is enough that does so clearly.

    Raises:
        UserError: its intensities follow no tissue, as those of noise, of other parts of the body and of other things.
    """
    found = tissue_agreement(head, mask)
    if found < LEAST_AGREEMENT and not (sides and tissue_agreement(head, mask, sides=True) > CLEAR_AGREEMENT):
        raise UserError(
            f"the image is no MR scan of a brain: its intensities agree with the tissues of one by {found:.2f}, and "
            f"{LEAST_AGREEMENT} is the least; check what it shows and its affine."
        )


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

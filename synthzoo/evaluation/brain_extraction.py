"""How well a brain is found in a head, beside what could find it alone: an atlas mask as it lies, moved, or fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import ndimage as ndi
from tqdm import tqdm

from synthzoo.evaluation.base import Found
from synthzoo.instruments.brain.extraction import find_brain, posterior
from synthzoo.instruments.brain.template_fit import FittedTemplate, template_maps

SEEN = 0.1  # of the 98th percentile of a head: what is no background
# Key of the figures -> what the table calls it; the first is as inference finds the brain at 4 mm.
TITLES = {
    "shipped": "network and fitted template (shipped)",
    "network": "network alone",
    "fitted": "atlas mask fitted to all that is no background",
    "moved": "atlas mask, its middle on that of the head",
    "fixed": "atlas mask where it lies",
    "seen": "all that is no background",
}


def brain_masks(head: np.ndarray, extractor: torch.nn.Module, device: Any = "cpu") -> dict[str, np.ndarray]:
    """Brain masks, bool (D, H, W), of a head at 4 mm by the keys of `TITLES`.

    Args:
        head: (56, 64, 56), the 98th percentile of what is no background at 1.
        extractor: head (1, 1, D, H, W) -> logits of brain.
        device: of the extractor.
    """
    share = find_brain(head, extractor, device)
    seen = ndi.binary_fill_holes(ndi.binary_closing(np.abs(head) > SEEN))
    atlas = template_maps()[0][0, 0].numpy() < 0
    masks = {"network": share > 0.5, "fixed": atlas, "seen": seen}
    masks["shipped"] = posterior(share, fitted(share)) > 0
    masks["fitted"] = fitted(seen.astype(np.float32)) < 0
    by = [round(middle(seen, axis) - middle(atlas, axis)) for axis in range(3)]
    masks["moved"] = ndi.shift(atlas.astype(np.float32), by, order=0) > 0.5
    return {key: masks[key] for key in TITLES}


def fitted(share: np.ndarray) -> np.ndarray:
    """Distance in mm to the template fitted to a probability (D, H, W), outside > 0; far outside of an empty one."""
    return FittedTemplate(share).distance() if (share > 0.5).any() else np.full(share.shape, 100.0, np.float32)


def middle(mask: np.ndarray, axis: int) -> float:
    """Middle of the box around a mask along an axis, in voxels; that of the grid where the mask is empty."""
    places = np.flatnonzero(mask.any(tuple(other for other in range(mask.ndim) if other != axis)))
    return float(places[0] + places[-1]) / 2 if len(places) else (mask.shape[axis] - 1) / 2


def measure_extraction(extractor: torch.nn.Module, heads: Any, device: Any = "cpu") -> Found:
    """Dice of the brain of heads by the network and by what could do its work alone.

    Args:
        extractor: see `brain_masks`.
        heads: rows with "image" (1, D, H, W) and "brain" occupancy, such as `RandomHeads` of unseen subjects, which
            take what they are from numpy's global generator; row n has seed n.
        device: of the extractor.
    """
    scores: dict[str, list[float]] = {key: [] for key in TITLES}
    for number in tqdm(range(len(heads)), desc="heads"):
        np.random.seed(number)
        row = heads[number]
        truth = row["brain"][0].numpy() > 0.5
        for key, mask in brain_masks(row["image"][0].numpy(), extractor, device).items():
            scores[key].append(2 * float((mask & truth).sum()) / max(int(mask.sum() + truth.sum()), 1))
    found, rows = Found(), []
    for key, values in scores.items():
        rows.append([TITLES[key], round(float(np.mean(values)), 3), round(float(np.min(values)), 3)])
        word = "extraction" if key == "shipped" else f"shortcut_extraction_{key}"
        found.figures |= {f"{word}_dice": round(float(np.mean(values)), 4), f"{word}_dice_lowest": rows[-1][2]}
    title = f"Brain extraction at 4 mm: Dice in {len(heads)} phantom heads of unseen subjects"
    found.add(title, ["brain mask", "mean", "lowest"], rows)
    return found

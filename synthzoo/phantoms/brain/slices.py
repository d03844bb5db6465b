"""Healthy slices in any MR contrast, painted from the maps of `brain_pool`.

Domain randomisation in the sense of Billot et al. ("SynthSeg", Medical Image Analysis 2023), kept near real
contrasts: T1w with and without contrast agent, T2w, FLAIR, PD, wholly random tissues. All painted here is healthy:
vessels, sinuses, choroid plexus and dura shine or darken as they do on scans, and the skull strip is imperfect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional as F

from synthzoo.phantoms.brain.folds import refold, refoliate, sulcal_vessels
from synthzoo.phantoms.brain.pool import MAPS

KINDS = ("T1w", "T1Gd", "T2w", "FLAIR", "PD", "random")
SHARES = (0.22, 0.24, 0.17, 0.19, 0.04, 0.14)
Z_RANGE = (-4.0, 6.0)
CRISP_SHARE = 0.7  # of slices whose tissues are sharpened
NOISE = (0.08, 0.25)  # standard deviation in z-scores; scans that are quieter are made noisier before they are read
FOLDED_SHARE = 0.3  # of slices whose outer brain gets other folds

# Ranges of (cortex, deep grey, CSF) with white matter at 1, wide enough for sequences and field strengths.
RANGES = {
    "T1w": ((0.50, 0.90), (0.60, 0.97), (0.08, 0.50)),
    "T1Gd": ((0.50, 0.95), (0.60, 0.98), (0.08, 0.50)),
    "T2w": ((1.10, 1.75), (0.85, 1.45), (1.60, 3.60)),
    "FLAIR": ((1.02, 1.55), (0.90, 1.40), (0.05, 0.60)),
    "PD": ((1.05, 1.35), (0.98, 1.25), (0.90, 1.60)),
}
# Ranges of the intensity of (vessel, sinus, plexus, dura) in units of white matter: a healthy scan shows any of them.
EXTRAS = {
    "T1w": ((0.2, 1.7), (0.2, 1.5), (0.4, 1.1), (0.3, 1.3)),
    "T1Gd": ((1.0, 2.8), (1.1, 3.0), (0.9, 2.6), (0.8, 2.4)),
    "T2w": ((0.1, 1.4), (0.1, 1.6), (0.8, 2.2), (0.2, 1.6)),
    "FLAIR": ((0.1, 1.4), (0.1, 1.7), (0.6, 1.7), (0.4, 1.6)),
    "PD": ((0.2, 1.6), (0.2, 1.6), (0.7, 1.4), (0.4, 1.4)),
}


@dataclass
class Contrast:
    """Intensities of a scan: `tissue` (5,) for the first five maps, `extra` (4,) and its `strength` (4,) for vessels,
    sinuses, plexus and dura, `cerebellum` a relative gain, `structure` the weight of the fine structure."""

    kind: str
    tissue: np.ndarray
    extra: np.ndarray
    strength: np.ndarray
    cerebellum: float
    structure: float
    centre: float = 0.0
    deviation: float = 1.0


def draw_contrast(rng: np.random.RandomState, voxels: np.ndarray, kind: str | None = None) -> Contrast:
    """Draw a scan's intensities and the robust centre and standard deviation that they give its brain.

    Args:
        voxels: (len(MAPS), N) in [0, 1], random brain voxels of the whole subject.
        kind: one of KINDS, drawn with SHARES when None.
    """
    kind = kind or KINDS[rng.choice(len(KINDS), p=SHARES)]
    if kind == "random":
        cortex, deep, white, csf = rng.uniform(0.05, 1.0, 4)
        if rng.rand() < 0.5:
            deep = cortex + rng.normal(0, 0.08)
        extra = rng.uniform(0.0, 1.3, 4)
    else:
        cortex, deep, csf = (rng.uniform(*r) for r in RANGES[kind])
        white = 1.0
        extra = np.array([rng.uniform(*r) for r in EXTRAS[kind]])
    ventricle = csf * (1 + rng.normal(0, 0.06))
    strength = rng.uniform(0, 1, 4) * (rng.rand(4) < (0.9, 0.9, 0.85, 0.7))
    if kind == "T1Gd":
        strength = rng.uniform(0.2, (1.3, 1.3, 1.3, 2.2)) * (rng.rand(4) < 0.95)
    tissue = np.array([cortex, deep, white, csf, ventricle])
    structure = rng.normal(0, 0.5) if kind != "T1w" else rng.uniform(0, 1.0)
    contrast = Contrast(kind, tissue, extra, strength, 1 + rng.normal(0, 0.06), structure)
    clean = paint(voxels, contrast)
    low, middle, high = np.percentile(clean, (10, 50, 90))
    contrast.centre, contrast.deviation = float(middle), float(max(high - low, 0.02) / 2.563)
    return contrast


def paint(maps: np.ndarray, contrast: Contrast) -> np.ndarray:
    """Intensity of (len(MAPS), ...) maps in [0, 1] under a contrast, without fields, blur or noise."""
    tissue = maps[:5]
    weight = tissue.sum(0)
    image = np.tensordot(contrast.tissue, tissue, axes=1) / np.maximum(weight, 0.05)
    image = image * (1 + (contrast.cerebellum - 1) * maps[5])
    image = image + contrast.structure * (maps[6] - 128 / 255) / 2 * contrast.tissue[:3].mean()
    for name, level, strength in zip(("vessel", "sinus", "plexus", "dura"), contrast.extra, contrast.strength):
        share = np.clip(maps[MAPS.index(name)] * strength, 0, 1)
        image = image * (1 - share) + level * share
    return image


def field(rng: np.random.RandomState, shape: Sequence[int], cells: int) -> np.ndarray:
    """Smooth unit-variance field of `shape` (h, w) or (D, H, W), from `cells` random values per axis."""
    coarse = torch.from_numpy(rng.standard_normal((1, 1, *[cells] * len(shape))).astype(np.float32))
    mode = "bicubic" if len(shape) == 2 else "trilinear"
    return F.interpolate(coarse, size=tuple(shape), mode=mode, align_corners=True)[0, 0].numpy()


def warp_slice(
    maps: np.ndarray,
    rng: np.random.RandomState,
    rotation: float = 12.0,
    scale: float = 0.12,
    shift: Sequence[float] = (4.0, 4.0),
    bend: float = 2.0,
) -> np.ndarray:
    """Random affine and smooth deformation of (C, h, w): degrees, relative size, voxels per axis, voxels."""
    h, w = maps.shape[1:]
    angle = np.deg2rad(rng.uniform(-rotation, rotation))
    size = np.exp(rng.uniform(-scale, scale, 2))
    ys, xs = np.meshgrid(np.arange(h) - (h - 1) / 2, np.arange(w) - (w - 1) / 2, indexing="ij")
    y = (np.cos(angle) * ys - np.sin(angle) * xs) / size[0] + rng.uniform(-shift[0], shift[0])
    x = (np.sin(angle) * ys + np.cos(angle) * xs) / size[1] + rng.uniform(-shift[1], shift[1])
    amount = rng.uniform(0, bend)
    y = y + amount * field(rng, (h, w), 6)
    x = x + amount * field(rng, (h, w), 6)
    grid = torch.from_numpy(np.stack([x * 2 / (w - 1), y * 2 / (h - 1)], -1).astype(np.float32))
    return F.grid_sample(torch.from_numpy(maps)[None], grid[None], align_corners=True)[0].numpy()


def sharpen(maps: np.ndarray, power: float) -> np.ndarray:
    """Maps (len(MAPS), h, w) whose first five shares are drawn towards the largest: t^p / sum t^p of the same sum.

    The tissue maps are averages over people, so their cortex is softer than one person's.
    """
    shares = maps[:5] ** power
    shares *= maps[:5].sum(0) / np.maximum(shares.sum(0), 1e-6)
    return np.concatenate([shares, maps[5:]])


def healthy_slice(
    maps: np.ndarray, contrast: Contrast, rng: np.random.RandomState, upright: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """A healthy slice as a scanner and an imperfect skull strip would give it.

    Args:
        maps: uint8 (len(MAPS), h, w), one slice of a subject of the pool.
        contrast: the scan's intensities.
        rng: random state.
        upright: the first axis is left to right and the middle plane was aligned, so the slice is hardly turned.

    Returns:
        image float32 (h, w), robust z-scores by the scan's centre and deviation, 0 outside; brain mask bool (h, w).
    """
    pose: dict[str, Any] = {"rotation": 4.0, "shift": (1.5, 4.0)} if upright else {}
    maps = warp_slice(maps.astype(np.float32) / 255, rng, **pose)
    if rng.rand() < CRISP_SHARE:
        maps = sharpen(maps, rng.uniform(1, 4))
    if rng.rand() < FOLDED_SHARE:
        maps = refold(maps, rng)
    if rng.rand() < FOLDED_SHARE:
        maps = refoliate(maps, rng)
    if rng.rand() < (0.9 if contrast.kind == "T1Gd" else 0.3):
        vessel = MAPS.index("vessel")
        maps[vessel] = np.maximum(maps[vessel], sulcal_vessels(maps, rng))
    weight = maps[:5].sum(0)
    mask = weight > 0.4
    if mask.sum() < 30:
        return np.zeros(mask.shape, np.float32), np.zeros(mask.shape, bool)
    image = paint(maps, contrast)
    # Tissues differ from place to place, each in its own way.
    for tissue, size in ((0, 0.07), (1, 0.04), (2, 0.05)):
        image = image * (1 + rng.uniform(0, size) * field(rng, mask.shape, 5) * maps[tissue])
    rim = ndi.gaussian_filter(maps[4], 1.2) * (1 - maps[4])
    image = image + rng.normal(0, 0.25) * contrast.deviation * rim
    # Where the strip leaves more than brain there is dura, fluid, fat or bone marrow of any intensity.
    inner = ndi.distance_transform_edt(mask) - ndi.distance_transform_edt(~mask)
    drift = rng.normal(0, 0.6) + rng.uniform(0, 1.0) * field(rng, mask.shape, 7)
    stripped = (inner > drift) & (inner > -5)
    left = rng.uniform(0.0, 1.6 if contrast.kind != "T1Gd" else 2.4) * contrast.tissue[:3].max()
    if rng.rand() < 0.5:
        left = contrast.tissue[3]
    outside = np.clip(1 - weight, 0, 1) if rng.rand() < 0.5 else (weight < 0.4)
    image = image * (1 - outside) + left * (1 + 0.2 * field(rng, mask.shape, 12)) * outside
    grain = rng.uniform(0, 0.04) * ndi.gaussian_filter(rng.standard_normal(mask.shape), rng.uniform(0.4, 1.2)) * 3
    image = image * (1 + grain)
    image = ndi.gaussian_filter(image, rng.uniform(0, 0.9, 2) if rng.rand() < 0.6 else 0.0)
    image = image * np.exp(rng.uniform(0, 0.16) * field(rng, mask.shape, rng.randint(3, 5)))
    z = (image - contrast.centre) / contrast.deviation
    z = z + rng.uniform(*NOISE) * rng.standard_normal(mask.shape)
    if rng.rand() < 0.4:  # gamma, about the scan's own range
        u = np.clip((z + 3) / 7, 0, 1.3)
        z = 7 * u ** np.exp(rng.uniform(-0.3, 0.3)) - 3
    z = z * np.exp(rng.normal(0, 0.12)) + rng.normal(0, 0.15)
    z = np.clip(z, *Z_RANGE).astype(np.float32)
    z[~stripped] = 0
    return z, stripped

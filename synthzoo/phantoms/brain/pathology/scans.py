"""Slices and whole scans of sick brains, painted from maps in a look of their own, as a scanner would show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from synthzoo.phantoms.brain.folds import refold, refoliate, sulcal_vessels
from synthzoo.phantoms.brain.pathology.lesion import PARTS
from synthzoo.phantoms.brain.pathology.looks import HEALTHY, KNOTS, Look, draw_look, paint, ripple
from synthzoo.phantoms.brain.pathology.recasting import recast
from synthzoo.phantoms.brain.pathology.subject import SickBrain
from synthzoo.phantoms.brain.pathology.views import in_view, rests, strip_unevenly, thick
from synthzoo.phantoms.brain.pool import MAPS
from synthzoo.phantoms.brain.slices import field, sharpen, warp_slice

TISSUES = ("background", "csf", "cortex", "white", "deep", "ventricle")
LABELS = {name: number for number, name in enumerate((*TISSUES, *PARTS))}
ROW_OF = [MAPS.index(name) for name in ("csf", "cortex", "wm", "deep", "ventricle")]  # of TISSUES[1:]
Z_RANGE = (-4.0, 8.0)
FOLDED_SHARE = 0.3
CRISP_SHARE = 0.65  # of scans whose tissues are sharpened


@dataclass
class Scan:
    """A painted slice (h, w) or volume (D, H, W).

    Attributes:
        image: float32, z-scores by the scan's own centre and deviation, exactly 0 outside `mask`.
        rank: float32 in [0, 1], the share of the brain that is darker, 0 outside.
        mask: bool, what an imperfect strip and the field of view left.
        labels: uint8 by `LABELS`, 0 outside the brain and the mask.
    """

    image: np.ndarray
    rank: np.ndarray
    mask: np.ndarray
    labels: np.ndarray


def label_map(maps: np.ndarray) -> np.ndarray:
    """Labels uint8 by `LABELS` of (HEALTHY + len(PARTS), ...) shares: the largest, lesions over tissues."""
    parts = maps[HEALTHY:]
    labels = np.zeros(maps.shape[1:], np.uint8)
    inside = maps[:5].sum(0) > 0.4
    labels[inside] = maps[ROW_OF][:, inside].argmax(0) + 1
    sick = (parts.sum(0) > 0.5) & inside
    labels[sick] = parts[:, sick].argmax(0) + len(TISSUES)
    return labels


def sick_slice(
    maps: np.ndarray, voxels: np.ndarray, rng: np.random.RandomState, kind: str | None = None, upright: bool = False
) -> Scan:
    """Paint one slice of a sick brain.

    Args:
        maps: uint8 (HEALTHY + len(PARTS), h, w), a slice of a subject of the pool.
        voxels: (HEALTHY + len(PARTS), N) in [0, 1], brain voxels of the whole subject.
        rng: random state.
        kind: contrast, drawn when None.
        upright: the first axis is left to right and the middle plane was aligned, so the slice is hardly turned.
    """
    pose = {"rotation": 5.0, "shift": (2.0, 5.0)} if upright and rng.rand() < 0.85 else {"rotation": 15.0}
    maps = warp_slice(maps.astype(np.float32) / 255, rng, scale=0.14, bend=2.0, **pose)
    voxels = np.array(voxels, np.float32)
    maps[HEALTHY:], voxels[HEALTHY:] = recast(maps[HEALTHY:], voxels[HEALTHY:], rng)
    look = draw_look(rng, voxels, kind)
    if rng.rand() < CRISP_SHARE:
        power = rng.uniform(1, 4)
        maps[:HEALTHY], voxels[:HEALTHY] = sharpen(maps[:HEALTHY], power), sharpen(voxels[:HEALTHY], power)
    if rng.rand() < FOLDED_SHARE:
        maps[:HEALTHY] = refold(maps[:HEALTHY], rng)
    if rng.rand() < FOLDED_SHARE:
        maps[:HEALTHY] = refoliate(maps[:HEALTHY], rng)
    if rng.rand() < (0.8 if look.contrast.kind == "T1Gd" else 0.3):
        vessel = MAPS.index("vessel")
        maps[vessel] = np.maximum(maps[vessel], sulcal_vessels(maps, rng))
    return _as_scanned(maps, look, rng, voxels=voxels)


def sick_scan(
    brain: SickBrain, rng: np.random.RandomState, kind: str | None = None, cut: float = 0.2, recasts: bool = True
) -> Scan:
    """Paint a whole sick brain.

    Args:
        brain: the anatomy with its lesions.
        rng: random state.
        kind: contrast, drawn when None.
        cut: how often the field of view ends within the brain.
        recasts: now and then fill tumours in another way, as slices for training are; see `recast`.
    """
    maps = np.clip(brain.volume(), 0, 1)
    if recasts:
        maps[HEALTHY:] = recast(maps[HEALTHY:], maps[HEALTHY:, :1, 0, 0], rng)[0]
    inside = np.flatnonzero(maps[:5].sum(0).ravel() > 0.4)
    voxels = maps.reshape(len(maps), -1)[:, rng.choice(inside, 4000)]
    look = draw_look(rng, voxels, kind)
    if rng.rand() < CRISP_SHARE:
        maps[:HEALTHY] = sharpen(maps[:HEALTHY], rng.uniform(1, 4))
    return _as_scanned(maps, look, rng, cut)


def _as_scanned(
    maps: np.ndarray, look: Look, rng: np.random.RandomState, cut: float = 0.2, voxels: np.ndarray | None = None
) -> Scan:
    """Paint, strip, blur, bias, noise, cut.

    z-scores and ranks are those among the whole scan's voxels, as they are where a scan is read: a volume's own, and
    for a slice those of the subject's random `voxels`, which get the same bias and noise.
    """
    weight, contrast = maps[:5].sum(0), look.contrast
    bias, noise = rng.uniform(0, 0.18), contrast.deviation * rng.uniform(0.02, 0.3)
    image = ripple(paint(maps, look, rng), maps, rng)
    lining = ndi.gaussian_filter(maps[4], 1.2) * (1 - maps[4])
    image = image + rng.normal(0, 0.3) * contrast.deviation * lining
    stripped = strip_unevenly(weight, rng)
    brightest = float(contrast.tissue[:3].max())
    left = contrast.tissue[3] if rng.rand() < 0.6 else rng.uniform(0, 1.8) * brightest
    outside = np.clip(1 - weight, 0, 1)
    image = image * (1 - outside) + left * (1 + 0.2 * field(rng, weight.shape, 12)) * outside
    if rng.rand() < 0.4:
        intensity, where = rests(weight, brightest, rng)
        image = np.where(where, intensity, image)
        stripped |= where
    image = thick(image, rng)
    image = image * np.exp(bias * field(rng, weight.shape, rng.randint(3, 5)))
    image = image + noise * rng.standard_normal(weight.shape)
    mask = stripped & in_view(weight > 0.4, rng, cut)
    values = image[mask] if voxels is None else _worn(voxels, look, rng, bias, noise, left)
    quantiles = np.percentile(values, KNOTS) if len(values) else look.quantiles
    low, middle, high = np.interp((10, 50, 90), KNOTS, quantiles)
    z = (image - middle) / (max(high - low, 0.02) / 2.563)
    rank = np.interp(image, quantiles, KNOTS / 100)
    if rng.rand() < 0.4:  # gamma, about the scan's own range; the rank does not see it
        z = 9 * np.clip((z + 3) / 9, 0, 1.3) ** np.exp(rng.uniform(-0.35, 0.35)) - 3
    z = z * np.exp(rng.normal(0, 0.12)) + rng.normal(0, 0.15)
    rank = np.clip(rank + rng.normal(0, 0.02), 0, 1)
    return Scan(
        np.where(mask, np.clip(z, *Z_RANGE), 0).astype(np.float32),
        np.where(mask, rank, 0).astype(np.float32),
        mask,
        label_map(maps) * mask,
    )


def _worn(
    voxels: np.ndarray, look: Look, rng: np.random.RandomState, bias: float, noise: float, left: float
) -> np.ndarray:
    """Intensities (N,) of random voxels of a scan, of which a cut field of view may hold more or less of the lesion."""
    chance = np.exp(rng.normal(0, 0.5 if rng.rand() < 0.4 else 0.05) * voxels[HEALTHY:].sum(0))
    count = voxels.shape[1]
    chosen = voxels[:, rng.choice(count, count, p=chance / chance.sum())]
    values = paint(chosen, look)
    beyond = rng.rand(count) < rng.uniform(0, 0.05)  # rests of what is no brain
    values = np.where(beyond, left, values) * np.exp(bias * rng.standard_normal(count))
    return values + noise * rng.standard_normal(count)

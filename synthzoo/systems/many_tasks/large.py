"""Large anomalies, filled from edge to edge: what an image looks like that a tumour of 30 to 250 mL has taken over.

The shapes of the paper's tasks rarely reach that size, their labels follow the change voxel by voxel, and an image is
normalised before it is changed. A network that learned from them alone marks the rim of a large lesion and takes its
even inside for tissue. Here the outline is an ellipsoid made uneven by smooth noise, its inside is replaced or
brightened as a whole, every voxel of it is labelled, and the image is scored again as a scan with such a lesion is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from synthzoo.phantoms.brain.slices import Z_RANGE
from synthzoo.transforms.intensity_changes import draw_change, smooth_change
from synthzoo.transforms.random_shapes import inner_distance

RADII = (9.0, 22.0)  # voxels: of 2 mm, 24 to 360 mL
BRAIN_VOXELS = 160_000  # of a volume, when a slice is all that is known
MOST_SHARE = 0.3
FILLED = 75.0  # percentile of the label that every voxel of the anomaly reaches
LOOKS = ("plateau", "rim", "patches", "other")


def draw_blob(brain: np.ndarray, rng: np.random.RandomState, radii: tuple[float, float] = RADII) -> np.ndarray:
    """A large uneven blob within a brain, bool (*spatial), which may end at the brain's edge.

    Args:
        brain: bool (*spatial).
        rng: draws centre, size, axes and outline.
        radii: smallest and largest, in voxels.
    """
    shape, centres = brain.shape, np.argwhere(brain)
    centre = centres[rng.randint(len(centres))]
    radius = rng.uniform(*radii)
    turn = np.linalg.qr(rng.standard_normal((brain.ndim, brain.ndim)))[0]
    axes = np.exp(rng.normal(0, 0.25, brain.ndim))
    offset = np.stack(np.meshgrid(*[np.arange(n) - c for n, c in zip(shape, centre)], indexing="ij"))
    local = np.tensordot(turn / (radius * axes[:, None] / axes.mean()), offset, 1)
    rough = np.zeros(shape)
    for size, most in ((rng.uniform(4, 9), 0.35), (rng.uniform(1.5, 3), 0.15)):
        noise = ndimage.gaussian_filter(rng.standard_normal(shape), size)
        rough += rng.uniform(0, most) * noise / max(float(noise.std()), 1e-6)
    return (np.sqrt((local**2).sum(0)) + rough < 1) & brain


def fill_blob(
    image: np.ndarray,
    blob: np.ndarray,
    rng: np.random.RandomState,
    level: Callable[[], float],
    texture: np.ndarray,
    sigma: float,
) -> np.ndarray:
    """An image with its blob's inside replaced; (C, *spatial), not clipped.

    One of: a plateau through which some of the tissue shows, a rim around another inside, patches of two greys, or the
    texture as it is.

    Args:
        image: (C, *spatial).
        blob: bool (*spatial).
        rng: random state.
        level: draws a grey.
        texture: (C, *spatial), of another image, any unit.
        sigma: of the labels, which scales by how much the greys of a rim or of patches differ.
    """
    look = LOOKS[rng.choice(len(LOOKS), p=(0.45, 0.25, 0.2, 0.1))]
    grain = (
        (texture - texture.mean()) / max(float(texture.std()), 1e-6) * rng.uniform(0.0, 0.3 if look != "other" else 0.9)
    )
    inside: float | np.ndarray = level()
    if look == "rim":
        depth = inner_distance(blob)
        inner = np.clip(depth - rng.uniform(1.0, 7.0), 0, 1)
        inside = inside * inner + (inside + draw_change(sigma, rng)) * (1 - inner)
    elif look == "patches":
        noise = ndimage.gaussian_filter(rng.standard_normal(blob.shape), rng.uniform(1.5, 5.0))
        share = np.clip(0.5 + 2 * (noise / max(float(noise.std()), 1e-6) - rng.normal(0, 0.5)), 0, 1)
        inside = inside + share * draw_change(sigma, rng)
    opacity = rng.uniform(0.6, 1.0) if rng.rand() < 0.5 else 1.0
    soft = ndimage.gaussian_filter(blob.astype(np.float32), rng.uniform(0.4, 3.0)) * blob * opacity
    return image * (1 - soft) + soft * (inside + grain)


def veil_blob(image: np.ndarray, blob: np.ndarray, rng: np.random.RandomState, sigma: float, bound: bool) -> np.ndarray:
    """An image whose blob is brighter or darker by one amount, its tissue kept, as oedema shows it; (C, *spatial)."""
    return smooth_change(image, blob, min(image.shape[1:]), rng, sigma, False, bound)


def filled_label(label: np.ndarray, blob: np.ndarray) -> np.ndarray:
    """A soft label (1, *spatial) in which every voxel of the blob has what a quarter of them exceed, or its own."""
    if not blob.any():
        return label
    out = label.copy()
    out[0, blob] = np.maximum(out[0, blob], np.percentile(label[0, blob], FILLED))
    return out


def volume_share(blob: np.ndarray, brain: np.ndarray, rng: np.random.RandomState) -> float:
    """The blob's share of its brain's volume, at most 0.3; of a slice that of a ball, about, of such a cut."""
    if blob.ndim == 3:
        return min(float(blob.sum() / max(int(brain.sum()), 1)), MOST_SHARE)
    ball = 4 / 3 * np.pi * (blob.sum() / np.pi) ** 1.5
    return min(float(ball * rng.uniform(0.6, 1.4) / BRAIN_VOXELS), MOST_SHARE)


def scored_again(
    image: np.ndarray, healthy: np.ndarray, blob: np.ndarray, brain: np.ndarray, share: float
) -> np.ndarray:
    """Z-scores as a scan's own centre and spread give them once a lesion is part of it; (C, *spatial), 0 outside.

    Median and the 10 to 90 % range are those of the map's own preprocessing: a lesion of a tenth of the brain sets one
    end of that range, and then no longer stands out.

    Args:
        image: z-scores with the anomaly, (C, *spatial), 0 outside the brain.
        healthy: the same without it.
        blob, brain: bool (*spatial).
        share: of the brain's volume that the anomaly takes.
    """
    own, sick = healthy[:, brain & ~blob].ravel(), image[:, blob].ravel()
    if not own.size or not sick.size or share <= 0:
        return image
    values, weights = np.concatenate([own, sick]), np.ones(own.size + sick.size)
    weights[: own.size], weights[own.size :] = (1 - share) / own.size, share / sick.size
    before, after = np.percentile(healthy[:, brain], (10, 50, 90)), _weighted(values, weights, (0.1, 0.5, 0.9))
    ratio = max(float(before[2] - before[0]), 1e-6) / max(float(after[2] - after[0]), 1e-6)
    scored = np.clip(before[1] + (image - after[1]) * ratio, *Z_RANGE)
    return np.where(image != 0, scored, 0).astype(np.float32)


def _weighted(values: np.ndarray, weights: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """Weighted quantiles."""
    order = np.argsort(values)
    return np.interp(shares, np.cumsum(weights[order]) / weights.sum(), values[order])

"""What needs no network: the baselines beside the prior's tasks, on the same scans and with equal knowledge.

Total variation and non-local means of scikit-image, reconstruction by total variation with the measured k-space kept,
and ventricles that grow along their distance map. Holes are filled by `synthzoo.evaluation.fillings`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage as ndi
from skimage.filters import threshold_multiotsu
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

TV_STEPS = 100  # of scikit-image's total variation: its own rule stops where the energy turns, far too early
ROUNDS, TV_STEPS_INSIDE = 30, 20  # of reconstruction
DEEP_MM, LEAST_ML = 16.0, 0.32  # of ventricles, below the surface of the brain, and of a part of them
FARTHEST_MM, RING_MM = 80.0, (2.0, 12.0)  # that a wall moves at most; around a ventricle that shrinks


def by_total_variation(image: np.ndarray, weight: float) -> np.ndarray:
    """An image (D, H, W) of low total variation (Chambolle 2004), by scikit-image."""
    return denoise_tv_chambolle(image, weight, eps=0, max_num_iter=TV_STEPS)


def by_non_local_means(image: np.ndarray, noise: float, strength: float) -> np.ndarray:
    """An image (D, H, W) as means of like patches (Buades et al. 2005), by scikit-image; `strength` is h over noise."""
    return denoise_nl_means(image, patch_size=3, patch_distance=3, h=strength * noise, sigma=noise, fast_mode=True)


def reconstructed_by_total_variation(
    filled: torch.Tensor, keep: Callable[[torch.Tensor], torch.Tensor], weight: float
) -> torch.Tensor:
    """The image of low total variation that agrees with the measured k-space, by accelerated projected steps.

    Beck, Teboulle, SIAM J. Imaging Sciences 2009 (FISTA), with scikit-image's total variation as the proximal step.

    Args:
        filled: zero-filled image (1, 1, D, H, W).
        keep: puts the measured k-space in its place, see `restoration.keep_samples`.
        weight: of the total variation.
    """
    image = before = filled
    t = 1.0
    for _ in range(ROUNDS):
        ahead = (1 + (1 + 4 * t**2) ** 0.5) / 2
        moved = keep(image + (t - 1) / ahead * (image - before))
        smooth = denoise_tv_chambolle(moved[0, 0].numpy(), weight, eps=0, max_num_iter=TV_STEPS_INSIDE)
        image, before, t = torch.from_numpy(smooth).to(filled)[None, None], image, ahead
    return keep(image)


def ventricles(image: np.ndarray, spacing_mm: float) -> np.ndarray:
    """The ventricles of a T1w scan (D, H, W) by thresholds, bool: what is as dark as fluid, deep in the brain.

    Otsu's thresholds of three classes (scikit-image) tell fluid, grey and white matter apart.
    """
    brain = ndi.binary_fill_holes(image > 0)
    dark = brain & (image < threshold_multiotsu(image[image > 0], classes=3)[0])
    names, count = ndi.label(dark & (ndi.distance_transform_edt(brain) > DEEP_MM / spacing_mm))
    sizes = np.bincount(names.ravel(), minlength=count + 1)
    sizes[0] = 0
    return (sizes >= max(round(LEAST_ML * 1000 / spacing_mm**3), 0.1 * sizes.max()))[names]


def with_larger_ventricles(image: np.ndarray, change_ml: float, spacing_mm: float) -> np.ndarray:
    """A scan (D, H, W) whose ventricles, see `ventricles`, grow or shrink along their distance map.

    What becomes ventricle gets the ventricle's brightness, and what leaves it that of the tissue around it; nothing is
    pushed aside.
    """
    inside = ventricles(image, spacing_mm)
    if not inside.any():
        return image
    distance = ndi.distance_transform_edt(~inside) - ndi.distance_transform_edt(inside)
    distance = np.where(image > 0, distance, np.inf)
    low, high = -FARTHEST_MM / spacing_mm, FARTHEST_MM / spacing_mm
    wanted = float(_ramp(-distance).sum()) + change_ml / (spacing_mm**3 / 1000)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _ramp(middle - distance).sum() < wanted else (low, middle)
    before, after = _ramp(-distance), _ramp(low - distance)
    fluid = float(np.median(image[inside]))
    if change_ml < 0:
        near, far = (mm / spacing_mm for mm in RING_MM)
        ring = (distance > near) & (distance < far)
        fluid = float(np.median(image[ring]))
    moved = np.clip(np.abs(after - before), 0, 1)
    return ((1 - moved) * image + moved * fluid).astype(np.float32)


def _ramp(distance: np.ndarray) -> np.ndarray:
    """Share of a voxel that lies within a wall `distance` voxels away, inside > 0."""
    return np.clip(0.5 + distance, 0, 1)

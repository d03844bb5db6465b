"""CT of a chest phantom: the same attenuation model on voxels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage as ndi

from synthzoo.errors import UserError
from synthzoo.phantoms.chest.anatomy import Anatomy
from synthzoo.phantoms.chest.bones import skeleton
from synthzoo.phantoms.chest.clouds import Cloud
from synthzoo.phantoms.chest.patient import PHANTOM
from synthzoo.phantoms.chest.tissue import ROWS, tissue
from synthzoo.phantoms.chest.vessels import vessels

if TYPE_CHECKING:
    from synthzoo.phantoms.chest.findings import Lesion

NOISE = 310  # salt
LOW_MM, HIGH_MM = np.array((-240.0, -175.0, -190.0)), np.array((240.0, 170.0, 190.0))
SPACINGS = (1.0, 10.0)
BLUR_VOXELS, GRAIN_VOXELS = 0.4, 0.6
HU_RANGE = (-1000.0, 3000.0)


def chest_ct(
    an: Anatomy,
    spacing_mm: float = 3.0,
    lesions: Sequence[Lesion] = (),
    clouds: Sequence[Cloud] | None = None,
    noise_hu: float = 18.0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A CT of an anatomy.

    Args:
        an: patient and breath.
        spacing_mm: side of a voxel, 1 to 10.
        lesions: placed findings.
        clouds: None are the patient's bones and vessels.
        noise_hu: standard deviation of correlated noise; 0 is none.
        seed: of the noise.

    Returns:
        HU float32 (X, Y, Z) in RAS order, labels uint8 of the same shape (0 none, 1 lung, 2 heart, then 3 for the
            first finding and so on), and the affine from voxels to mm, float64 (4, 4).
    """
    if not SPACINGS[0] <= spacing_mm <= SPACINGS[1]:
        raise UserError(f"spacing_mm = {spacing_mm:g}: a CT of {PHANTOM} takes {SPACINGS[0]:g} to {SPACINGS[1]:g} mm.")
    counts = np.round((HIGH_MM - LOW_MM) / spacing_mm).astype(int)
    axes = [torch.arange(n) * spacing_mm + float(low) for n, low in zip(counts, LOW_MM)]
    x, y, z = axes[0].reshape(1, 1, -1), axes[1].reshape(-1, 1, 1), axes[2].reshape(1, -1, 1)
    hu, labels = [], []
    with torch.inference_mode():
        for first in range(0, z.shape[1], ROWS):
            block = z[:, first : first + ROWS]
            solid, *shares = tissue(an, (x, y, block), spacing_mm, lesions)
            most, label = torch.stack([shares[0] - sum(shares[2:]), *shares[1:]]).max(0)
            hu.append(solid)
            labels.append(((label + 1) * (most > 0.5)).to(torch.uint8))
    volume = torch.cat(hu, 1).permute(2, 0, 1).contiguous().numpy()
    for points, mass in (skeleton(an, spacing_mm), vessels(an)) if clouds is None else clouds:
        shifted = points + np.stack([an.shear(points[:, 2]), 0 * points[:, 1], 0 * points[:, 2]], 1)
        volume += _splat((shifted - LOW_MM) / spacing_mm, mass / spacing_mm**3, volume.shape)
    volume = np.clip(ndi.gaussian_filter(volume, BLUR_VOXELS), *HU_RANGE)
    if noise_hu:
        rng = np.random.default_rng([NOISE, seed])
        grain = ndi.gaussian_filter(rng.standard_normal(volume.shape, dtype=np.float32), GRAIN_VOXELS)
        volume += grain * (noise_hu / grain.std())
    affine = np.diag([-spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = LOW_MM
    # The phantom's x runs to the patient's left, RAS runs to the right.
    affine[0, 3] = -(LOW_MM[0] + (counts[0] - 1) * spacing_mm)
    affine[0, 0] = spacing_mm
    marked = torch.cat(labels, 1).permute(2, 0, 1).numpy()
    return np.ascontiguousarray(volume[::-1], np.float32), np.ascontiguousarray(marked[::-1]), affine


def _splat(at: np.ndarray, mass: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Points (N, 3) in voxels spread trilinearly, float32 of `shape`."""
    low = np.floor(at).astype(np.int64)
    part = at - low
    total = np.zeros(int(np.prod(shape)))
    for corner in np.ndindex(2, 2, 2):
        voxel = low + corner
        weight = np.prod(np.where(corner, part, 1 - part), 1) * mass
        inside = ((voxel >= 0) & (voxel < shape)).all(1)
        total += np.bincount(np.ravel_multi_index(tuple(voxel[inside].T), shape), weight[inside], len(total))
    return total.reshape(shape).astype(np.float32)

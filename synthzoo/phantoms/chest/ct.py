"""CT of a chest phantom: the same attenuation model on voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    low_mm: Sequence[float] | None = None,
    shape: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A CT of an anatomy.

    Args:
        an: patient and breath.
        spacing_mm: side of a voxel, 1 to 10.
        lesions: placed findings.
        clouds: None are the patient's bones and vessels.
        noise_hu: standard deviation of correlated noise; 0 is none.
        seed: of the noise.
        low_mm: x, y, z of the first voxel's centre in the patient's frame, x to the left; None is `LOW_MM`.
        shape: voxels along each axis; None reaches to `HIGH_MM`.

    Returns:
        HU float32 (X, Y, Z) in RAS order, labels uint8 of the same shape (0 none, 1 lung, 2 heart, then 3 for the
            first finding and so on), and the affine from voxels to mm, float64 (4, 4).
    """
    volume, labels, affine = chest_shares(
        an, spacing_mm, lesions, clouds, noise_hu, seed, low_mm, shape, labels_of_shares
    )
    return volume, labels[0], affine


def labels_of_shares(shares: torch.Tensor) -> torch.Tensor:
    """Shares (P, ...) -> labels uint8 (1, ...): the part that has more than half of a voxel, counted from 1, or 0."""
    most, label = shares.max(0)
    return ((label + 1) * (most > 0.5)).to(torch.uint8)[None]


def chest_shares(
    an: Anatomy,
    spacing_mm: float,
    lesions: Sequence[Lesion],
    clouds: Sequence[Cloud] | None,
    noise_hu: float,
    seed: int,
    low_mm: Sequence[float] | None = None,
    shape: Sequence[int] | None = None,
    keep: Callable[[torch.Tensor], torch.Tensor] = torch.clone,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `chest_ct`, with the parts' shares of each voxel in place of labels.

    Args:
        an, spacing_mm, lesions, clouds, noise_hu, seed, low_mm, shape: see `chest_ct`.
        keep: what is kept of the shares (2 + F, ...) of a block: lung without findings, heart, each of F findings.

    Returns:
        HU float32 (X, Y, Z), what is kept (P, X, Y, Z), and the affine.
    """
    if not SPACINGS[0] <= spacing_mm <= SPACINGS[1]:
        raise UserError(f"spacing_mm = {spacing_mm:g}: a CT of {PHANTOM} takes {SPACINGS[0]:g} to {SPACINGS[1]:g} mm.")
    start = LOW_MM if low_mm is None else np.asarray(low_mm, np.float64)
    counts = np.round((HIGH_MM - start) / spacing_mm).astype(int) if shape is None else np.asarray(shape, int)
    axes = [torch.arange(n) * spacing_mm + float(low) for n, low in zip(counts, start)]
    x, y, z = axes[0].reshape(1, 1, -1), axes[1].reshape(-1, 1, 1), axes[2].reshape(1, -1, 1)
    hu, parts = [], []
    with torch.inference_mode():
        for first in range(0, z.shape[1], ROWS):
            block = z[:, first : first + ROWS]
            solid, *shares = tissue(an, (x, y, block), spacing_mm, lesions)
            hu.append(solid)
            parts.append(keep(torch.stack([shares[0] - sum(shares[2:]), *shares[1:]])))
    volume = torch.cat(hu, 1).permute(2, 0, 1).contiguous().numpy()
    for points, mass in (skeleton(an, spacing_mm), vessels(an)) if clouds is None else clouds:
        shifted = points + np.stack([an.shear(points[:, 2]), 0 * points[:, 1], 0 * points[:, 2]], 1)
        volume += _splat((shifted - start) / spacing_mm, mass / spacing_mm**3, volume.shape)
    volume = np.clip(ndi.gaussian_filter(volume, BLUR_VOXELS), *HU_RANGE)
    if noise_hu:
        rng = np.random.default_rng([NOISE, seed])
        grain = ndi.gaussian_filter(rng.standard_normal(volume.shape, dtype=np.float32), GRAIN_VOXELS)
        volume += grain * (noise_hu / grain.std())
    affine = np.diag([-spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = start
    # The phantom's x runs to the patient's left, RAS runs to the right.
    affine[0, 3] = -(start[0] + (counts[0] - 1) * spacing_mm)
    affine[0, 0] = spacing_mm
    marked = torch.cat(parts, 2).permute(0, 3, 1, 2).numpy()
    return np.ascontiguousarray(volume[::-1], np.float32), np.ascontiguousarray(marked[:, ::-1]), affine


def vessels_around(an: Anatomy, lesions: Sequence[Lesion]) -> Cloud:
    """The patient's vessels without those beyond a pneumothorax's line."""
    points, mass = vessels(an)
    for lesion in lesions:
        if lesion.kind == "pneumothorax":
            kept = ~lesion.covers(an, points)
            points, mass = points[kept], mass[kept]
    return points, mass


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

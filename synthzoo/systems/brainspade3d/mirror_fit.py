"""A brain's mirror image laid over the brain itself by a smooth deformation, wherever both may be looked at."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

LATTICE = (10, 11, 10)  # points of the deformation
STEPS, RATE_MM = 60, 0.4
STIFF = 0.02  # weight of the deformation's slopes
MOST_MM = 16.0


def fit_mirror(volume: np.ndarray, seen: np.ndarray, spacing_mm: float = 4.0) -> np.ndarray:
    """Fit the mirror image of a volume to it.

    Args:
        volume: intensities (D, H, W); the middle of the first axis is the middle plane.
        seen: bool (D, H, W), what may be compared; a voxel counts where its mirror image's source is seen, too.
        spacing_mm: of the grid.

    Returns:
        float32 (3, D, H, W) in voxels: voxel x looks like the mirrored volume at x + flow(x).
    """
    inside = volume[seen]
    if inside.size < 100:
        return np.zeros((3, *volume.shape), np.float32)
    low, high = np.percentile(inside, (2, 98))
    z = np.where(seen, np.clip((volume - low) / max(float(high - low), 1e-6), 0, 1), 0).astype(np.float32)
    fixed = torch.from_numpy(z)[None, None]
    weight = torch.from_numpy(seen.astype(np.float32))[None, None]
    moving = torch.cat([fixed, weight], 1).flip(2)
    size = volume.shape
    axes = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in size], indexing="ij")
    home = torch.stack(axes)[None]
    scale = torch.tensor([2 / (n - 1) for n in size]).view(1, 3, 1, 1, 1)
    lattice = torch.zeros(1, 3, *LATTICE, requires_grad=True)
    optimiser = torch.optim.Adam([lattice], lr=RATE_MM / spacing_mm)
    with torch.enable_grad():
        for _ in range(STEPS):
            flow = _flow(lattice, size, spacing_mm)
            where = ((home + flow) * scale - 1).permute(0, 2, 3, 4, 1).flip(-1)
            found = F.grid_sample(moving, where, align_corners=True)
            both = weight * found[:, 1:]
            error = (((found[:, :1] - fixed) ** 2) * both).sum() / both.sum().clamp(min=1)
            slopes = sum(lattice.diff(dim=axis).pow(2).mean() for axis in (2, 3, 4))
            optimiser.zero_grad()
            (error + STIFF * slopes).backward()
            optimiser.step()
    return _flow(lattice, size, spacing_mm).detach()[0].numpy()


def _flow(lattice: torch.Tensor, size: tuple[int, ...], spacing_mm: float) -> torch.Tensor:
    fine = F.interpolate(lattice, size=size, mode="trilinear", align_corners=True)
    return fine.clamp(-MOST_MM / spacing_mm, MOST_MM / spacing_mm)

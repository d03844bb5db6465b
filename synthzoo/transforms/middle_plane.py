"""Alignment of a head's plane of symmetry with the middle of a grid by a small rotation and shift.

The correlation of the volume with its mirror image is maximised over yaw, roll and a shift along left to right: first
over a coarse set of poses, then by Powell's method. Pitch does not show in a mirror and stays as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from torch.nn import functional as F

MOST_DEGREES, MOST_MM = 20.0, 24.0


def middle_pose(head: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Rigid motion (4, 4) in mm about the grid's centre: where a point of the upright grid lies in the given one.

    Args:
        head: (D, H, W), RAS, first axis left to right, background near 0.
        spacing_mm: voxel size; 4 mm is enough.
    """
    top = np.percentile(head[head > 0], 98) if (head > 0).any() else 1.0
    volume = torch.from_numpy(np.clip(head / top, 0, 1).astype(np.float32))[None, None]
    coarse = F.avg_pool3d(volume, 2)
    angles, shifts = (-15, -10, -5, 0, 5, 10, 15), (-16, -8, 0, 8, 16)
    poses = list(itertools.product(angles, angles, shifts))
    best = max(poses, key=lambda pose: _similarity(coarse, pose, 2 * spacing_mm))
    found = minimize(
        lambda pose: -_similarity(volume, pose, spacing_mm), best, method="Powell", options={"xtol": 0.1, "ftol": 1e-5}
    )
    # In quarters of a degree and a millimetre, so that a scan stored in another way is turned exactly alike.
    pose = np.round(4 * found.x) / 4 if -found.fun > _similarity(volume, (0, 0, 0), spacing_mm) + 1e-3 else (0, 0, 0)
    return _motion(pose)


def _motion(pose: Sequence[float]) -> np.ndarray:
    """Rigid motion of (yaw, roll) in degrees and a shift in mm."""
    yaw, roll = np.clip(pose[:2], -MOST_DEGREES, MOST_DEGREES)
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("zy", [yaw, roll], degrees=True).as_matrix()
    motion[:3, 3] = motion[:3, 0] * np.clip(pose[2], -MOST_MM, MOST_MM)
    return motion


def _similarity(volume: torch.Tensor, pose: Sequence[float], spacing_mm: float) -> float:
    """Correlation of the volume (1, 1, D, H, W) in a pose with its mirror image."""
    half = (np.array(volume.shape[2:]) - 1) / 2 * spacing_mm
    motion = _motion(pose)
    theta = (motion[:3] * np.array([*half, 1.0]) / half[:, None])[::-1][:, [2, 1, 0, 3]]  # grid_sample's x is last
    grid = F.affine_grid(torch.from_numpy(theta.copy()).float()[None], list(volume.shape), align_corners=True)
    seen = F.grid_sample(volume, grid, align_corners=True)[0, 0]
    seen = seen - seen.mean()
    return float((seen * seen.flip(0)).sum() / seen.pow(2).sum().clamp_min(1e-6))

"""Volume and ejection fraction of a left ventricle from its masks, by the method of discs.

The mask is cut into discs across its long axis; a disc of height H and area A counts as a cylinder of diameter A / H.
Reference: Schiller et al., "Recommendations for quantitation of the left ventricle by two-dimensional
echocardiography", J Am Soc Echocardiogr 1989.
"""

from __future__ import annotations

import numpy as np
import torch

from synthzoo.errors import UserError

DISCS = 20
FINER = 4  # parts of a pixel's side, so that a pixel is shared by the discs that it lies in


def disc_volumes(
    masks: np.ndarray | torch.Tensor,
    cm_per_pixel: float,
    axis: np.ndarray | torch.Tensor | None = None,
    discs: int = DISCS,
) -> np.ndarray:
    """Volume in mL of each frame, float64 (T,); an empty mask has 0.

    Args:
        masks: bool (T, H, W), or (H, W) for one frame.
        cm_per_pixel: side of a pixel in cm.
        axis: direction (x, y) of the long axis in the image, of any length and sign; None finds it, see `long_axis`.
        discs: how many.

    Raises:
        UserError: masks of another number of dimensions, a size of pixels that is not above 0, an axis without length.
    """
    masks = np.asarray(masks)
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.ndim != 3:
        raise UserError(f"masks of shape {masks.shape}: discs are cut from masks (frames, height, width).")
    if not cm_per_pixel > 0:
        raise UserError(f"cm_per_pixel = {cm_per_pixel}: the side of a pixel is a length in cm above 0.")
    direction = long_axis(masks) if axis is None else np.asarray(axis, np.float64).ravel()
    if direction.shape != (2,) or not np.hypot(*direction) > 0:
        raise UserError(f"axis = {axis}: the long axis is a direction (x, y) in the image, not both 0.")
    direction = direction / np.hypot(*direction)
    return np.array([_volume(mask > 0, direction, discs) for mask in masks]) * cm_per_pixel**3


def long_axis(masks: np.ndarray | torch.Tensor) -> np.ndarray:
    """Direction (x, y) of the largest spread of the masks about their own centres, one for all frames, float64 (2,).

    It points downwards; (0, 1) when every mask is empty.
    """
    spread = np.zeros((2, 2))
    for mask in np.asarray(masks) > 0:
        y, x = np.nonzero(mask)
        if x.size:
            points = np.stack([x - x.mean(), y - y.mean()])
            spread += points @ points.T
    if not spread.any():
        return np.array([0.0, 1.0])
    direction = np.linalg.eigh(spread)[1][:, -1]
    return direction if direction[1] >= 0 else -direction


def ejection_fraction(
    volumes: np.ndarray | torch.Tensor, ed_frame: int | None = None, es_frame: int | None = None
) -> float:
    """1 - ESV / EDV of volumes (T,); without frames the largest and the smallest volume. NaN without any volume.

    >>> ejection_fraction([120.0, 80.0, 48.0, 90.0])
    0.6
    """
    volumes = np.asarray(volumes, np.float64)
    largest = volumes.max() if ed_frame is None else volumes[ed_frame]
    smallest = volumes.min() if es_frame is None else volumes[es_frame]
    return float(1 - smallest / largest) if largest > 0 else float("nan")


def measure_echo(
    masks: np.ndarray | torch.Tensor, cm_per_pixel: float, axis: np.ndarray | torch.Tensor | None = None
) -> dict[str, float]:
    """`{"ef", "edv_ml", "esv_ml", "ed_frame", "es_frame"}` of masks (T, H, W) by largest and smallest volume."""
    volumes = disc_volumes(masks, cm_per_pixel, axis)
    ed_frame, es_frame = int(volumes.argmax()), int(volumes.argmin())
    return {
        "ef": ejection_fraction(volumes),
        "edv_ml": float(volumes[ed_frame]),
        "esv_ml": float(volumes[es_frame]),
        "ed_frame": ed_frame,
        "es_frame": es_frame,
    }


def _volume(mask: np.ndarray, direction: np.ndarray, discs: int) -> float:
    """Volume of one mask in cubic pixels."""
    y, x = np.nonzero(mask)
    if not x.size:
        return 0.0
    parts = (np.arange(FINER) + 0.5) / FINER - 0.5
    along = (x * direction[0] + y * direction[1])[:, None, None]
    along = along + parts[:, None] * direction[0] + parts * direction[1]
    first, last = along.min() - 0.5 / FINER, along.max() + 0.5 / FINER
    height = (last - first) / discs
    which = np.minimum(((along - first) / height).astype(int), discs - 1)
    diameters = np.bincount(which.ravel(), minlength=discs) / FINER**2 / height
    return float(np.pi / 4 * (diameters**2).sum() * height)

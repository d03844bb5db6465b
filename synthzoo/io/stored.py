"""A scan that was changed in places, stored as it was: its type, its scaling, and every other voxel to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthzoo.io.nifti import nifti_at
from synthzoo.io.unpacking import read_voxels
from synthzoo.io.volumes import read_volume

LARGEST_ITEM = 8  # bytes of a voxel


class Stored(NamedTuple):
    """Voxels as a NIfTI file holds them.

    Attributes:
        voxels: (D, H, W) in the file's own type; a value is slope x voxel + intercept.
        scaling: slope and intercept.
    """

    voxels: np.ndarray
    scaling: tuple[float, float]


def stored_again(path: str | Path, array: np.ndarray) -> Stored | None:
    """Bring a scan's changed values into the storage of its file.

    Args:
        path: the file that the scan was read from.
        array: float32 (D, H, W) in the unit that `read_volume` gives, changed in places.

    Returns:
        The file's own voxels where nothing was changed, and elsewhere the nearest that its type can hold; None for a
        file that is no NIfTI, has another shape, or holds neither integers nor real numbers.
    """
    image = nifti_at(path)
    if image is None:
        return None
    kind = image.get_data_dtype()
    shape = tuple(int(n) for n in image.shape)
    if shape[:3] != array.shape or np.prod(shape[3:]) != 1 or kind.kind not in "iuf" or kind.itemsize > LARGEST_ITEM:
        return None
    voxels = read_voxels(path, image, shape[:3], stored=True)[0]
    changed = array != read_volume(path)[0][0]
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    values = (array[changed].astype(np.float64) - intercept) / slope
    if voxels.dtype.kind in "iu":
        limits = np.iinfo(voxels.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    voxels[changed] = values.astype(voxels.dtype)
    return Stored(voxels, (slope, intercept))

"""What is normal about a scan although no brain: remains of stripping, and fields of view that end within the head."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from scipy import ndimage

from synthzoo.phantoms.brain.pathology.views import in_view, rests
from synthzoo.phantoms.brain.pool import GRID

AIR = (-4.0, -1.5)  # z-scores of what gives no signal
FARTHEST_INDEX = 8  # slices by which a cut along the slices' axis moves the brain on the grid


class RandContextd(RandomizableTransform, MapTransform):
    """Add remains of skull, vessels and neck around a brain, and cut its field of view, as a map meets them.

    Neither is an anomaly: the brain's mask says where one may be planted, and what this adds has the label 0. A scan
    whose field of view ends within the brain is centred by what is left of it (`inferers.brain_map.to_network`), so the
    slice is moved as such a scan's is.

    Args:
        keys: the slice, (1, h, w) z-scores, exactly 0 outside.
        mask_key: brain, bool (1, h, w).
        remains: how often remains are added.
        cut: how often the field of view ends within the slice; the same again moves it along the slices' axis.
        axis_key, index_key: axis that the slice was cut across, and its number along it.
        grid: slices along each axis.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        mask_key: Hashable = "brain",
        remains: float = 0.35,
        cut: float = 0.25,
        axis_key: Hashable = "axis",
        index_key: Hashable = "index",
        grid: Sequence[int] = GRID,
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob=1.0)
        self.mask_key, self.axis_key, self.index_key = mask_key, axis_key, index_key
        self.remains, self.cut, self.grid = remains, cut, tuple(grid)

    def __call__(self, data: Mapping) -> dict:
        data = dict(data)
        key = self.keys[0]
        image, brain = np.array(data[key], dtype=np.float32)[0], np.asarray(data[self.mask_key])[0] > 0
        if brain.any() and self.R.rand() < self.remains:
            image = self._with_remains(image, brain)
        if brain.any() and self.R.rand() < self.cut:
            image, brain = self._cut(image, brain)
        if self.R.rand() < self.cut:
            moved = int(data[self.index_key]) + self.R.randint(-FARTHEST_INDEX, FARTHEST_INDEX + 1)
            data[self.index_key] = int(np.clip(moved, 0, self.grid[int(data[self.axis_key])] - 1))
        data[key], data[self.mask_key] = image[None], brain[None]
        return data

    def _with_remains(self, image: np.ndarray, brain: np.ndarray) -> np.ndarray:
        """The slice with shells, vessels and clumps beside its brain."""
        air, bright = self.R.uniform(*AIR), float(np.percentile(image[brain], self.R.uniform(85, 99)))
        intensity, where = rests(brain.astype(np.float32), 1.0, self.R)
        added = air + (bright - air) * intensity
        added = ndimage.gaussian_filter(added, self.R.uniform(0, 0.8)) + 0.15 * self.R.standard_normal(brain.shape)
        where &= image == 0
        out = np.where(where, np.clip(added, -4.0, 6.0), image).astype(np.float32)
        out[where & (out == 0)] = 1e-6  # 0 means outside
        return out

    def _cut(self, image: np.ndarray, brain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slice and brain within a field of view, moved by as much as the middle of the brain's box moves."""
        seen = in_view(brain, self.R, share=1.0)
        if not (seen & brain).any():
            return image, brain
        shift = np.round(_middle(brain) - _middle(brain & seen)).astype(int)
        return _moved(image * seen, shift), _moved(brain & seen, shift)


def _middle(mask: np.ndarray) -> np.ndarray:
    found = np.argwhere(mask)
    return (found.min(0) + found.max(0)) / 2


def _moved(values: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """An array moved by whole voxels; what comes in from beyond is 0."""
    out = np.zeros_like(values)
    source = tuple(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(shift, values.shape))
    target = tuple(slice(max(s, 0), n - max(-s, 0)) for s, n in zip(shift, values.shape))
    out[target] = values[source]
    return out

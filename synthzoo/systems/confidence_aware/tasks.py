"""Synthetic anomalies with graded, uncertain labels: P-PII, and the tasks that it is compared with.

P-PII (Mueller et al., 2023). A healthy image t gets K foreign patches, patch k drawn by R_k raters who jitter its place
and its radius. Rater j blends the patch, its gradients multiplied by a gain, into t alone, which gives f_j. Then
    x = mean_j f_j,   y = min(1, 10 |x - t|),   u = std_j f_j
are the image, its label and the label's standard deviation. The gain and the factor 10 undo the mean over the raters of
all patches, of whom most leave a pixel alone.

PII (Tan et al., 2021) blends one square patch by alpha, FPI (Tan et al., 2020) mixes it by alpha; the label is alpha.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from synthzoo.transforms.intensity_changes import smooth_change
from synthzoo.transforms.poisson import poisson_blend
from synthzoo.transforms.random_shapes import draw_region, place_region, roughen

TASKS = ("ppii", "pii", "fpi")
CHANGED = 1e-3  # a change of grey below this is none
LABEL_GAIN = 10.0
SOFT_SCALE = 0.1  # change of grey that counts as 0.39 in the label of a soft anomaly


class RandPatchAnomalyd(RandomizableTransform, MapTransform):
    """Plant anomalies of one task into a healthy image.

    Args:
        keys: the image, (1, H, W) in [0, 1].
        source_key: a function of a random state that gives another healthy image (1, H, W); it is taken out of the row.
        mask_key: foreground, (1, H, W), or None where everything is; nothing is planted outside, where the label is 0.
        task: "ppii", "pii" or "fpi".
        patches: least and most patches of P-PII.
        raters: least and most raters of a patch.
        gain: least and most gain of a rater; (1, 1) is none.
        size: least and largest side of a patch, and half side for "pii" and "fpi", in widths of the image.
        core: share of each axis, about the centre, from which patches come and to which they go.
        soft: share of images with a smooth change of intensity instead (0 is the paper).
        healthy: share of images that stay healthy (0 is the paper).
        label_key, spread_key: where the label and its standard deviation go, both (1, H, W) in [0, 1].

    Raises:
        ValueError: a task of another name.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        source_key: Hashable = "source",
        mask_key: Hashable | None = None,
        task: str = "ppii",
        patches: tuple[int, int] = (10, 19),
        raters: tuple[int, int] = (1, 9),
        gain: tuple[int, int] = (10, 19),
        size: tuple[float, float] = (0.05, 0.2),
        core: float = 0.8,
        soft: float = 0.0,
        healthy: float = 0.0,
        label_key: Hashable = "label",
        spread_key: Hashable = "label_std",
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob=1.0)
        if task not in TASKS:
            raise ValueError(f"task = {task!r}: one of {', '.join(TASKS)} is needed.")
        self.source_key, self.mask_key, self.task = source_key, mask_key, task
        self.patches, self.raters, self.gain, self.size = patches, raters, gain, size
        self.core, self.soft, self.healthy = core, soft, healthy
        self.label_key, self.spread_key = label_key, spread_key

    def __call__(self, data: Mapping) -> dict:
        data = dict(data)
        key = self.keys[0]
        target = np.asarray(data[key], dtype=np.float64)[0]
        mask = np.ones(target.shape, bool) if self.mask_key is None else np.asarray(data[self.mask_key])[0] > 0
        source = data.pop(self.source_key)
        chance = self.R.rand()
        if chance < self.healthy:
            image, label, spread = target, np.zeros_like(target), np.zeros_like(target)
        elif chance < self.healthy + self.soft:
            image, label, spread = self.change_softly(target, mask)
        elif self.task == "ppii":
            image, label, spread = self.blend_patches(target, source)
        else:
            image, label, spread = self.mix_patch(target, source)
        data[key] = _tensor(np.where(mask, image.clip(0, 1), target))
        data[self.label_key] = _tensor(label.clip(0, 1) * mask)
        data[self.spread_key] = _tensor(spread.clip(0, 1) * mask)
        return data

    def blend_patches(self, target: np.ndarray, source: Callable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """P-PII: the image (H, W), its label and the label's standard deviation."""
        total, squares, drawn = np.zeros_like(target), np.zeros_like(target), 0
        for _ in range(self._integer(self.patches)):
            foreign = np.asarray(source(self.R), dtype=np.float64)[0]
            low, high = (max(3, round(share * target.shape[1])) for share in self.size)
            box = self.R.randint(low, max(high, low + 1), 2)
            patch, where = foreign[self._place(box, foreign.shape)], self._place(box, target.shape)
            for _ in range(self._integer(self.raters)):
                blended = poisson_blend(target[where], self._integer(self.gain) * patch, self._disc(box))
                change = blended - target[where]
                total[where] += change
                squares[where] += change**2
                drawn += 1
        mean = total / drawn
        spread = np.sqrt(np.maximum(squares / drawn - mean**2, 0))
        image = np.clip(target + mean, 0, 1)
        return image, LABEL_GAIN * np.abs(image - target), spread

    def mix_patch(self, target: np.ndarray, source: Callable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """PII or FPI with one square patch at the same place of both images; the label has no deviation."""
        foreign = np.asarray(source(self.R), dtype=np.float64)[0]
        low, high = (max(2, round(share * target.shape[1])) for share in self.size)
        half = self.R.randint(low, max(high, low + 1))
        box = np.minimum((2 * half, 2 * half), (np.asarray(target.shape) * self.core).astype(int))
        where, alpha = self._place(box, target.shape), self.R.uniform(0.05, 0.95)
        image = target.copy()
        if self.task == "fpi":
            image[where] = (1 - alpha) * target[where] + alpha * foreign[where]
        else:
            image[where] = interpolate_by_poisson(target[where], foreign[where], alpha)
            image = image.clip(target.min(), target.max())
        return image, alpha * (np.abs(image - target) > CHANGED), np.zeros_like(target)

    def change_softly(self, target: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A rough region with a smooth change of intensity; y = 1 - exp(-a^2 / (2 s^2)) for a change a of grey."""
        image = target.copy()
        shape = draw_region(target.shape, self.R)
        where = place_region(shape, mask, target.shape, self.R)
        if where is not None:
            region = roughen(shape.mask(), self.R)
            changed = smooth_change(image[None][(slice(None), *where)], region, min(target.shape), self.R, SOFT_SCALE)
            image[where] = changed[0].clip(0, 1)
        label = 1 - np.exp(-((image - target) ** 2) / (2 * SOFT_SCALE**2))
        return image, label, np.zeros_like(target)

    def _integer(self, bounds: tuple[int, int]) -> int:
        return int(self.R.randint(int(bounds[0]), int(bounds[1]) + 1))

    def _place(self, box: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, ...]:
        """A box at a uniform place within the core of an image."""
        margin = [round(n * (1 - self.core) / 2) for n in shape]
        corner = [m + self.R.randint(0, max(n - 2 * m - b, 0) + 1) for n, m, b in zip(shape, margin, box)]
        return tuple(slice(c, c + int(b)) for c, b in zip(corner, box))

    def _disc(self, box: np.ndarray) -> np.ndarray:
        """A rater's disc: centre N(size / 2, size / 12), diameter the smaller of two N(size / 2, 1 pixel)."""
        centre = self.R.normal(box / 2, box / 12)
        radius = max(self.R.normal(box / 2, 1.0).min() / 2, 1.0)
        rows, columns = np.ogrid[: box[0], : box[1]]
        return (rows + 0.5 - centre[0]) ** 2 + (columns + 0.5 - centre[1]) ** 2 <= radius**2


def interpolate_by_poisson(target: np.ndarray, foreign: np.ndarray, alpha: float) -> np.ndarray:
    """Poisson image interpolation (Tan et al., 2021): the stronger of (1 - alpha) grad t and alpha grad s is followed.

    Args:
        target, foreign: boxes (h, w).
        alpha: share of the foreign box, in (0, 1).
    """
    return poisson_blend(target, alpha * foreign, np.ones(target.shape, bool), target_weight=1 - alpha)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array[None], dtype=np.float32))

"""The five synthetic-anomaly tasks as one MONAI transform: image in, anomalous image and soft label out.

Baugh et al., "Many tasks make light work", MICCAI 2023. Tasks: 0 intra-dataset Poisson blend, 1 inter-dataset Poisson
blend, 2 sink, 3 source deformation, 4 smooth intensity change. An image gets one task, applied 1 to 4 times.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from scipy import ndimage

from synthzoo.systems.many_tasks.blending import source_patch
from synthzoo.systems.many_tasks.deformation import deform
from synthzoo.systems.many_tasks.large import draw_blob, fill_blob, filled_label, scored_again, veil_blob, volume_share
from synthzoo.systems.many_tasks.soft_labels import soft_label
from synthzoo.transforms.intensity_changes import smooth_change
from synthzoo.transforms.poisson import poisson_blend
from synthzoo.transforms.random_shapes import Region, draw_region, inner_distance, place_region, roughen

INTRA, INTER, SINK, SOURCE, INTENSITY = range(5)
CHANGED = 1e-3


class RandAnomalyTaskd(RandomizableTransform, MapTransform):
    """Plant anomalies of one randomly chosen task.

    Args:
        keys: the image, (C, *spatial), normalised; background exactly 0.
        mask_key: brain mask (1, *spatial) or None for an image without background.
        source_key: another healthy image (C, *spatial), or a function that gives it, for task 0.
        foreign_key: an image of something else (C, *spatial), or a function that gives it, for task 1.
        tasks: numbers of the tasks to draw from.
        sigma: label scale in image units (0.2 for z-scores).
        push: smallest and largest push of the deformations in voxels.
        most: at most this many shapes; after each, stop with probability 1/2.
        ring: share of intensity changes with a core of their own, and of pasted patches with a rim (0 is the paper).
        bound: share of intensity changes that keep to one tissue (0 is the paper).
        replace: share of task-1 patches pasted with a soft edge instead of Poisson-blended (0 is the paper).
        rough: share of shapes with a rough edge, but for the deformations, which need convex ones (0 is the paper).
        healthy: share of images that stay healthy (0 is the paper).
        large: share of images of the tasks 0, 1 and 4 with one large anomaly in place of theirs, filled from edge to
            edge: brightened as a whole (4), or replaced by another image's tissue (0) or a grey (1); see `large` (0 is
            the paper).
        label_key, task_key: where the soft label (1, *spatial) and the task number go.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        mask_key: Hashable | None = "brain",
        source_key: Hashable = "source",
        foreign_key: Hashable = "foreign",
        tasks: Sequence[int] = range(5),
        sigma: float = 0.2,
        push: tuple[float, float] = (0.5, 5.0),
        most: int = 4,
        ring: float = 0.0,
        bound: float = 0.0,
        replace: float = 0.0,
        rough: float = 0.0,
        healthy: float = 0.0,
        large: float = 0.0,
        label_key: Hashable = "label",
        task_key: Hashable = "task",
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob=1.0)
        self.mask_key, self.source_key, self.foreign_key = mask_key, source_key, foreign_key
        self.tasks, self.sigma, self.push, self.most = tuple(tasks), sigma, tuple(push), most
        self.ring, self.bound, self.replace, self.rough, self.healthy = ring, bound, replace, rough, healthy
        self.large = large
        self.label_key, self.task_key = label_key, task_key

    def __call__(self, data: Mapping) -> dict:
        data = dict(data)
        key = self.keys[0]
        image = np.asarray(data[key], dtype=np.float32)
        brain = None if self.mask_key is None else np.asarray(data[self.mask_key])[0] > 0
        task = int(self.tasks[self.R.randint(len(self.tasks))])
        other, foreign = data.get(self.source_key), data.get(self.foreign_key)
        if self.R.rand() < self.healthy:
            changed, region = image, np.zeros(image.shape[1:], bool)
            label = soft_label(image, changed, region, self.sigma)
        elif self.large and task in (INTRA, INTER, INTENSITY) and self.R.rand() < self.large:
            changed, label = self.plant_large(image, task, brain, foreign if task == INTER else other)
        else:
            changed, region = self.plant(image, task, brain, other, foreign)
            label = soft_label(image, changed, region, self.sigma)
        data[self.label_key] = torch.from_numpy(label)
        data[key] = torch.from_numpy(np.ascontiguousarray(changed, dtype=np.float32))
        data[self.task_key] = task
        for spent in (self.source_key, self.foreign_key):
            data.pop(spent, None)
        return data

    def plant(
        self,
        image: np.ndarray,
        task: int,
        brain: np.ndarray | None = None,
        other: np.ndarray | None = None,
        foreign: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Apply `task` 1 to `most` times; returns the changed image (C, *spatial) and the changed region (*spatial)."""
        out = image.copy()
        union = np.zeros(image.shape[1:], bool)
        for _ in range(self.most):
            shape = draw_region(image.shape[1:], self.R)
            where = place_region(shape, brain, image.shape[1:], self.R)
            if where is not None:
                patch, region = self._apply(out, shape, where, task, brain, other, foreign)
                if brain is not None:  # background stays exactly 0: a leak would give the anomaly away
                    inside = brain[where]
                    patch, region = np.where(inside, patch, out[(slice(None), *where)]), region & inside
                out[(slice(None), *where)] = patch
                union[where] |= region
            if self.R.rand() < 0.5:
                break
        return out, union

    def plant_large(
        self, image: np.ndarray, task: int, brain: np.ndarray | None, source: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """One large anomaly; the changed image (C, *spatial), scored again, and its label (1, *spatial)."""
        brain = np.ones(image.shape[1:], bool) if brain is None else brain
        blob = draw_blob(brain, self.R) if brain.any() else np.zeros(brain.shape, bool)
        if not blob.any():
            return image, soft_label(image, image, blob, self.sigma)
        if task == INTENSITY:
            changed = veil_blob(image, blob, self.R, self.sigma, self.R.rand() < self.bound)
        else:
            source = np.asarray(source() if callable(source) else source, dtype=np.float32)
            inside = np.any(source != 0, 0) if task == INTRA else None
            texture = source_patch(source, image.shape[1:], self.R, inside)
            if task == INTRA:
                soft = ndimage.gaussian_filter(blob.astype(np.float32), self.R.uniform(0.4, 3.0)) * blob
                changed = image * (1 - soft) + soft * texture
            else:
                level = lambda: self._level(image, image, blob)  # noqa: E731
                changed = fill_blob(image, blob, self.R, level, texture, self.sigma)
        low, high = image.min(), image.max()
        changed = np.where(brain, np.clip(changed, low, high), image)
        changed = np.where(brain & (changed == 0), np.float32(1e-6), changed)  # 0 means outside
        label = filled_label(soft_label(image, changed, blob, self.sigma), blob)
        return scored_again(changed, image, blob, brain, volume_share(blob, brain, self.R)), label

    def _apply(
        self,
        image: np.ndarray,
        shape: Region,
        where: tuple[slice, ...],
        task: int,
        brain: np.ndarray | None,
        other: np.ndarray | None,
        foreign: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        box = image[(slice(None), *where)]
        mask = shape.mask()
        low, high = image.min(), image.max()
        if task in (SINK, SOURCE):
            return deform(box, shape, "sink" if task == SINK else "source", self.R, self.push), mask
        if self.R.rand() < self.rough:
            mask = roughen(mask, self.R)
        if task == INTENSITY:
            ring = self.R.rand() < self.ring
            bound = self.R.rand() < self.bound
            patch = smooth_change(box, mask, min(image.shape[1:]), self.R, self.sigma, ring, bound)
            return np.clip(patch, low, high), mask
        source = other if task == INTRA else foreign
        source = np.asarray(source() if callable(source) else source, dtype=np.float32)
        inside = np.any(source != 0, 0) if task == INTRA and brain is not None else None
        source = source_patch(source, mask.shape, self.R, inside)
        if task == INTER and self.R.rand() < self.replace:
            return np.clip(self._paste(image, box, source, mask), low, high), mask
        blended = np.stack([poisson_blend(t, s, mask) for t, s in zip(box, source)])
        blended = np.clip(blended, low, high)
        return blended, mask | (np.abs(blended - box).mean(0) > CHANGED)

    def _paste(self, image: np.ndarray, box: np.ndarray, source: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The source's texture in place of the tissue, wholly or with a trace of it, edge of 0.5 to 2 voxels.

        A share `ring` of the patches has a rim of 1 to 5 voxels, half of these with the grey of a voxel nearby.
        """
        soft = ndimage.gaussian_filter(np.pad(mask, 1).astype(np.float32), self.R.uniform(0.5, 2.0))
        soft = soft[(slice(1, -1),) * mask.ndim] * mask * min(1.0, self.R.uniform(0.6, 1.4))
        spread = max(float(source.std()), 1e-6)
        texture = (source - source.mean()) / spread * self.R.uniform(0.02, 0.6)
        level = self._level(image, box, mask)
        if self.R.rand() < self.ring:
            inner = np.clip(inner_distance(mask) - self.R.uniform(1.0, 5.0), 0, 1)
            rim = self._nearby(box) if self.R.rand() < 0.5 else self._level(image, box, mask)
            level = level * inner + rim * (1 - inner)
        return box * (1 - soft) + soft * (level + texture)

    def _nearby(self, box: np.ndarray) -> float:
        known = box[box != 0]
        return float(known[self.R.randint(known.size)]) if known.size else 0.0

    def _level(self, image: np.ndarray, box: np.ndarray, mask: np.ndarray) -> float:
        """A patch's grey: of a voxel nearby, not far from what it replaces, of the image's fluid or vessels, or any.

        Folds that give way to one grey are wrong, though each grey is known; so is fluid where no ventricle is.
        """
        kind = self.R.rand()
        if kind < 0.3:
            return self._nearby(box)
        if kind < 0.5:
            return (float(np.median(box[:, mask])) if mask.any() else 0.0) + self.R.normal(0, 1.0)
        if kind < 0.75 and np.any(image):
            share = self.R.uniform(0, 0.1)
            return float(np.quantile(image[image != 0], share if self.R.rand() < 0.7 else 1 - share))
        return float(self.R.uniform(image.min(), image.max()))

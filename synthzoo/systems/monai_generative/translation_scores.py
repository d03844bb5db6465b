"""Scores of translated slices: fidelity within the brain, and whether lesions keep the contrast that the target has.

contrast of a lesion = mean of its voxels - mean of the white matter of the same slice
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from skimage.metrics import structural_similarity

from synthzoo.metrics.fidelity import gradient_energy, psnr
from synthzoo.phantoms.brain.label_maps import CLASSES

BINS = 64  # of a table of intensities
PURE, HELD = 0.9, 0.5  # shares of a voxel that count for white matter and for a lesion
FEWEST = 12  # voxels of a lesion, or of white matter, of which a mean is taken


def fidelity(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """PSNR in dB, SSIM and MAE of images (N, H, W) in [0, 1] where the truth is not 0, the brain; means over N.

    And "sharpness", the mean squared slope over that of the truth: below 1 is blurred, above 1 noisy.
    """
    rows = []
    for one, true in zip(found, truth, strict=True):
        inside = true > 0
        similar = structural_similarity(one, true, data_range=1.0, win_size=7, full=True)[1]
        rows.append((psnr(one, true, inside), similar[inside].mean(), np.abs(one - true)[inside].mean()))
    scores = dict(zip(("psnr", "ssim", "mae"), np.mean(rows, 0).tolist()))
    slopes = [float(gradient_energy(images).mean()) for images in (found, truth)]
    return scores | {"sharpness": slopes[0] / max(slopes[1], 1e-12)}


class IntensityTable:
    """The mean target of each source intensity: what a translation gets that looks at one voxel alone.

    Args:
        sources, targets: images (N, H, W) in [0, 1] that it is read off.
    """

    def __init__(self, sources: np.ndarray, targets: np.ndarray) -> None:
        inside = targets > 0
        place = self._bins(sources[inside])
        count = np.bincount(place, minlength=BINS)
        total = np.bincount(place, weights=targets[inside], minlength=BINS)
        known = np.flatnonzero(count)
        self.values = np.interp(np.arange(BINS), known, total[known] / count[known])

    @staticmethod
    def _bins(values: np.ndarray) -> np.ndarray:
        return np.clip((values * BINS).astype(int), 0, BINS - 1)

    def __call__(self, sources: np.ndarray) -> np.ndarray:
        """Images (N, H, W) by the table, 0 where they are 0."""
        return (self.values[self._bins(sources)] * (sources > 0)).astype(np.float32)


def lesion_contrasts(image: np.ndarray, maps: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Contrast to white matter of each lesion of these names, float64 (len(names),), in an image (H, W) with its label
    maps (K, H, W); NaN where a lesion or white matter has too few voxels."""
    white = maps[CLASSES.index("WM")] > PURE
    found = np.full(len(names), np.nan)
    if white.sum() < FEWEST:
        return found
    for place, name in enumerate(names):
        lesion = maps[CLASSES.index(name)] > HELD
        if lesion.sum() >= FEWEST:
            found[place] = image[lesion].mean() - image[white].mean()
    return found


def roughness(volume: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute difference of neighbouring axial slices of a volume (X, Y, Z) where the truth has brain in both."""
    inside = truth > 0
    both = inside[..., 1:] & inside[..., :-1]
    return float(np.abs(np.diff(volume, axis=-1))[both].mean())

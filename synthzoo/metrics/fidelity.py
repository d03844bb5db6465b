"""Fidelity of sets of generated volumes: FID against real ones, and MS-SSIM between pairs as a measure of diversity.

    FID = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))                      Heusel et al., NeurIPS 2017

on features of an instrument, such as the 48 of `brain_segmentation.features`. Alone it means nothing: print it beside
the FID of two sets of real volumes of one size (`fid_with_floor`). MS-SSIM (Wang, Simoncelli, Bovik, 2003) between
random pairs is 1 when all samples are alike; a generator as varied as the data has the data's own value.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from monai.metrics import FIDMetric, MultiScaleSSIMMetric
from skimage.metrics import peak_signal_noise_ratio

from synthzoo.errors import UserError

MOST_DB = 120.0  # of images that are equal, whose ratio has no bound

# Three scales with a window of 7 fit the shortest axis of 48 voxels; weights: the paper's first three, scaled to sum 1.
MS_SSIM = {"kernel_size": 7, "kernel_sigma": 1.5, "weights": (0.0710, 0.4530, 0.4760)}


def psnr(
    image: np.ndarray | torch.Tensor, truth: np.ndarray | torch.Tensor, where: np.ndarray | torch.Tensor | None = None
) -> float:
    """Peak signal-to-noise ratio in dB of an image in [0, 1] against its truth of one shape, at most `MOST_DB`.

    Args:
        image, truth: of any shape; the peak is 1.
        where: true for the voxels that count; None counts all.
    """
    found, true = (torch.as_tensor(one).detach().double().cpu().numpy() for one in (image, truth))
    if where is not None:
        inside = torch.as_tensor(where).cpu().numpy().astype(bool)
        found, true = found[inside], true[inside]
    with np.errstate(divide="ignore"):
        return min(float(peak_signal_noise_ratio(true, found, data_range=1.0)), MOST_DB)


def fid(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance between two sets of feature vectors (N, K) and (M, K), each of at least 2."""
    first, second = (torch.as_tensor(np.asarray(v, dtype=np.float64)) for v in (first, second))
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise ValueError(f"fid needs two sets (N, K) of at least 2, got {tuple(first.shape)} and {tuple(second.shape)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # monai calls scipy's sqrtm with an old argument
        return max(float(FIDMetric()(first, second)), 0.0)


def fid_with_floor(generated: np.ndarray, real: np.ndarray, other_real: np.ndarray) -> dict[str, float]:
    """FID of generated against real features, and of other real ones against the same: what a perfect generator gets.

    The sets are cut to one size, because FID falls with the number of samples.
    """
    size = min(len(generated), len(real), len(other_real))
    generated, real, other_real = generated[:size], real[:size], other_real[:size]
    return {"fid": round(fid(generated, real), 4), "fid_real": round(fid(other_real, real), 4), "n": size}


def gradient_energy(images: np.ndarray, inside: float = 0.02) -> np.ndarray:
    """Mean squared slope of each volume inside its subject, float64 (N,): blur lowers it, noise raises it.

    Args:
        images: (N, D, H, W).
        inside: intensity above which a voxel and its neighbour along an axis count.
    """
    found = []
    for image in np.asarray(images, dtype=np.float32):
        subject, energy = image > inside, 0.0
        for axis in range(image.ndim):
            slope, both = np.diff(image, axis=axis), np.minimum(*_neighbours(subject, axis))
            energy += float((slope[both] ** 2).mean()) if both.any() else 0.0
        found.append(energy)
    return np.array(found)


def _neighbours(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """All but the last and all but the first along an axis."""
    size = values.shape[axis]
    return np.take(values, range(size - 1), axis), np.take(values, range(1, size), axis)


def unexplained_spread(images: np.ndarray, conditions: np.ndarray, step: int = 1) -> float:
    """Standard deviation over volumes, root mean square over voxels, that a quadratic of the conditions leaves.

    A generator that gives the mean of each request has 0; one as varied as the data has the data's own.

    Args:
        images: (N, D, H, W); N above the 1 + K + K (K + 1) / 2 terms of the quadratic.
        conditions: (N, K), in any unit.
        step: every so many voxels along an axis are enough.

    Raises:
        UserError: too few volumes.
    """
    thin = np.asarray(images, dtype=np.float32)[(slice(None), *[slice(None, None, step)] * (images.ndim - 1))]
    rows, values = thin.reshape(len(thin), -1).astype(np.float64), np.asarray(conditions, dtype=np.float64)
    values = (values - values.mean(0)) / np.maximum(values.std(0), 1e-9)
    first, second = np.triu_indices(values.shape[1])
    terms = np.concatenate([np.ones((len(values), 1)), values, values[:, first] * values[:, second]], 1)
    free = len(terms) - np.linalg.matrix_rank(terms)
    if free < 1:
        raise UserError(f"{len(terms)} volumes: their spread takes more than the {terms.shape[1]} terms of its fit.")
    left = rows - terms @ np.linalg.lstsq(terms, rows, rcond=None)[0]
    return float(np.sqrt((left**2).sum() / free / rows.shape[1]))


def ms_ssim(first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
    """MS-SSIM in [0, 1] of image pairs (N, 1, D, H, W) or (N, 1, H, W) with values in [0, 1], (N,); every axis at
    least 28 voxels."""
    metric = MultiScaleSSIMMetric(spatial_dims=first.ndim - 2, data_range=1.0, reduction="none", **MS_SSIM)
    with torch.inference_mode():
        return metric(first.float(), second.float()).flatten().numpy()


def pairwise_ms_ssim(images: np.ndarray | torch.Tensor, pairs: int = 100, seed: int = 0, batch_size: int = 4) -> dict:
    """Mean and standard deviation of MS-SSIM over random pairs of different images (N, D, H, W), (N, 1, D, H, W) or
    flat ones (N, H, W)."""
    images = torch.as_tensor(images, dtype=torch.float32)
    images = images[:, None] if images.ndim in (3, 4) else images
    count = len(images)
    if count < 2:
        raise ValueError(f"pairwise_ms_ssim needs at least 2 images, got {count}")
    every = np.stack(np.triu_indices(count, 1), 1)
    chosen = every[np.random.default_rng(seed).permutation(len(every))[:pairs]]
    parts = np.array_split(chosen, -(-len(chosen) // batch_size))
    found = [ms_ssim(images[part[:, 0]], images[part[:, 1]]) for part in parts]
    values = np.concatenate(found)
    return {"mean": round(float(values.mean()), 4), "std": round(float(values.std()), 4), "pairs": len(values)}

"""One feature network for images of every modality, so that the rows of a table are measured alike.

It is the instrument that finds findings in chest radiographs: its deepest layer, averaged over the image. No network of
photographs comes with this library. Of its own ones this told real brain slices and echo frames best from blurred,
noisy and mixed ones, beside the echo instrument and a network of random weights; it was chosen by that, before anything
generated was looked at. Radiographs are its own kind of image, and the others are not.

    |m1 - m2|^2 + tr(S1) + tr(S2) - 2 sum of roots of the eigenvalues of S1^(1/2) S2 S1^(1/2)

is the same distance as `metrics.fidelity.fid`, where sets are as small as features are many: the root of S1 S2, which
MONAI's metric takes, is inexact for singular covariances.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from synthzoo.instruments.chest.findings import NAME as NETWORK
from synthzoo.instruments.chest.networks import GRIDS, WEIGHTS, load_network
from synthzoo.io.files import sha256

NAME = f"the 96 features of the deepest layer of `{NETWORK}`, a network for chest radiographs, the same in all rows"


def network_sha256() -> str:
    """SHA-256 of the feature network's weights."""
    return sha256(WEIGHTS / f"{NETWORK}.pt")


@torch.inference_mode()
def image_features(images: np.ndarray, batch_size: int = 32) -> np.ndarray:
    """Features float32 (N, 96) of images (N, H, W) in [0, 1], padded by 0 to squares and brought to 128 x 128 pixels.

    Args:
        batch_size: images at once.
    """
    network, size = load_network(NETWORK), GRIDS[NETWORK]
    found = []
    for part in torch.from_numpy(np.ascontiguousarray(images, np.float32))[:, None].split(batch_size):
        high, wide = part.shape[-2:]
        across, down = max(high - wide, 0), max(wide - high, 0)
        part = F.pad(part, (across // 2, across - across // 2, down // 2, down - down // 2))
        part = F.interpolate(part, (size, size), mode="bilinear", align_corners=False, antialias=True)
        found.append(network.encode(part)[-1].mean((2, 3)))
    return torch.cat(found).numpy()


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance between two sets of feature vectors (N, K) and (M, K)."""
    one, two = (np.asarray(values, np.float64) for values in (first, second))
    covariances = np.cov(one.T), np.cov(two.T)
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ covariances[1] @ root).clip(0)).sum()
    apart = np.square(one.mean(0) - two.mean(0)).sum()
    return max(float(apart + sum(np.trace(one) for one in covariances) - 2 * shared), 0.0)

"""Maps of where an object may be that know nothing of words: what stands out, and the middle of the image."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional as F

GRID = 64  # pixels of a side at which the spectrum is taken, as published
BLUR = 2.5  # of the saliency map, on that grid


def spectral_residual(images: torch.Tensor) -> torch.Tensor:
    """Saliency (B, 1, S, S) in [0, 1] of images (B, bands, S, S): what the log spectrum has beyond its own mean.

    Reference: Hou, Zhang, "Saliency Detection: A Spectral Residual Approach", CVPR 2007.
    """
    grey = F.interpolate(images.mean(1, keepdim=True), (GRID, GRID), mode="bilinear", antialias=True)[:, 0]
    maps = []
    for one in grey.double().numpy():
        spectrum = np.fft.fft2(one)
        level = np.log(np.abs(spectrum) + 1e-9)
        residual = level - ndi.uniform_filter(level, 3, mode="wrap")
        power = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
        maps.append(ndi.gaussian_filter(power, BLUR))
    return _scaled(torch.from_numpy(np.stack(maps)).float()[:, None], images.shape[-1])


def colour_contrast(images: torch.Tensor) -> torch.Tensor:
    """Saliency (B, 1, S, S) in [0, 1] of images (B, bands, S, S): distance of the blurred colour from the mean colour.

    Reference: Achanta et al., "Frequency-tuned Salient Region Detection", CVPR 2009, in red, green and blue.
    """
    mean = images.mean((2, 3), keepdim=True)
    blurred = F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), 5, 1)
    return _scaled((blurred - mean).pow(2).sum(1, keepdim=True).sqrt(), images.shape[-1])


def centred_blob(images: torch.Tensor) -> torch.Tensor:
    """A round hill in the middle, (B, 1, S, S) in [0, 1]; a threshold makes a disc of it."""
    line = torch.linspace(-1, 1, images.shape[-1])
    hill = (1 - (line[:, None] ** 2 + line[None] ** 2).sqrt() / 2**0.5).clamp(0, 1)
    return hill.expand(len(images), 1, -1, -1)


def _scaled(maps: torch.Tensor, size: int) -> torch.Tensor:
    maps = F.interpolate(maps, (size, size), mode="bilinear")
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp_min(1e-12)


BASELINES = {
    "saliency, spectral residual": spectral_residual,
    "saliency, colour contrast": colour_contrast,
    "centred blob": centred_blob,
}

"""The networks of a generative bundle from elsewhere: a GAN, or diffusion of images or latents.

They compute what the samplers of MONAI's model zoo compute: conditions as a context token, and as maps where the U-Net
has channels for them, latents decoded without a scale factor, a sigmoid after the generator where its bundle has one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import SlidingWindowInferer
from torch import nn

from synthzoo.networks.hybrid import constant_maps

OVERLAP = 0.4


class AdoptedGan(nn.Module):
    """A generator of images from a vector.

    Args:
        generator: vectors (B, N) -> images (B, C, H, W[, D]).
        uniform: it was trained on vectors that are uniform in [0, 1]; the normal start noise is brought there.
        sigmoid: its output is brought into [0, 1] so.
    """

    def __init__(self, generator: nn.Module, uniform: bool = False, sigmoid: bool = False) -> None:
        super().__init__()
        self.generator, self.uniform, self.sigmoid = generator, bool(uniform), bool(sigmoid)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Standard normal vectors (B, N) -> images (B, C, H, W[, D]) in [0, 1]."""
        made = self.generator(torch.special.ndtr(image) if self.uniform else image)
        return (made.sigmoid() if self.sigmoid else made).clamp(0, 1)


class AdoptedDiffusion(nn.Module):
    """A denoiser, and the autoencoder of its latents if it has one, as `SynthesisInferer` calls them.

    Args:
        denoiser: `monai.networks.nets.DiffusionModelUNet`, trained on images or on latents.
        schedule: `synthzoo.diffusion.schedule.NoiseSchedule` or a rectified flow.
        preview: (denoise, noise, schedule) -> sample, the short sampler behind `forward`.
        autoencoder: has decode(z); None for images.
        defaults: what a condition is where a request leaves it unset, K numbers.
    """

    defaults: torch.Tensor

    def __init__(
        self,
        denoiser: nn.Module,
        schedule: Any,
        preview: Callable,
        autoencoder: nn.Module | None = None,
        defaults: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.denoiser, self.autoencoder, self.schedule, self.preview = denoiser, autoencoder, schedule, preview
        self.conditions = [float(value) for value in defaults]
        self.register_buffer("defaults", torch.tensor(self.conditions), persistent=False)

    def denoise(self, latent: torch.Tensor, t: torch.Tensor, conditions: torch.Tensor | None = None) -> torch.Tensor:
        """Prediction (B, C, ...) for a noisy latent at t (B,) under conditions (B, K), NaN where unset."""
        if not len(self.defaults):
            return self.denoiser(latent, t)
        given = self.defaults.expand(len(latent), -1) if conditions is None else conditions
        given = torch.where(given.isnan(), self.defaults, given).to(latent.dtype)
        if self.denoiser.in_channels == latent.shape[1] + given.shape[1]:
            latent = torch.cat([latent, constant_maps(given, latent)], 1)
        return self.denoiser(latent, t, context=given[:, None])

    def decode(self, latent: torch.Tensor, roi_size: Sequence[int] | None = None) -> torch.Tensor:
        """Latent (B, C, ...) -> image, about [0, 1]; `roi_size` is a window for a decoding that fits into memory."""
        if self.autoencoder is None:
            return latent
        if roi_size is None:
            return self.autoencoder.decode(latent)
        windows = SlidingWindowInferer(list(roi_size), sw_batch_size=1, overlap=OVERLAP, mode="gaussian")
        return windows(latent, self.autoencoder.decode)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Noise (B, C, ...) -> image in few steps, for export tools."""
        return self.decode(self.preview(self.denoise, image, self.schedule)).clamp(0, 1)

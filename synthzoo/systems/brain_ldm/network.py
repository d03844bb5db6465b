"""Latent diffusion for volumes with hybrid conditioning (Pinaya et al., DGM4MICCAI 2022, arXiv 2209.07162).

One module holds all that a bundle needs: autoencoder, denoiser, condition normaliser, latent statistics and affine, so
that one state dict is the whole model. z = (encode(x) - mean) * scale_factor; the denoiser sees [z_t, c] and token c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import SlidingWindowInferer
from torch import nn

from synthzoo.networks.conditions import ConditionNormaliser
from synthzoo.networks.hybrid import ConditionedDenoiser, constant_maps
from synthzoo.networks.linear_denoiser import LatentGaussian

STEP = 0.1  # of a channel, by which its share of the image is measured


class HybridConditioning(ConditionedDenoiser):
    """Feeds the same K conditions twice: as one token for cross-attention, and as constant maps beside the latent.

    Args:
        unet: (x, timesteps, context) -> prediction, with in_channels = latent channels + K and
            cross_attention_dim = K, such as `monai.networks.nets.DiffusionModelUNet`.
        token, maps: False leaves one of the two ways out by feeding zeros (for ablations).
        gaussian: see `ConditionedDenoiser`.
    """

    def __init__(
        self, unet: nn.Module, token: bool = True, maps: bool = True, gaussian: LatentGaussian | None = None
    ) -> None:
        super().__init__(unet, maps, gaussian)
        self.token = token

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Latent (B, C, d, h, w), timesteps (B,), context (B, 1, K) -> prediction (B, C, d, h, w)."""
        context = context.to(x.dtype)
        maps = constant_maps(context[:, 0], x)
        maps = maps if self.maps else torch.zeros_like(maps)
        token = context if self.token else torch.zeros_like(context)
        return self.predict(x, timesteps, context, [maps], token)


class LatentDiffusion(nn.Module):
    """Autoencoder, conditional denoiser and everything between them, as one module with one state dict.

    Args:
        autoencoder: has encode(x) -> (mean, standard deviation) and decode(z), such as `PatchAutoencoderKL`.
        denoiser: (z_t, timesteps, context (B, 1, K)) -> prediction, such as `HybridConditioning`.
        conditions: normaliser of the K conditions.
        schedule: the noise schedule and what the denoiser predicts, read by objectives and samplers.
        latent_shape: (C, d, h, w) of one sample.
        affine: 4 x 4, voxel to world in mm (RAS) of the decoded volumes.
        centre: keep a mean per latent voxel (a template in latent space) instead of one per channel.
        preview: (denoise, noise, schedule) -> latent, the short sampler behind `forward`.
        by_image: scale each channel by how much of the image it makes, not all by one number: a code of equal
            variances, such as one of principal directions, gets back the order in which an image rises out of noise.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        denoiser: nn.Module,
        conditions: ConditionNormaliser,
        schedule: Any,
        latent_shape: Sequence[int],
        affine: Sequence[Sequence[float]],
        centre: bool = False,
        preview: Callable | None = None,
        by_image: bool = False,
    ) -> None:
        super().__init__()
        self.autoencoder, self.denoiser, self.conditions = autoencoder, denoiser, conditions
        self.schedule, self.preview, self.by_image = schedule, preview, bool(by_image)
        self.latent_shape = tuple(int(n) for n in latent_shape)
        channels = self.latent_shape[0]
        self.register_buffer("latent_mean", torch.zeros(self.latent_shape if centre else (channels, 1, 1, 1)))
        self.register_buffer("scale_factor", torch.ones(channels, 1, 1, 1))
        self.register_buffer("affine", torch.tensor(affine, dtype=torch.float64))

    @property
    def spacing_mm(self) -> float:
        """Voxel size of the decoded volumes in mm, the mean over the axes."""
        return float(self.affine[:3, :3].norm(dim=0).mean())

    def encode(self, image: torch.Tensor, sample: bool = False) -> torch.Tensor:
        """Image (B, 1, D, H, W) in [0, 1] -> normalised latent (B, C, d, h, w); `sample` draws from the posterior."""
        mean, deviation = self.autoencoder.encode(image)
        return self.normalise_latent(mean + deviation * torch.randn_like(deviation) if sample else mean)

    def normalise_latent(self, z: torch.Tensor) -> torch.Tensor:
        """The autoencoder's latent -> zero mean and, over all channels, unit variance; shape kept."""
        return (z - self.latent_mean) * self.scale_factor

    @torch.no_grad()
    def fit_latents(self, z: torch.Tensor, conditions: torch.Tensor | None = None) -> None:
        """Set mean, scale factor and the denoiser's linear part, if it has one, from the training set.

        Args:
            z: the autoencoder's latents (N, C, d, h, w).
            conditions: (N, K) in user units, NaN where left out; only the linear part needs them.
        """
        mean = z.mean(0)
        if self.latent_mean.shape[1:] == (1, 1, 1):
            mean = mean.mean((1, 2, 3), keepdim=True)
        self.latent_mean.copy_(mean)
        # One number for all channels, as in the paper: the channels that carry most of the image stay the largest, so
        # they rise out of the noise first and fine detail follows them.
        weights = self._shown(mean.expand_as(z[0])) if self.by_image else torch.ones_like(self.scale_factor)
        squares = (z - mean).pow(2).mean((0, 2, 3, 4)).reshape(weights.shape)
        self.scale_factor.copy_(weights / (squares * weights.pow(2)).mean().sqrt().clamp_min(1e-6))
        gaussian = getattr(self.denoiser, "gaussian", None)
        if gaussian is not None:
            context = self.conditions(conditions.to(self.conditions.low))
            gaussian.fit(mean.expand_as(z[0]), self.normalise_latent(z), context)

    def _shown(self, mean: torch.Tensor) -> torch.Tensor:
        """Root mean square change of the image for a small step of each channel from the mean latent, (C, 1, 1, 1)."""
        image = self.autoencoder.decode(mean[None])
        changes = []
        for channel in range(len(mean)):
            step = torch.zeros_like(mean)
            step[channel] = STEP
            changes.append((self.autoencoder.decode((mean + step)[None]) - image).pow(2).mean().sqrt() / STEP)
        return torch.stack(changes).reshape(self.scale_factor.shape).clamp_min(1e-6)

    def decode(self, latent: torch.Tensor, roi_size: Sequence[int] | None = None, overlap: float = 0.4) -> torch.Tensor:
        """Normalised latent (B, C, d, h, w) -> image (B, 1, D, H, W), about [0, 1].

        Args:
            latent: what the sampler gives.
            roi_size: window in latent voxels for a decoding that fits into memory; None decodes at once.
            overlap: share of a window that it has in common with the next; the seams are blended.
        """
        z = latent / self.scale_factor.to(latent.dtype) + self.latent_mean.to(latent.dtype)
        if roi_size is None:
            return self.autoencoder.decode(z)
        window = SlidingWindowInferer(roi_size=list(roi_size), sw_batch_size=1, overlap=overlap, mode="gaussian")
        return window(z, self.autoencoder.decode)

    def denoise(self, latent: torch.Tensor, t: torch.Tensor, conditions: torch.Tensor | None = None) -> torch.Tensor:
        """Prediction (B, C, d, h, w) for the noisy latent.

        Args:
            latent: (B, C, d, h, w).
            t: timesteps (B,), integers from 0 (least noise) to T - 1.
            conditions: (B, K) in user units, NaN where left out; None leaves all out.
        """
        if conditions is None:
            token = self.conditions.null(latent.shape[0])
        else:
            token = self.conditions(conditions.to(self.conditions.low))
        return self.denoiser(latent, t, token[:, None])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Noise (B, C, d, h, w) -> volume (B, 1, D, H, W) under the null condition in few steps, for export tools."""
        return self.decode(self.preview(self.denoise, image, self.schedule)).clamp(0, 1)

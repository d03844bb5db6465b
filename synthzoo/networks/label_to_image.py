"""Label maps by latent diffusion, and images painted on them: one module with one state dict (arXiv 2209.08256).

    z = (encode(maps) - mean) scale;   prediction = denoiser(z_t, t, conditions);   image = painter(maps, style code)

In two dimensions (brainSPADE) and in three (brainSPADE3D, arXiv 2311.04552) alike. Maps are shares of a voxel that sum
to one, which a softmax at the end of the autoencoder keeps true.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from synthzoo.networks.conditions import ConditionNormaliser
from synthzoo.networks.latent_images import LatentImages
from synthzoo.networks.spade import StylePainter


class LabelAutoencoder(nn.Module):
    """Label maps through an autoencoder whose output is a softmax.

    Args:
        autoencoder: has encode(x) -> (mean, standard deviation) and decode(z) -> logits, such as `monai.networks.nets.
            AutoencoderKL` with K channels in and out.
    """

    def __init__(self, autoencoder: nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def encode(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Label maps (B, K, ...) -> mean and standard deviation of their latents."""
        return self.autoencoder.encode(maps)

    def logits(self, z: torch.Tensor) -> torch.Tensor:
        """Latents -> logits (B, K, ...)."""
        return self.autoencoder.decode(z)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latents -> label maps (B, K, ...) of sum 1."""
        return self.logits(z).softmax(1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Label maps -> their reconstruction from the mean."""
        return self.decode(self.encode(maps)[0])


class LabelToImage(LatentImages):
    """Label autoencoder, conditional label diffusion and painter.

    Args:
        autoencoder: of label maps, see `LabelAutoencoder`.
        denoiser: (z_t, timesteps, context (B, 1, K)) -> prediction, such as `ConditionedDenoiser`.
        conditions: normaliser of the conditions; the bounds of volumes are the published divisors of their fractions.
        schedule: of the noise.
        painter: label maps and style -> image.
        latent_shape: (C, ...) of a label map's latent.
        preview: (denoise, noise, schedule) -> latent, the short sampler behind `forward`.
        centre: see `LatentImages`; a denoiser with a linear part needs it.
    """

    def __init__(
        self,
        autoencoder: LabelAutoencoder,
        denoiser: nn.Module,
        conditions: ConditionNormaliser,
        schedule: Any,
        painter: StylePainter,
        latent_shape: Sequence[int],
        preview: Callable | None = None,
        centre: bool = False,
    ) -> None:
        super().__init__(autoencoder, latent_shape, centre=centre)
        self.denoiser, self.conditions, self.painter = denoiser, conditions, painter
        self.schedule, self.preview = schedule, preview

    def denoise(self, latent: torch.Tensor, t: torch.Tensor, conditions: torch.Tensor | None = None) -> torch.Tensor:
        """Prediction (B, C, ...) for noisy latents (B, C, ...) at timesteps (B,); conditions (B, K) in user units, NaN
        where left out, None leaves all out."""
        known = self.conditions
        token = known.null(len(latent)) if conditions is None else known(conditions.to(known.low))
        return self.denoiser(latent, t, token[:, None])

    def fit_prior(self, rows: Any) -> None:
        """Read the denoiser's linear part, if it has one, off rows {"latents", "conditions"}; see `LatentGaussian`."""
        gaussian = getattr(self.denoiser, "gaussian", None)
        if gaussian is not None:
            every = [rows[row] for row in range(len(rows))]
            known, latents = (torch.stack([row[name] for row in every]) for name in ("conditions", "latents"))
            known = self.conditions(known.to(self.conditions.low))
            gaussian.fit(self.latent_mean.expand(self.latent_shape), latents.to(known), known)

    def logits(self, latent: torch.Tensor) -> torch.Tensor:
        """Normalised latents (B, C, ...) -> logits of label maps (B, K, ...)."""
        return self.autoencoder.logits(latent / self.scale_factor + self.latent_mean)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Noise (B, C, ...) -> image (B, 1, ...) under the null condition in the prior's mean style, in few steps."""
        maps = self.decode(self.preview(self.denoise, image, self.schedule))
        return self.painter(maps, image.new_zeros(len(image), self.painter.code_size)).clamp(0, 1)

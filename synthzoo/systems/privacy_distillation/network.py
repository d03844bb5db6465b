"""Latent diffusion of radiographs under labels, and the network that tells patients apart, as one network of a bundle.

    z = (encode(x) - mean) scale;    prediction = unet(z_t, t, tokens(labels));    same patient? = reid.head(f(x), f(y))

Autoencoder and re-identification network are public: no private patient trained them. Teacher and student differ in the
denoiser alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import AutoencoderKL, DiffusionModelUNet
from torch import nn
from torch.nn import functional as F

from synthzoo.diffusion.samplers import preview
from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.networks.latent_images import GreyAutoencoder, LatentImages
from synthzoo.networks.weights import load_weights
from synthzoo.systems.hidden_subspaces.network import published as published_reid

STATES = 3  # of a label: absent, present, unset
UNSET = 2
AT_ONCE = 256  # images decoded together


class LabelTokens(nn.Module):
    """K labels as K tokens for cross-attention, one learnt vector for each state of each label.

    Args:
        labels: K.
        width: of a token.
    """

    def __init__(self, labels: int, width: int = 32) -> None:
        super().__init__()
        self.table = nn.Embedding(STATES * labels, width)
        self.labels = int(labels)

    def __len__(self) -> int:
        return self.labels

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Labels (B, K), 0 or 1 and NaN where unset -> tokens (B, K, width)."""
        states = torch.where(torch.isnan(values), float(UNSET), (values > 0.5).float()).long()
        return self.table(states + STATES * torch.arange(self.labels, device=values.device))


class PatchUNet(nn.Module):
    """A U-Net that sees squares of the latent as channels, so that it works on a coarser grid.

    Args:
        unet: (x, timesteps, context) -> prediction, with the channels of the latent times patch^2, such as
            `monai.networks.nets.DiffusionModelUNet`.
        patch: side of a square; 1 leaves the latent as it is.
    """

    def __init__(self, unet: nn.Module, patch: int = 1) -> None:
        super().__init__()
        self.unet, self.patch = unet, int(patch)

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Latents (B, C, h, w), timesteps (B,), tokens (B, K, width) -> prediction (B, C, h, w)."""
        found = self.unet(F.pixel_unshuffle(x, self.patch), timesteps, context=context)
        return F.pixel_shuffle(found, self.patch)


class LabelDiffusion(LatentImages):
    """Autoencoder, denoiser under labels and re-identification network with one state dict.

    Args:
        autoencoder: of grey images, see `GreyAutoencoder`.
        denoiser: (z_t, timesteps, context=(B, K, width)) -> prediction, such as `PatchUNet`.
        conditions: labels (B, K) -> tokens, such as `LabelTokens`.
        schedule: the noise schedule and what the denoiser predicts.
        reid: tells patients apart, such as `hidden_subspaces.network.ReidNetwork`; None for none.
        reid_size: pixels of a side that it takes.
        latent_shape: (C, h, w) of an image.
        preview: (denoise, noise, schedule) -> latents, the short sampler behind `forward`.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        denoiser: nn.Module,
        conditions: nn.Module,
        schedule: Any,
        reid: nn.Module | None = None,
        reid_size: int = 64,
        latent_shape: Sequence[int] = (4, 32, 32),
        preview: Callable | None = None,
    ) -> None:
        super().__init__(autoencoder, latent_shape)
        self.denoiser, self.conditions, self.reid = denoiser, conditions, reid
        self.schedule, self.reid_size, self.preview = schedule, int(reid_size), preview

    def denoise(self, latent: torch.Tensor, t: torch.Tensor, conditions: torch.Tensor | None = None) -> torch.Tensor:
        """Prediction (B, C, h, w) for noisy latents.

        Args:
            latent: (B, C, h, w).
            t: timesteps (B,), integers from 0 (least noise) to T - 1.
            conditions: labels (B, K), NaN where unset; None leaves all unset.
        """
        if conditions is None:
            conditions = torch.full((len(latent), len(self.conditions)), torch.nan, device=latent.device)
        return self.denoiser(latent, t, self.conditions(conditions))

    def decode(self, latents: torch.Tensor, chunk: int | None = None) -> torch.Tensor:
        """Normalised latents (N, C, h, w) -> images (N, 1, H, W), about [0, 1]; `chunk` of them at once."""
        return super().decode(latents, chunk or AT_ONCE)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Noise (B, C, h, w) -> radiographs (B, 1, H, W) of unset labels in few steps, for export tools."""
        return self.decode(self.preview(self.denoise, image, self.schedule)).clamp(0, 1)


def begin_training(
    network: LabelDiffusion,
    autoencoder_path: str | Path | None = None,
    public_path: str | Path | None = None,
    device: str | torch.device | None = None,
) -> LabelDiffusion:
    """The network as a stage of training takes it up.

    Args:
        network: with new weights.
        autoencoder_path: weights whose autoencoder alone is read; a teacher's or student's denoiser never comes along.
        public_path: weights of `reid.json`, read whole: their denoiser has not learnt yet. They take precedence.
        device: where it goes.
    """
    network = load_weights(network, public_path) if public_path else network.take_autoencoder(autoencoder_path)
    return network if device is None else network.to(device)


def generator_parameters(network: LabelDiffusion) -> list[nn.Parameter]:
    """Parameters that learn from private patients in the teacher, and from its kept samples in the student."""
    return [parameter for part in (network.denoiser, network.conditions) for parameter in part.parameters()]


def reid_grid(images: torch.Tensor, size: int) -> torch.Tensor:
    """Radiographs (N, 1, S, S) averaged to the grid (N, 1, size, size) on which patients are told apart."""
    return images if images.shape[-1] == size else F.interpolate(images, (size, size), mode="area")


def published(latent_shape: Sequence[int] = (3, 64, 64), labels: int = 8, width: int = 1024) -> LabelDiffusion:
    """The networks at the paper's scale: a denoiser of 263.6 million parameters, ResNet-50 to tell patients apart.

    Args:
        latent_shape: (C, h, w); 3 x 64 x 64 of 512 x 512 pixels.
        labels: of the conditions; the paper's report has up to 77 tokens in their place.
        width: of a token; that of the paper's text encoder.
    """
    autoencoder = AutoencoderKL(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        latent_channels=latent_shape[0],
        channels=(128, 256, 512, 512),
        num_res_blocks=(2, 2, 2, 2),
        attention_levels=(False, False, False, False),
        with_encoder_nonlocal_attn=True,
        with_decoder_nonlocal_attn=True,
    )
    unet = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=latent_shape[0],
        out_channels=latent_shape[0],
        channels=(256, 512, 768),
        num_res_blocks=(2, 2, 2),
        attention_levels=(False, True, True),
        num_head_channels=(0, 512, 768),
        with_conditioning=True,
        cross_attention_dim=width,
    )
    return LabelDiffusion(
        autoencoder=GreyAutoencoder(autoencoder),
        denoiser=PatchUNet(unet),
        conditions=LabelTokens(labels, width),
        schedule=NoiseSchedule(1000, "scaled_linear", 0.0015, 0.0195, "epsilon"),
        reid=published_reid(channels=1),
        reid_size=256,
        latent_shape=latent_shape,
        preview=preview,
    )

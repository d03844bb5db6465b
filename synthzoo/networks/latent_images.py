"""Images and their latents: an autoencoder in [0, 1] and the statistics that bring its latents to unit scale.

    z = (encode(x) - mean) scale;    mean a number a channel, scale one number (or one a channel), both measured on the
                                     training images

Source of the scale: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from monai.networks.nets import AutoencoderKL
from torch import nn

from synthzoo.errors import UserError
from synthzoo.networks.weights import expect_same_network, read_state

SHARED = ("autoencoder.", "latent_mean", "scale_factor", "fitted")  # tensors of `LatentImages` in any network


class GreyAutoencoder(nn.Module):
    """Grey images in [0, 1] through an autoencoder of images in [-1, 1].

    Args:
        autoencoder: has encode(x) -> (mean, standard deviation) and decode(z), such as `monai.networks.nets.
            AutoencoderKL` or `synthzoo.systems.echonet_synthetic.published_networks.PublishedAutoencoder`.
        channels: that it takes; grey is repeated, and what it gives is averaged.
    """

    def __init__(self, autoencoder: nn.Module, channels: int = 1) -> None:
        super().__init__()
        self.autoencoder, self.channels = autoencoder, int(channels)

    def encode(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (N, 1, H, W) in [0, 1] -> mean and standard deviation of their latents, (N, C, h, w) each."""
        return self.autoencoder.encode((2 * image - 1).expand(-1, self.channels, -1, -1))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latents (N, C, h, w) -> images (N, 1, H, W), about [0, 1]."""
        return (self.autoencoder.decode(z).mean(1, keepdim=True) + 1) / 2

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Images -> their reconstruction from the mean."""
        return self.decode(self.encode(image)[0])


class ColourAutoencoder(nn.Module):
    """Colour images in [0, 1] through an autoencoder of images in [-1, 1].

    Args:
        autoencoder: of three channels; has encode(x) -> (mean, standard deviation) and decode(z).
    """

    def __init__(self, autoencoder: nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def encode(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (N, 3, H, W) in [0, 1] -> mean and standard deviation of their latents, (N, C, h, w) each."""
        return self.autoencoder.encode(2 * image - 1)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latents (N, C, h, w) -> images (N, 3, H, W), about [0, 1]."""
        return (self.autoencoder.decode(z) + 1) / 2


class LatentImages(nn.Module):
    """An autoencoder with the scale of its latents; networks of latent diffusion derive from it.

    Args:
        autoencoder: of grey images or of colours, see `GreyAutoencoder` and `ColourAutoencoder`.
        latent_shape: (C, h, w) of an image, or (C, d, h, w) of a volume.
        each_channel: a scale for each channel, so that one that carries fine detail weighs as much as any other;
            False has one for all of them, as published.
        centre: a mean for each place of the latent instead of one a channel, as the linear denoiser needs it.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        latent_shape: Sequence[int] = (3, 8, 8),
        each_channel: bool = False,
        centre: bool = False,
    ) -> None:
        super().__init__()
        self.autoencoder, self.each_channel = autoencoder, bool(each_channel)
        self.latent_shape = tuple(int(n) for n in latent_shape)
        each = (self.latent_shape[0], *(1 for _ in self.latent_shape[1:]))
        self.register_buffer("latent_mean", torch.zeros(self.latent_shape if centre else each))
        self.register_buffer("scale_factor", torch.ones(each if each_channel else ()))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def fit_latents(self, means: torch.Tensor, variances: torch.Tensor) -> None:
        """Set mean and scale from statistics of the autoencoder's latents.

        Args:
            means: of each channel, (C,), or of each place, (C, ...), see `centre`.
            variances: about that mean, of each channel, (C,).
        """
        self.latent_mean.copy_(means.reshape(self.latent_mean.shape))
        # One number for all channels, as published: those that carry most of the picture stay the largest.
        spread = variances.reshape(self.scale_factor.shape) if self.each_channel else variances.mean()
        self.scale_factor.copy_(spread.clamp_min(1e-12).rsqrt())
        self.fitted.fill_(True)

    def fit_prior(self, rows: Any) -> None:
        """Read what a network knows of latents without training off rows {"latents", ...}; here nothing."""

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """Images (N, 1 or 3, H, W) in [0, 1] -> normalised latents (N, C, h, w), the posterior's mean."""
        return (self.autoencoder.encode(frames)[0] - self.latent_mean) * self.scale_factor

    def decode(self, latents: torch.Tensor, chunk: int = 256) -> torch.Tensor:
        """Normalised latents (N, C, h, w) or (B, C, T, h, w) -> images (N, 1, H, W) or (B, 1, T, H, W), about [0, 1].

        Args:
            latents: what the samplers give; one axis more than an image's are the T frames of a clip.
            chunk: images decoded at once, which bounds the memory.
        """
        if latents.ndim == len(self.latent_shape) + 2:
            flat = self.decode(latents.transpose(1, 2).flatten(0, 1), chunk)
            return flat.unflatten(0, (latents.shape[0], latents.shape[2])).transpose(1, 2)
        z = latents / self.scale_factor + self.latent_mean
        return torch.cat([self.autoencoder.decode(part) for part in z.split(chunk)])

    def take_autoencoder(self, path: str | Path, measured: bool = True) -> Self:
        """Read the autoencoder and its scale alone from the weights of any network of latent images; returns itself.

        Args:
            path: a `model.pt`, for instance of the bundle whose stage 1 trained the autoencoder.
            measured: False takes one whose scale has not been measured, too, for the stage that will.

        Raises:
            UserError: the file cannot be read, or its autoencoder is another one or was never measured.
        """
        state = {name: value for name, value in read_state(path).items() if name.startswith(SHARED)}
        centre = self.latent_mean.shape == self.latent_shape
        part = LatentImages(self.autoencoder, self.latent_shape, self.each_channel, centre)
        expect_same_network(part, state, path)
        if measured and not bool(state["fitted"]):
            raise UserError(
                f"{path}: the scale of its latents was never measured; run the stage after the autoencoder's, which "
                "encodes the training set, and take its weights."
            )
        self.load_state_dict(state, strict=False)
        return self


def radiograph_autoencoder(
    channels: Sequence[int] = (16, 32, 64), latent_channels: int = 4, norm_num_groups: int = 8
) -> GreyAutoencoder:
    """The autoencoder of radiographs, MONAI's without attention: (1, S, S) to (latent_channels, S / 4, S / 4).

    Args:
        channels: of the levels; each but the first halves the size.
        latent_channels: of the latents.
        norm_num_groups: of the group norms; divides each of `channels`.
    """
    return GreyAutoencoder(_autoencoder(1, channels, latent_channels, norm_num_groups))


def colour_autoencoder(
    channels: Sequence[int] = (24, 48, 64), latent_channels: int = 4, norm_num_groups: int = 8
) -> ColourAutoencoder:
    """The autoencoder of small photographs, MONAI's without attention: (3, S, S) to (latent_channels, S / 4, S / 4).

    Args:
        channels, latent_channels, norm_num_groups: see `radiograph_autoencoder`.
    """
    return ColourAutoencoder(_autoencoder(3, channels, latent_channels, norm_num_groups))


def _autoencoder(bands: int, channels: Sequence[int], latent_channels: int, norm_num_groups: int) -> AutoencoderKL:
    return AutoencoderKL(
        spatial_dims=2,
        in_channels=bands,
        out_channels=bands,
        latent_channels=latent_channels,
        channels=tuple(channels),
        num_res_blocks=(1,) * len(channels),
        attention_levels=(False,) * len(channels),
        norm_num_groups=norm_num_groups,
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
    )

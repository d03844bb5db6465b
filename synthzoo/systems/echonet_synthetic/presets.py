"""The networks of EchoNet-Synthetic at the scale of the paper, as one composite: what its bundles and JVID's train."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from synthzoo.diffusion.samplers import preview
from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.networks.clip_denoiser import ClipDenoiser
from synthzoo.networks.conditions import ConditionNormaliser
from synthzoo.networks.latent_images import GreyAutoencoder
from synthzoo.systems.echonet_synthetic.network import LatentVideo, StillUNet
from synthzoo.systems.echonet_synthetic.published_networks import (
    PublishedAutoencoder,
    PublishedImageUNet,
    PublishedVideoUNet,
)


def published(
    latent_shape: Sequence[int] = (4, 14, 14),
    frames: int = 64,
    fps: float = 32.0,
    gallery: int = 7465,
    reid: nn.Module | None = None,
) -> LatentVideo:
    """The published composite: an autoencoder of 62.4 million parameters, denoisers of 73.5 and 143.8 million.

    Args:
        latent_shape: (C, h, w) of a frame; 4 x 14 x 14 of 112 x 112 pixels.
        frames, fps: of the clips.
        gallery: frames of training videos that the privacy filter keeps; EchoNet-Dynamic trains on 7,465 videos.
        reid: network of the privacy filter, such as `hidden_subspaces.network.published`; None for no filter.
    """
    return LatentVideo(
        autoencoder=GreyAutoencoder(PublishedAutoencoder(), channels=3),
        image=ClipDenoiser(StillUNet(PublishedImageUNet()), ConditionNormaliser([], []), sigma_data=1.0),
        video=ClipDenoiser(PublishedVideoUNet(frames=frames), ConditionNormaliser([0], [100]), sigma_data=1.0),
        reid=reid,
        schedule=NoiseSchedule(1000, kind="linear", beta_start=0.0001, beta_end=0.02, prediction="v"),
        latent_shape=latent_shape,
        frames=frames,
        fps=fps,
        embedding=128,
        gallery=gallery,
        preview=preview,
    )

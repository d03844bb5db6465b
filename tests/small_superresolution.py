"""A small upscaler and pool of phantoms for the tests of super-resolution."""

from __future__ import annotations

from typing import Any

from monai.networks.nets import DiffusionModelUNet

from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.networks.patches import PatchAutoencoderKL
from synthzoo.systems.monai_generative.superresolution_network import Upscaler

LEVELS = 4


def small_unet(inside: int, **kwargs: Any) -> DiffusionModelUNet:
    settings = {"num_class_embeds": LEVELS, "norm_num_groups": 4, "num_head_channels": 4, **kwargs}
    return DiffusionModelUNet(3, inside, 4, [1], (8,), (False,), **settings)


def small_upscaler() -> Upscaler:
    autoencoder = PatchAutoencoderKL(
        2,
        0,
        True,
        spatial_dims=3,
        latent_channels=4,
        channels=(8,),
        num_res_blocks=(1,),
        norm_num_groups=4,
        attention_levels=(False,),
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
    )
    schedule = NoiseSchedule(prediction="v")
    return Upscaler(autoencoder, small_unet(11), small_unet(19), schedule, levels=LEVELS, window=16).eval()

"""A label-to-image network small enough for tests, in two or three dimensions."""

from __future__ import annotations

import torch
from monai.networks.nets import AutoencoderKL, DiffusionModelUNet

from synthzoo.diffusion.samplers import preview
from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.networks.conditions import ConditionNormaliser
from synthzoo.networks.hybrid import ConditionedDenoiser
from synthzoo.networks.label_to_image import LabelAutoencoder, LabelToImage
from synthzoo.networks.spade import StylePainter
from synthzoo.phantoms.brain.label_maps import CLASSES

CONDITIONS = 7


def small_painter(dims: int = 2, size: tuple[int, ...] = (16, 16), **settings) -> StylePainter:
    """Two doublings, codes of 4 numbers."""
    sizes = {"code_size": 4, "style_channels": [4, 8], "channels": [8, 8], "head_channels": 4, "hidden": 8}
    return StylePainter(dims, len(CLASSES), size, (16, 16), **{**sizes, **settings})


def small_label_model(dims: int = 2, size: tuple[int, ...] = (16, 16), maps: bool = True) -> LabelToImage:
    """Autoencoder by a factor of 2, a U-Net of two levels, and `small_painter`."""
    torch.manual_seed(0)
    plain = {"num_res_blocks": 1, "norm_num_groups": 4, "attention_levels": (False, False)}
    autoencoder = AutoencoderKL(
        dims,
        len(CLASSES),
        len(CLASSES),
        channels=(8, 8),
        latent_channels=3,
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
        **plain,
    )
    unet = DiffusionModelUNet(
        dims,
        3 + CONDITIONS * maps,
        3,
        channels=(8, 8),
        num_head_channels=4,
        with_conditioning=True,
        cross_attention_dim=CONDITIONS,
        **{**plain, "attention_levels": (False, True)},
    )
    return LabelToImage(
        LabelAutoencoder(autoencoder),
        ConditionedDenoiser(unet, maps),
        ConditionNormaliser([0] * CONDITIONS, [4] * (CONDITIONS - 1) + [1]),
        NoiseSchedule(prediction="v"),
        small_painter(dims, size),
        (3, *(n // 2 for n in size)),
        preview,
    ).eval()


def random_maps(batch: int = 2, size: tuple[int, ...] = (16, 16), seed: int = 0) -> torch.Tensor:
    """Label maps (B, len(CLASSES), *size) of sum 1, with background around them."""
    generator = torch.Generator().manual_seed(seed)
    maps = (4 * torch.randn(batch, len(CLASSES), *size, generator=generator)).softmax(1)
    outside = torch.zeros_like(maps)
    outside[:, 0] = 1
    inside = torch.zeros(1, 1, *size, dtype=torch.bool)
    inside[(..., *(slice(2, -2) for _ in size))] = True
    return torch.where(inside, maps, outside)

"""A translator of slices small enough for tests, and label volumes that stand in for a pool."""

from __future__ import annotations

import numpy as np
import torch
from monai.networks.nets import ControlNet, DiffusionModelUNet, UNet

from synthzoo.diffusion.samplers import preview
from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.networks.latent_images import GreyAutoencoder
from synthzoo.phantoms.brain.label_maps import CLASSES
from synthzoo.systems.monai_generative.translation_network import PackedAutoencoderKL, SliceTranslator

LATENT = (3, 8, 4)
IMAGE = (32, 16)
GRID = (16, 32, 12)


def small_translator(
    regression: bool = True,
    classes: int = 3,
    latent: tuple[int, ...] = LATENT,
    grid: tuple[int, ...] = GRID,
    extractor: tuple[int, ...] = (4, 4),
) -> SliceTranslator:
    """Autoencoder by a factor of 4, U-Net and ControlNet of two levels."""
    torch.manual_seed(0)
    plain = {"num_res_blocks": 1, "norm_num_groups": 4, "attention_levels": (False, False)}
    autoencoder = PackedAutoencoderKL(
        2,
        channels=(8, 8),
        latent_channels=LATENT[0],
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
        **plain,
    )
    shared = {"spatial_dims": 2, "in_channels": LATENT[0], "channels": (8, 8), "num_head_channels": 4, **plain}
    unet = DiffusionModelUNet(out_channels=LATENT[0], num_class_embeds=classes, **shared)
    control = ControlNet(
        num_class_embeds=classes,
        conditioning_embedding_in_channels=8,
        conditioning_embedding_num_channels=(8, 8),
        **shared,
    )
    baseline = UNet(2, 11, 4, channels=(8, 8), strides=(2,)) if regression else None
    return SliceTranslator(
        GreyAutoencoder(autoencoder),
        unet,
        control,
        NoiseSchedule(prediction="v"),
        latent,
        baseline,
        extractor_channels=extractor,
        grid=grid,
        preview=preview,
    ).eval()


def ball_maps(size: tuple[int, ...] = (*GRID,), lesion: str = "WMH") -> np.ndarray:
    """Label maps uint8 (len(CLASSES), *size): a ball of white matter in grey matter with a lesion in it."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    maps = np.zeros((len(CLASSES), *size), np.uint8)
    number = np.where(radius > 0.95, 0, np.where(radius > 0.7, CLASSES.index("GM"), CLASSES.index("WM")))
    number[np.sqrt(sum((axis - 0.25) ** 2 for axis in axes)) < 0.3] = CLASSES.index(lesion)
    np.put_along_axis(maps, number[None], 255, 0)
    return maps

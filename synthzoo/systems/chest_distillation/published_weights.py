"""MONAI's public model of chest radiographs (bundle cxr_image_synthesis_latent_diffusion_model, of MIMIC-CXR).

    models/autoencoder.pth, models/diffusion_model.pth (or .pt)    names of MONAI Generative or of MONAI core

It has no text encoder of its own but that of Stable Diffusion 2.1-base, see
`synthzoo.networks.stable_diffusion_weights`.
Weights are read from safetensors, or from pickles of plain tensors; nothing else of a folder is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.networks.nets import AutoencoderKL, DiffusionModelUNet
from torch import nn

from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError
from synthzoo.networks.generative import core_names
from synthzoo.networks.stable_diffusion_weights import filled
from synthzoo.networks.weights import read_state

# Settings as released with those weights.
MONAI_AUTOENCODER: dict[str, Any] = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 1,
    "latent_channels": 3,
    "channels": (64, 128, 128, 128),
    "num_res_blocks": 2,
    "norm_num_groups": 32,
    "norm_eps": 1e-6,
    "attention_levels": (False,) * 4,
    "with_encoder_nonlocal_attn": False,
    "with_decoder_nonlocal_attn": False,
}
MONAI_UNET: dict[str, Any] = {
    "spatial_dims": 2,
    "in_channels": 3,
    "out_channels": 3,
    "channels": (256, 512, 768),
    "num_res_blocks": 2,
    "attention_levels": (False, True, True),
    "norm_num_groups": 32,
    "norm_eps": 1e-6,
    "num_head_channels": (0, 512, 768),
    "with_conditioning": True,
    "transformer_num_layers": 1,
    "cross_attention_dim": 1024,
}
MONAI_SCALE = 0.3  # of the latents
MONAI_SCHEDULE: dict[str, Any] = {"beta_start": 0.0015, "beta_end": 0.0205, "prediction": "v"}
MONAI_FILES = {"autoencoder": "decoder.", "diffusion_model": "time_embed."}


def read_monai_chest(folder: str | Path) -> tuple[nn.Module, nn.Module, NoiseSchedule]:
    """MONAI's public autoencoder and U-Net of chest radiographs, and their schedule; latents are multiplied by 0.3.

    Images are (N, 1, 512, 512) in [0, 1], latents (N, 3, 64, 64), context (N, 77, 1024) of the text encoder of Stable
    Diffusion 2.1-base.

    Args:
        folder: the bundle, with its models/.

    Raises:
        UserError: a file is missing, exchanged, of another network, or not of plain tensors.
    """
    states = {}
    for name, mark in MONAI_FILES.items():
        paths = [Path(folder) / "models" / f"{name}{ending}" for ending in (".pth", ".pt")]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise UserError(f"{paths[0]}: this file does not exist; download the bundle's large files.")
        states[name] = read_state(path)
        if not any(key.startswith(mark) for key in states[name]):
            raise UserError(f"{path}: has no tensors {mark}*, so it is no {name}; were the two files exchanged?")
    network = AutoencoderKL(**MONAI_AUTOENCODER)
    autoencoder = filled(network, core_names(states["autoencoder"]), f"{folder}: autoencoder")
    unet = DiffusionModelUNet(**MONAI_UNET)
    return (
        autoencoder,
        filled(unet, core_names(states["diffusion_model"]), f"{folder}: U-Net"),
        NoiseSchedule(**MONAI_SCHEDULE),
    )

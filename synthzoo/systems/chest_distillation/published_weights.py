"""Released weights of text-to-image models as one state dict of our network, from a folder on this machine.

Stable Diffusion 1 and 2 and what was tuned from it, as diffusers stores it (Dombrowski et al. begin with 2-base):

    unet/            config.json and weights  ->  MONAI's DiffusionModelUNet, by `core_unet`
    vae/             likewise                 ->  diffusers' AutoencoderKL
    text_encoder/    likewise                 ->  transformers' CLIPTextModel, or BertModel for BERT and CXR-BERT
    tokenizer/       stays a folder
    scheduler/       scheduler_config.json    ->  the noise schedule

MONAI's chest radiographs of MIMIC-CXR (bundle cxr_image_synthesis_latent_diffusion_model), which has no text encoder of
its own but that of Stable Diffusion 2.1-base:

    models/autoencoder.pth, models/diffusion_model.pth (or .pt)    names of MONAI Generative or of MONAI core

Weights are read from safetensors, or from pickles of plain tensors; nothing else of a folder is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.networks.blocks.crossattention import CrossAttentionBlock
from monai.networks.nets import AutoencoderKL, DiffusionModelUNet
from torch import nn

from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError
from synthzoo.networks.released import core_names, read_config, read_folder, todays_names
from synthzoo.networks.weights import expect_same_network, read_state
from synthzoo.systems.chest_distillation.published_networks import (
    PublishedAutoencoder,
    PublishedTextEncoder,
    stable_diffusion_unet,
    unet_settings,
)

SCHEDULER = "scheduler_config.json"
# Names of diffusers' U-Net -> those of MONAI's, each tried in this order; what none of them touches is the same.
UNET_NAMES = tuple(
    (re.compile(old), new)
    for old, new in (
        (r"^conv_in\.", "conv_in.conv."),
        (r"^time_embedding\.linear_1\.", "time_embed.0."),
        (r"^time_embedding\.linear_2\.", "time_embed.2."),
        (r"^conv_norm_out\.", "out.0."),
        (r"^conv_out\.", "out.2.conv."),
        (r"^mid_block\.resnets\.0\.", "middle_block.resnet_1."),
        (r"^mid_block\.resnets\.1\.", "middle_block.resnet_2."),
        (r"^mid_block\.attentions\.0\.", "middle_block.attention."),
        (r"\.downsamplers\.0\.conv\.", ".downsampler.op.conv."),
        (r"\.upsamplers\.0\.conv\.", ".upsampler.postconv.conv."),
        (r"\.(conv[12])\.", r".\1.conv."),
        (r"\.conv_shortcut\.", ".skip_connection.conv."),
        (r"\.(proj_in|proj_out)\.", r".\1.conv."),
        (r"\.to_out\.0\.", ".out_proj."),
        (r"\.ff\.net\.0\.proj\.", ".ff.linear1."),
        (r"\.ff\.net\.2\.", ".ff.linear2."),
    )
)
PROJECTION = re.compile(r"\.proj_(in|out)\.conv\.weight$")
TEXT_PREFIXES = ("text_model.", "bert.")
# What stands beside a text encoder in its file and takes no part in it: numbers of positions, heads of other tasks.
TEXT_UNUSED = re.compile(r"embeddings\.position_ids$|pooler\.|cls\.|cls_projection_head\.|text_projection\.")
PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}
SCHEDULE_DEFAULTS = {"num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02}  # of diffusers
SCALE = 0.18215
# MONAI's chest radiographs: settings as released with those weights.
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


def core_unet(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """State dict of diffusers' U-Net under the names and shapes of MONAI's; tensors are not copied.

    Stable Diffusion 2 projects into its transformers by matrices, which are convolutions of 1 x 1 there.

    Args:
        state: of `diffusers.UNet2DConditionModel`.

    Raises:
        UserError: two tensors would have one name.
    """
    found: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        new = name
        for old, now in UNET_NAMES:
            new = old.sub(now, new)
        if PROJECTION.search(new) and tensor.ndim == 2:
            tensor = tensor[..., None, None]
        if new in found:
            raise UserError(f"unet: {name} stands twice under the name {new}; is the file half renamed?")
        found[new] = tensor
    return found


def read_unet(folder: str | Path) -> nn.Module:
    """MONAI's U-Net with the weights in a folder of diffusers.

    Args:
        folder: with config.json and weights, such as `<model>/unet`.

    Raises:
        UserError: a file is missing, another network, not plain tensors.
    """
    folder = Path(folder)
    network = stable_diffusion_unet(**unet_settings(read_config(folder), folder / "config.json"))
    return _filled(network, core_unet(read_folder(folder)), folder)


def read_autoencoder(folder: str | Path) -> PublishedAutoencoder:
    """diffusers' autoencoder with the weights in a folder, such as `<model>/vae`.

    Raises:
        UserError: a file is missing, another network, not plain tensors; diffusers is not installed.
    """
    folder = Path(folder)
    given = read_config(folder)
    settings = {name: value for name, value in given.items() if not name.startswith("_")}
    try:
        network = PublishedAutoencoder(**settings)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{folder / 'config.json'}: no autoencoder can be built from it ({error}).") from None
    _filled(network.autoencoder, todays_names(read_folder(folder)), folder)
    return network


def read_text_encoder(folder: str | Path, learnable: bool = False) -> PublishedTextEncoder:
    """The text encoder in a folder of transformers, such as `<model>/text_encoder`.

    Args:
        folder: with config.json and weights.
        learnable: False freezes it.

    Raises:
        UserError: a file is missing, another kind of model, not plain tensors; transformers is not installed.
    """
    folder = Path(folder)
    settings = read_config(folder)
    if "model_type" not in settings:
        raise UserError(f"{folder / 'config.json'}: has no model_type; give the text_encoder folder of a model.")
    network = PublishedTextEncoder(learnable, **settings)
    _filled(network.encoder, text_names(read_folder(folder), network.encoder), folder)
    return network


def text_names(state: Mapping[str, torch.Tensor], encoder: nn.Module) -> dict[str, torch.Tensor]:
    """State dict of a text encoder under the names that the installed transformers has; they changed with version 5.

    Args:
        state: as released, with or without "text_model." or "bert." before each name, and with heads of other tasks.
        encoder: of transformers; it gives the names.
    """
    own = list(encoder.state_dict())
    before = next((prefix for prefix in TEXT_PREFIXES if own[0].startswith(prefix)), "")
    found = {}
    for name, tensor in state.items():
        prefix = next((prefix for prefix in TEXT_PREFIXES if name.startswith(prefix)), "")
        bare = name.removeprefix(prefix)
        if before + bare in own or not TEXT_UNUSED.match(bare):
            found[before + bare] = tensor
    return found


def read_schedule(folder: str | Path) -> NoiseSchedule:
    """The noise schedule in a folder of diffusers, such as `<model>/scheduler`.

    Raises:
        UserError: no scheduler_config.json, or one of another kind.
    """
    path = Path(folder) / SCHEDULER
    given = read_config(folder, SCHEDULER)
    prediction = PREDICTIONS.get(given.get("prediction_type", "epsilon"))
    kind = given.get("beta_schedule", "linear")
    if prediction is None or kind not in ("linear", "scaled_linear"):
        raise UserError(
            f"{path}: beta_schedule {kind!r} and prediction_type {given.get('prediction_type')!r} must be linear or "
            "scaled_linear, and epsilon or v_prediction."
        )
    if given.get("trained_betas") is not None or given.get("rescale_betas_zero_snr"):
        raise UserError(f"{path}: has betas of its own, which are not read; give Stable Diffusion 1 or 2.")
    try:
        steps, first, last = (given.get(*part) for part in SCHEDULE_DEFAULTS.items())
        return NoiseSchedule(int(steps), kind, float(first), float(last), prediction)
    except (TypeError, ValueError):
        raise UserError(f"{path}: num_train_timesteps, beta_start and beta_end must be numbers.") from None


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
    autoencoder = _filled(network, core_names(states["autoencoder"]), f"{folder}: autoencoder")
    unet = DiffusionModelUNet(**MONAI_UNET)
    return (
        autoencoder,
        _filled(unet, core_names(states["diffusion_model"]), f"{folder}: U-Net"),
        NoiseSchedule(**MONAI_SCHEDULE),
    )


def published_state(folder: str | Path, network: nn.Module) -> dict[str, torch.Tensor]:
    """State dict of a whole network with the weights in a folder of diffusers; the network is not changed.

    Args:
        folder: of the model, with unet/, vae/, text_encoder/ and scheduler/.
        network: of paper.json, such as `network.TextToImage`: somewhere in it one `DiffusionModelUNet`, one
            `PublishedAutoencoder`, one `PublishedTextEncoder`, `schedule`, and buffers for the scale of latents.

    Raises:
        UserError: a file is missing or not of plain tensors; other sizes, numbers of heads or noise than the network's.
    """
    folder = Path(folder)
    with torch.device("meta"):
        unet = stable_diffusion_unet(**unet_settings(read_config(folder / "unet"), folder / "unet" / "config.json"))
    places = {
        kind: [(f"{name}.", part) for name, part in network.named_modules() if isinstance(part, kind)]
        for kind in (DiffusionModelUNet, PublishedAutoencoder, PublishedTextEncoder)
    }
    (denoiser, own), (autoencoder, _), (text, encoder) = (found[0] for found in places.values())
    if _heads(unet) != _heads(own):
        raise UserError(
            f"{folder / 'unet' / 'config.json'}: attention_head_dim means {_heads(unet)[0]} heads at first, but the "
            f"network has {_heads(own)[0]}; set num_head_channels of its U-Net as this model has it."
        )
    _expect_same_noise(read_schedule(folder / "scheduler"), network.schedule, folder / "scheduler" / SCHEDULER)
    parts = {
        denoiser: core_unet(read_folder(folder / "unet")),
        f"{autoencoder}autoencoder.": todays_names(read_folder(folder / "vae")),
        f"{text}encoder.": text_names(read_folder(folder / "text_encoder"), encoder.encoder),
    }
    state = {name: value for name, value in network.state_dict().items() if not name.startswith(tuple(parts))}
    state |= {prefix + name: value for prefix, part in parts.items() for name, value in part.items()}
    expect_same_network(network, state, folder)
    scale = float(read_config(folder / "vae").get("scaling_factor", SCALE))
    known = {"latent_mean": 0.0, "scale_factor": scale, "fitted": 1}
    return state | {name: torch.full_like(state[name], value) for name, value in known.items() if name in state}


def _heads(unet: nn.Module) -> list[int]:
    return [part.num_heads for part in unet.modules() if isinstance(part, CrossAttentionBlock)]


def _expect_same_noise(given: NoiseSchedule, own: Any, path: Path) -> None:
    if given.prediction != own.prediction:
        raise UserError(
            f"{path}: this model predicts {given.prediction}, and the network {own.prediction}; set prediction of its "
            f"schedule to {given.prediction}."
        )
    if given.num_steps != own.num_steps or not torch.allclose(given.alpha, own.alpha, atol=1e-6):
        raise UserError(f"{path}: betas are others than those of the network; set those of its schedule alike.")


def _filled(network: nn.Module, state: Mapping[str, torch.Tensor], where: str | Path) -> Any:
    """The network with these weights, in its own precision, ready to predict."""
    expect_same_network(network, state, where)
    network.load_state_dict(state, strict=True)
    return network.eval()

"""Released weights of text-to-image models as one state dict of our network, from a folder on this machine.

Stable Diffusion 1 and 2 and what was tuned from them, as diffusers stores it:

    unet/            config.json and weights  ->  MONAI's DiffusionModelUNet, by `core_unet`
    vae/             likewise                 ->  diffusers' AutoencoderKL
    text_encoder/    likewise                 ->  transformers' CLIPTextModel, or BertModel for BERT and CXR-BERT
    tokenizer/       stays a folder
    scheduler/       scheduler_config.json    ->  checked against the network's own noise schedule

Weights are read from safetensors, or from pickles of plain tensors; nothing else of a folder is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.networks.blocks.crossattention import CrossAttentionBlock
from monai.networks.nets import DiffusionModelUNet
from torch import nn

from synthzoo.errors import UserError
from synthzoo.networks.released import read_config, read_folder, todays_names
from synthzoo.networks.stable_diffusion import (
    PublishedAutoencoder,
    PublishedTextEncoder,
    stable_diffusion_unet,
    unet_settings,
)
from synthzoo.networks.weights import expect_same_network

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
SCALE = 0.18215


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
    return filled(network, core_unet(read_folder(folder)), folder)


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
    filled(network.autoencoder, todays_names(read_folder(folder)), folder)
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
    filled(network.encoder, text_names(read_folder(folder), network.encoder), folder)
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


def published_state(folder: str | Path, network: nn.Module) -> dict[str, torch.Tensor]:
    """State dict of a whole network with the weights in a folder of diffusers; the network is not changed.

    Args:
        folder: of the model, with unet/, vae/, text_encoder/ and scheduler/.
        network: of paper.json, such as `text_to_image.TextToImage`: somewhere in it one `DiffusionModelUNet`, one
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
    network.schedule.expect_released(read_config(folder / "scheduler", SCHEDULER), folder / "scheduler" / SCHEDULER)
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


def filled(network: nn.Module, state: Mapping[str, torch.Tensor], where: str | Path) -> Any:
    """The network with these weights, in its own precision, ready to predict."""
    expect_same_network(network, state, where)
    network.load_state_dict(state, strict=True)
    return network.eval()

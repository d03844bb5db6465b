"""Backbones of timm from random weights, a local file or a tag of the hub, and what masked autoencoders left behind.

The weights of MAE (He et al., CVPR 2022; facebookresearch/mae) are CC-BY-NC 4.0: a user may name a file of them, this
project holds and downloads none. They are stored under "model"; a decoder, a head and the last normalisation that a
mean over patches replaces are left out. No weights of Semi-ViT itself were published.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from synthzoo.errors import UserError
from synthzoo.networks.released import package_class
from synthzoo.networks.weights import read_state

LEFT_OUT = re.compile(r"^(decoder_|mask_token|head\.|fc\.)")
FILE = re.compile(r"\.(pt|pth|bin|safetensors)$")
OWN = "fc_norm."  # what may be new, because the weights come from a network that read its class token


def load_backbone(name: str, source: str | None = None, **settings: Any) -> nn.Module:
    """A model of timm with its weights.

    Args:
        name: of the model, such as "vit_base_patch16_224".
        source: None for random weights, which needs no network; a `.pth`, `.pt`, `.bin` or `.safetensors` file, read
            without running code; or a tag of timm's hub, such as "mae", which timm fetches or finds in its cache.
        settings: of `timm.create_model`: num_classes, img_size, embed_dim, drop_path_rate ...

    Raises:
        UserError: timm is not there or does not know the model or the tag, a file that is not there or does not fit.
    """
    create = package_class("timm", "create_model", "timm", "backbones of timm")
    file = source is not None and bool(FILE.search(str(source)))
    full = name if source is None or file else f"{name}.{source}"
    try:
        model = create(full, pretrained=full != name, **settings)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise UserError(f"network_def: timm makes no {full} of {settings} ({first_line(error)}).") from error
    except OSError as error:  # no network and no cache
        raise UserError(f"source = {source!r}: {full} cannot be fetched ({first_line(error)}); name a file.") from error
    if file:
        fill_backbone(model, read_state(Path(source)), str(source))
    return model


def fill_backbone(model: nn.Module, state: Mapping[str, torch.Tensor], where: str) -> None:
    """Put the tensors of a ViT into a model of timm; positions of another grid are resampled.

    Args:
        model: of timm.
        state: name -> tensor, of timm or of a masked autoencoder.
        where: they come from, for sentences.

    Raises:
        UserError: a tensor of the model is missing or has another shape.
    """
    own = model.state_dict()
    given = {name: value for name, value in state.items() if not LEFT_OUT.match(name)}
    positions = given.get("pos_embed")
    if positions is not None and "pos_embed" in own and positions.shape[1] != own["pos_embed"].shape[1]:
        resample = package_class("timm.layers", "resample_abs_pos_embed", "timm", "positions of another grid")
        grid = list(model.patch_embed.grid_size)
        front = int(model.num_prefix_tokens)
        given["pos_embed"] = resample(positions.float(), grid, num_prefix_tokens=front)
    missing = [name for name in own if name not in given and not name.startswith(OWN)]
    unlike = [name for name in own if name in given and given[name].shape != own[name].shape]
    if missing or unlike:
        kind = f"{missing[0]} is missing" if missing else f"{unlike[0]} is {tuple(given[unlike[0]].shape)}"
        raise UserError(f"source = {where!r}: these weights belong to another network, {kind}; take network_def's own.")
    model.load_state_dict({name: given.get(name, value) for name, value in own.items()})


def first_line(error: Exception) -> str:
    """The beginning of what an error says."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]

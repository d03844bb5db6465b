"""Cross-attention of MONAI's `DiffusionModelUNet`, read layer by layer without changing the network.

A layer is named by its place, such as "up_blocks.0.attentions.1"; its maps are softmax(Q K' / sqrt(d)), the mean over
heads, (B, places of the image, tokens).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from monai.networks.blocks import CrossAttentionBlock
from torch import nn
from torch.nn import functional as F

from synthzoo.errors import UserError

ALL = "all"
TAIL = ".transformer_blocks."


def attention_layers(denoiser: nn.Module) -> dict[str, CrossAttentionBlock]:
    """Place in the network -> its cross-attention, in the order of `named_modules`."""
    found = {}
    for name, module in denoiser.named_modules():
        if isinstance(module, CrossAttentionBlock) and name.endswith(".attn2"):
            found[name.removesuffix(".attn2").replace(TAIL, ".")] = module
    return found


def chosen_layers(denoiser: nn.Module, layers: str | Sequence[str] = ALL) -> dict[str, CrossAttentionBlock]:
    """The layers whose places begin with one of `layers`; "all" takes every one.

    Args:
        denoiser: a network with cross-attention.
        layers: "all" or the beginnings of places, such as ["up_blocks.0"].

    Raises:
        UserError: nothing is found, or a layer that keeps no weights (flash attention).
    """
    known = attention_layers(denoiser)
    wanted = [""] if layers == ALL else [layers] if isinstance(layers, str) else list(layers)
    found = {name: layer for name, layer in known.items() if any(name.startswith(start) for start in wanted)}
    lost = [start for start in wanted if not any(name.startswith(start) for name in known)]
    if lost or not found:
        first = (lost or wanted or [""])[0]
        raise UserError(
            f"layers = {layers!r}: the network has no cross-attention at '{first}'; give 'all' or beginnings of "
            f"{', '.join(known) or 'none, for it has none'}."
        )
    if any(layer.use_flash_attention for layer in found.values()):
        raise UserError("layers: flash attention keeps no weights; build the network with use_flash_attention False.")
    return found


@contextmanager
def recorded(layers: dict[str, CrossAttentionBlock]) -> Iterator[dict[str, CrossAttentionBlock]]:
    """Let layers keep their weights in `att_mat` (B, heads, places, tokens) while the context lasts."""
    before = {name: layer.save_attn for name, layer in layers.items()}
    try:
        for layer in layers.values():
            layer.save_attn = True
        yield layers
    finally:
        for name, layer in layers.items():
            layer.save_attn, layer.att_mat = before[name], torch.Tensor()


def word_maps(
    layer: CrossAttentionBlock, groups: Sequence[Sequence[Sequence[int]]], shape: Sequence[int]
) -> torch.Tensor:
    """Maps (B, h, w) of words: the mean over heads, over a word's tokens, and then over words.

    Args:
        layer: that was called under `recorded`.
        groups: for each row of the batch the positions of each word's tokens; a row without words gets zeros.
        shape: (h, w) to which the layer's own map is enlarged by repetition.
    """
    weights = layer.att_mat.float().mean(1)
    places = weights.shape[1]
    high = round(math.sqrt(places * shape[0] / shape[1]))
    found = []
    for row, words in zip(weights, groups):
        each = [row[:, list(tokens)].mean(1) for tokens in words if len(tokens)]
        found.append(torch.stack(each).mean(0) if each else torch.zeros_like(row[:, 0]))
    maps = torch.stack(found).reshape(len(found), 1, high, places // high)
    return F.interpolate(maps, tuple(shape), mode="nearest")[:, 0]

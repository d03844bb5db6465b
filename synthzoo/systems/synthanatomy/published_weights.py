"""Conversion of the published weights of SynthAnatomy (Tudosiu et al. 2022): what of the eight files can be loaded.

Two of the files are VQ-VAEs (UK Biobank, ADNI). Their networks are MONAI's but for the second convolution of a residual
unit, which has a kernel of one voxel (`residual_kernel` 1), and their tensors are named by position:

    encoder.0.<3 i>.*                    ->  encoder.blocks.<i (R + 1)>.conv.*             level i of n, R units each
    encoder.0.<3 i + 2>.<r>.<0 or 3>.*   ->  encoder.blocks.<i (R + 1) + 1 + r>.conv<1 or 2>.conv.*
    encoder.0.<3 n>.*                    ->  encoder.blocks.<n (R + 1)>.conv.*
    decoder.0.0.*                        ->  decoder.blocks.0.conv.*
    decoder.0.<3 i + 1>.<r>.<0 or 3>.*   ->  decoder.blocks.<i (R + 1) + 1 + r>.conv<1 or 2>.conv.*
    decoder.0.<3 i + 2>.*                ->  decoder.blocks.<(i + 1) (R + 1)>.conv.*
    quantizer.0.impl.<N or embed_avg>    ->  quantizer.quantizer.<ema_cluster_size or ema_w>
    quantizer.0.impl.embedding.weight    ->  quantizer.quantizer.embedding.weight

`quantizer.0.impl.weight` is the embedding a second time. Six files are transformers, Performers with random features,
local heads, ReZero and tables of voxel coordinates. Nothing in MONAI computes what they compute, so they are refused:
sample them with their authors' code and `performer-pytorch` 1.0.11, and decode the codes here.

A file is an ignite checkpoint ({"network": ..., "optimizer": ...}) or a plain state dict; names may begin with
`module.`. It is read as plain tensors; no code in it runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from synthzoo.errors import UserError
from synthzoo.networks.token_images import TokenImages
from synthzoo.networks.weights import expect_same_network, read_state

WRAPPED = "module."
PERFORMER = ("performer.", "spatial_position_emb.", "token_emb.")
CODEBOOK = {"N": "ema_cluster_size", "embed_avg": "ema_w", "embedding.weight": "embedding.weight"}
PLACE = re.compile(r"(encoder|decoder)\.0\.(\d+)\.(?:(\d+)\.([03])\.)?(weight|bias)")


def read_released(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of one of the eight files by their own names, without `module.`.

    Raises:
        UserError: no such file, one that is not plain tensors, or a transformer's.
    """
    state = {name.removeprefix(WRAPPED): value for name, value in read_state(path).items()}
    if any(name.startswith(PERFORMER) for name in state):
        raise UserError(
            f"{path}: this is a transformer of SynthAnatomy, a Performer, which no MONAI network can hold; give one of "
            "the two VQ-VAE files, or sample this one with its authors' code."
        )
    return state


def autoencoder_state(released: Mapping[str, torch.Tensor], source: str | Path = "the file") -> dict[str, torch.Tensor]:
    """A released VQ-VAE under MONAI's names; tensors are not copied.

    Args:
        released: see `read_released`.
        source: file, for sentences.

    Raises:
        UserError: a name that no VQ-VAE of SynthAnatomy has, or codebooks of several levels.
    """
    places = {name: match for name in released if (match := PLACE.fullmatch(name))}
    units = [int(match[3]) + 1 for match in places.values() if match[3] is not None]
    if not units:
        raise UserError(f"{source}: holds no residual unit such as encoder.0.2.0.0.weight, so it is no VQ-VAE of this.")
    found, step = {}, max(units) + 1
    for name, tensor in released.items():
        if name in places:
            found[_block(places[name], step)] = tensor
        elif name.startswith("quantizer.0.impl.") and name.removeprefix("quantizer.0.impl.") in CODEBOOK:
            found[f"quantizer.quantizer.{CODEBOOK[name.removeprefix('quantizer.0.impl.')]}"] = tensor
        elif name != "quantizer.0.impl.weight":
            raise UserError(f"{source}: {name} is no tensor of a VQ-VAE of SynthAnatomy; give one of its two files.")
    return found


def _block(match: re.Match, step: int) -> str:
    """MONAI's name of a convolution; `step` blocks make a level."""
    side, place, unit, part, kind = match[1], int(match[2]), match[3], match[4], match[5]
    level, rest = divmod(place if side == "encoder" else place - 1, 3)
    if unit is not None:
        block = level * step + 1 + int(unit)
        return f"{side}.blocks.{block}.{'conv1' if part == '0' else 'conv2'}.conv.{kind}"
    if side == "encoder":
        block = level * step
    else:
        block = 0 if place == 0 else (level + 1) * step
    return f"{side}.blocks.{block}.conv.{kind}"


def composite_state(
    released: Mapping[str, torch.Tensor], network: TokenImages, source: str | Path = "the file"
) -> dict[str, torch.Tensor]:
    """State dict of `network` with a released VQ-VAE in it: what stage one of training leaves, for stage two.

    Args:
        released: see `read_released`.
        network: that of `paper_released.json`; its transformer stays as it is.
        source: file, for sentences.

    Raises:
        UserError: the VQ-VAE has other names or shapes than the network's.
    """
    part = autoencoder_state(released, source)
    expect_same_network(network.autoencoder, part, source)
    return {**network.state_dict(), **{f"autoencoder.{name}": value for name, value in part.items()}}

"""Conversion of the published weights of Pinaya et al. 2022, two files of an older layout, to one state dict here.

    autoencoder   decoder.blocks.<n>.conv.conv.*               ->  autoencoder.decoder.blocks.<n>.postconv.conv.*
    denoiser      *.transformer_blocks.<n>.attn<m>.to_out.0.*  ->  denoiser.unet.*.attn<m>.out_proj.*
                  up_blocks.<n>.upsampler.conv.conv.*          ->  denoiser.unet.up_blocks.<n>.upsampler.postconv.conv.*

All other names stay, behind the prefix. The buffers (bounds of the conditions, affine, latent mean 0 and scale factor
1, which the published sampler does not apply) are those of the config.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch

from synthzoo.errors import UserError
from synthzoo.networks.generative import core_names
from synthzoo.networks.weights import expect_same_network, read_content, read_state
from synthzoo.systems.brain_ldm.network import LatentDiffusion

AUTOENCODER, DENOISER = "autoencoder.", "denoiser.unet."
# The released files: bundle brain_image_synthesis_latent_diffusion_model, Apache-2.0.
MD5 = {
    "autoencoder": "329e97b3085643ff235f11f049856242",
    "diffusion": "21c3047556fb671caf0556f1cce6ef22",
}


def md5(path: str | Path) -> str:
    """The MD5 of a file in hexadecimal, as the released bundle states it; no protection against a forger."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def composite_state(
    autoencoder: Mapping[str, torch.Tensor],
    diffusion: Mapping[str, torch.Tensor],
    network: LatentDiffusion,
    scale_factor: float | None = None,
) -> dict[str, torch.Tensor]:
    """State dict of `network` with the weights of two released state dicts, which are not changed.

    Args:
        autoencoder, diffusion: the released state dicts.
        network: the network of `paper.json` or `paper_maisi.json`, untrained; it gives names, shapes and buffers.
        scale_factor: what the latents are multiplied by before the denoiser sees them; None keeps the network's.

    Raises:
        UserError: a name or a shape differs from the network's (the files exchanged, or another model's).
    """
    wrong = {"autoencoder": (autoencoder, "decoder."), "diffusion": (diffusion, "time_embed.")}
    for name, (state, mark) in wrong.items():
        if not any(key.startswith(mark) for key in state):
            raise UserError(
                f"--{name}: this file has no tensor {mark}*, so it is no {name} file; exchange the two files?"
            )
    parts = (AUTOENCODER, DENOISER)
    state = {name: value for name, value in network.state_dict().items() if not name.startswith(parts)}
    state |= core_names(autoencoder, AUTOENCODER, network.autoencoder)
    state |= core_names(diffusion, DENOISER, network.denoiser.unet)
    if scale_factor is not None:
        state["scale_factor"] = torch.full_like(network.scale_factor, scale_factor)
    expect_same_network(network, state, "the released files")
    return state


def read_diffusion(path: str | Path) -> tuple[dict[str, torch.Tensor], float | None]:
    """The denoiser's state dict and the scale factor, which MAISI's files have beside it and the paper's have not."""
    content = read_content(path)
    if not isinstance(content, Mapping) or "unet_state_dict" not in content:
        return read_state(path), None
    return read_state(path, "unet_state_dict"), float(content.get("scale_factor", 1.0))

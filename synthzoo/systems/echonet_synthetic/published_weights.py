"""The published weights of EchoNet-Synthetic (Hugging Face, HReynaud/EchoNet-Synthetic) as one state dict of ours.

    vae                 ->  autoencoder.autoencoder.autoencoder.*     (frame wrapper, published class, diffusers)
    lidm_dynamic        ->  image.unet.unet.unet.*                    (denoiser, still, published class, diffusers)
    lvdm                ->  video.unet.unet.*
    reidentification_*  ->  reid.*

Each is a folder of diffusers (config.json and diffusion_pytorch_model.safetensors or .bin), the last a `.pth`. Latents
are what the encoder gives times .18215, without a mean. The filter's gallery stays empty: it needs training videos.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from synthzoo.errors import UserError
from synthzoo.networks.released import todays_names
from synthzoo.networks.weights import expect_same_network
from synthzoo.systems.echonet_synthetic.published_networks import SCALE

PREFIXES = {
    "vae": "autoencoder.autoencoder.autoencoder.",
    "lidm": "image.unet.unet.unet.",
    "lvdm": "video.unet.unet.",
    "reid": "reid.",
}
MARKS = {"vae": "decoder.", "lidm": "time_embedding.", "lvdm": "add_embedding.", "reid": "fc_end."}


def published_state(
    parts: Mapping[str, Mapping[str, torch.Tensor]], network: torch.nn.Module
) -> dict[str, torch.Tensor]:
    """State dict of a `LatentVideo` of the published networks.

    Args:
        parts: "vae", "lidm", "lvdm" and "reid" -> state dict, the last with the names of our `ReidNetwork` (see
            `hidden_subspaces.published_weights.convert_reid`). A part may be left out and then stays as it is.
        network: the network of paper.json; it gives names, shapes and what else there is.

    Raises:
        UserError: a part that is another network, such as two files exchanged.
    """
    state = dict(network.state_dict())
    for part, given in parts.items():
        if part not in PREFIXES:
            raise UserError(f"{part}: the published parts are {', '.join(PREFIXES)}.")
        if not any(name.startswith(MARKS[part]) for name in given):
            raise UserError(f"{part}: has no tensors {MARKS[part]}*, so it is no {part}; were two files exchanged?")
        given = todays_names(given) if part == "vae" else given
        state = {name: value for name, value in state.items() if not name.startswith(PREFIXES[part])}
        state |= {PREFIXES[part] + name: value for name, value in given.items()}
    expect_same_network(network, state, "the published weights")
    if "vae" in parts:
        state["latent_mean"] = torch.zeros_like(state["latent_mean"])
        state["scale_factor"] = torch.full_like(state["scale_factor"], SCALE)
        state["fitted"] = torch.ones_like(state["fitted"])
    return state

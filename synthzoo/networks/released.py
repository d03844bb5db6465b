"""Released weights of others, where they lie and how they are named: folders of diffusers and transformers.

    diffusers      config.json and diffusion_pytorch_model.safetensors or .bin, also .fp16., also in shards
    transformers   config.json and model.safetensors or pytorch_model.bin, likewise

State dicts of MONAI Generative are read by `synthzoo.networks.generative`. Nothing is downloaded and no code of a
folder runs. diffusers and transformers are imported where they are needed only.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from synthzoo.errors import UserError
from synthzoo.networks.weights import read_state

STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
ENDINGS = (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin")
INDEX = ".index.json"  # beside shards: which file holds which tensor
# Attention of an autoencoder that an old diffusers has written; the same tensors under the names of today.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_NAME = re.compile(r"^((?:en|de)coder\.mid_block\.attentions\.\d+\.)(query|key|value|proj_attn)\.")


def package_class(package: str, name: str, extra: str, purpose: str) -> Any:
    """The class of this name in an optional package.

    Args:
        package: "diffusers" or "transformers".
        name: of the class.
        extra: of this project that brings the package.
        purpose: what needs it, in the plural, for the sentence.

    Raises:
        UserError: the package is not installed, does not import or lacks the class.
    """
    try:
        return getattr(importlib.import_module(package), name)
    except (ImportError, RuntimeError, AttributeError) as error:
        raise UserError(
            f"{name}: {purpose} need the package {package} ({type(error).__name__}); pip install 'synthzoo[{extra}]', "
            "or take this bundle's own networks."
        ) from error


class DiffusersAutoencoder(nn.Module):
    """The autoencoder of diffusers behind the calls that ours and MONAI's have; MONAI's own cannot hold its decoder.

    Args:
        settings: of `diffusers.AutoencoderKL`.
        extra: of this project that brings diffusers.
        purpose: what needs it, in the plural, for the sentence.

    Attributes:
        scale: of the latents: what the denoisers see is this times what the encoder gives.

    Raises:
        UserError: diffusers is not installed.
    """

    def __init__(self, settings: Mapping[str, Any], extra: str, purpose: str) -> None:
        super().__init__()
        self.autoencoder = package_class("diffusers", "AutoencoderKL", extra, purpose)(**settings)
        self.scale = float(self.autoencoder.config.scaling_factor)

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (N, 3, H, W) in [-1, 1] -> mean and standard deviation (N, 4, H / 8, W / 8), unscaled."""
        posterior = self.autoencoder.encode(x).latent_dist
        return posterior.mean, posterior.std

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Unscaled latents (N, 4, h, w) -> images (N, 3, 8 h, 8 w), about [-1, 1]."""
        return self.autoencoder.decode(z).sample

    def encode_stage_2_inputs(self, x: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, H, W) -> a draw of their unscaled latents (N, 4, H / 8, W / 8), as MONAI's inferers call it."""
        mean, deviation = self.encode(x)
        return mean + deviation * torch.randn_like(deviation)

    def decode_stage_2_outputs(self, z: torch.Tensor) -> torch.Tensor:
        """`decode`, as MONAI's inferers call it."""
        return self.decode(z)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, H, W) -> their reconstruction from the mean."""
        return self.decode(self.encode(x)[0])


def weight_file(folder: str | Path) -> Path:
    """The file of weights in a folder of diffusers or transformers, the index of its shards, or the first `*.pth`.

    Safetensors take precedence over pickles, and full over half precision.

    Raises:
        UserError: no such folder, or no weights in it.
    """
    folder = Path(folder)
    names = [f"{stem}{ending}{index}" for ending in ENDINGS for stem in STEMS for index in ("", INDEX)]
    found = [folder / name for name in names if (folder / name).is_file()] or sorted(folder.glob("*.pth"))
    if not found:
        known = f"{STEMS[0]}{ENDINGS[0]}, {STEMS[1]}{ENDINGS[0]}, {STEMS[2]}.bin"
        raise UserError(f"{folder}: holds none of {known} or *.pth; download that folder whole.")
    return found[0]


def read_folder(folder: str | Path) -> dict[str, torch.Tensor]:
    """The state dict in a folder of diffusers or transformers, or of one file, without running any pickled code.

    Raises:
        UserError: no weights there, a shard is missing, or not plain tensors.
    """
    folder = Path(folder)
    path = folder if folder.is_file() else weight_file(folder)
    if not path.name.endswith(INDEX):
        return read_state(path)
    shards = read_config(path.parent, path.name).get("weight_map")
    names = list(shards.values()) if isinstance(shards, dict) else []
    if not names or not all(isinstance(name, str) and name == Path(name).name for name in names):
        raise UserError(f"{path}: has no weight_map from tensors to files beside it; download the folder again.")
    state = {}
    for name in sorted(set(names)):
        state |= read_state(path.with_name(name))
    return state


def read_config(folder: str | Path, name: str = "config.json") -> dict[str, Any]:
    """The settings in a folder of diffusers or transformers.

    Raises:
        UserError: no such file, or no JSON object.
    """
    path = Path(folder) / name
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); download the model whole.") from None
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: holds no JSON object; download the model again.")
    return settings


def todays_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names of old autoencoders as those of today; 1x1 convolutions of old attention become the matrices they are."""
    found = {}
    for name, tensor in state.items():
        new = OLD_NAME.sub(lambda match: f"{match[1]}{OLD_ATTENTION[match[2]]}.", name)
        found[new] = tensor[..., 0, 0] if new != name and tensor.ndim == 4 else tensor
    return found

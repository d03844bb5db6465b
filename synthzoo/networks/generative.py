"""Checkpoints of MONAI Generative (the package monai-generative 0.2) as state dicts of MONAI core, outputs kept.

    attentions.<n>.to_q            ->  attentions.<n>.attn.to_q, or rows of attn.qkv where that is one matrix
    attentions.<n>.proj_attn       ->  left out: the old networks hold that layer and never apply it, MONAI core applies
                                       its own, which becomes the identity (or has no tensors under include_fc: false)
    attn<n>.to_out.0               ->  attn<n>.out_proj, which both apply
    blocks.<n>.norm2, norm3        ->  blocks.<n>.norm_cross_attn, norm2 of transformers, which MONAI core renumbers
    conv.conv of an upsampling     ->  postconv.conv
    norm<n>.param_free_norm.N      ->  norm<n>.param_free_norm

All other names stay. `load_old_state_dict` of MONAI core puts the layer that was never applied into the place of one
that is, and leaves the norms before cross-attention at their start values; hence this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from monai.apps.generation.maisi.networks.autoencoderkl_maisi import AutoencoderKlMaisi
from monai.apps.generation.maisi.networks.controlnet_maisi import ControlNetMaisi
from monai.apps.generation.maisi.networks.diffusion_model_unet_maisi import DiffusionModelUNetMaisi
from monai.networks import nets
from torch import nn

from synthzoo.errors import UserError

NAMES = (
    (re.compile(r"^(decoder\.blocks\.\d+)\.conv\.conv\."), r"\1.postconv.conv."),
    (re.compile(r"(\.transformer_blocks\.\d+\.attn\d)\.to_out\.0\."), r"\1.out_proj."),
    (re.compile(r"^(up_blocks\.\d+\.upsampler)\.conv\.conv\."), r"\1.postconv.conv."),
    (re.compile(r"\.param_free_norm\.N\."), ".param_free_norm."),
)
NORMS = {"norm2": "norm_cross_attn", "norm3": "norm2"}  # of transformers that have a norm3
NORM = re.compile(r"^(blocks\.\d+)\.(norm[23])\.")
ATTENTION = re.compile(r"^(.*)\.(to_[qkv]|proj_attn)\.(weight|bias)$")
MAISI = {kind.__name__: kind for kind in (AutoencoderKlMaisi, DiffusionModelUNetMaisi, ControlNetMaisi)}
# What can be converted; a subclass is of its parent's kind.
KINDS: dict[str, type[nn.Module]] = {
    **{
        kind.__name__: kind
        for kind in (
            *(nets.SPADEAutoencoderKL, nets.SPADEDiffusionModelUNet, nets.SPADENet, nets.AutoencoderKL, nets.VQVAE),
            *(nets.DiffusionModelUNet, nets.ControlNet, nets.DecoderOnlyTransformer, nets.PatchDiscriminator),
            nets.Generator,
        )
    },
    **MAISI,
}
# Which setting decides the length of a dimension: part of the tensor's name, dimension, setting; the first that fits.
SETTINGS = (
    (r"^(post_)?quant_conv", 0, "latent_channels"),
    (r"^post_quant_conv", 1, "latent_channels"),
    (r"^token_embeddings|^to_logits", 0, "num_tokens"),
    (r"^position_embeddings", 0, "max_seq_len"),
    (r"causal_mask", 2, "max_seq_len"),
    (r"^(token|position)_embeddings|^to_logits|^blocks\.\d+\.(attn|mlp|norm)", 1, "attn_layers_dim"),
    (r"quantizer\.embedding|ema_w", 0, "num_embeddings"),
    (r"ema_cluster_size", 0, "num_embeddings"),
    (r"quantizer\.embedding|ema_w", 1, "embedding_dim"),
    (r"attn2\.to_[kv]", 1, "cross_attention_dim"),
    (r"^class_embedding", 0, "num_class_embeds"),
    (r"mlp_shared", 1, "label_nc"),
    (r"mlp_shared", 0, "spade_intermediate_channels"),
    (r"^controlnet_cond_embedding\.conv_in", 1, "conditioning_embedding_in_channels"),
    (r"^controlnet_cond_embedding", 0, "conditioning_embedding_num_channels"),
    (r"^conv_in|^encoder\.blocks\.0\.conv\.", 1, "in_channels"),
    (r"^out\.2\.", 0, "out_channels"),
)


def core_names(
    state: Mapping[str, torch.Tensor], prefix: str = "", network: nn.Module | None = None
) -> dict[str, torch.Tensor]:
    """A state dict of MONAI Generative under the names of MONAI core; tensors are not copied, `proj_attn` is left out.

    Args:
        state: name -> tensor in the old layout, or the new one, which stays.
        prefix: what stands before each name then.
        network: that takes them; MAISI's are called as they always were.
    """
    if isinstance(network, tuple(MAISI.values())):
        return {prefix + name: tensor for name, tensor in state.items()}
    found = {}
    for name, tensor in state.items():
        attention, norm = ATTENTION.match(name), NORM.match(name)
        if attention and f"{attention[1]}.proj_attn.weight" in state:
            if attention[2] == "proj_attn":
                continue
            name = f"{attention[1]}.attn.{attention[2]}.{attention[3]}"
        elif norm and f"{norm[1]}.norm3.weight" in state:
            name = f"{norm[1]}.{NORMS[norm[2]]}.{name.removeprefix(norm[0])}"
        for old, new in NAMES:
            name = old.sub(new, name)
        found[prefix + name] = tensor
    return found


def kind_of(network: nn.Module | type, key: str = "network_def") -> str:
    """The name in `KINDS` of a network or its class.

    Args:
        key: of the network in its config, for the sentence.

    Raises:
        UserError: none of them.
    """
    own = network if isinstance(network, type) else type(network)
    for name, kind in KINDS.items():
        if issubclass(own, kind):
            return name
    raise UserError(f"{key} is a {own.__name__}, but networks that can be converted are {', '.join(KINDS)}.")


def core_state(
    state: Mapping[str, torch.Tensor], network: nn.Module, source: str = "the checkpoint", key: str = "network_def"
) -> dict[str, torch.Tensor]:
    """The state dict of `network` that gives the outputs of the old network whose checkpoint this is.

    Args:
        state: of the old network, `module.` before every name or not; one of MONAI core stays as it is.
        network: of MONAI core, in the settings of the old one (see `core_settings`).
        source: file of the checkpoint, for sentences.
        key: of the network in its config, for sentences.

    Raises:
        UserError: another kind of network, tensors that are missing or surplus, or one of another shape.
    """
    kind, own = kind_of(network, key), network.state_dict()
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    found = core_names(state, network=network)
    for name, tensor in own.items():
        block, _, last = name.rpartition(".")
        if block.endswith(".qkv") and f"{block[:-3]}to_q.{last}" in found:
            found[name] = torch.cat([found.pop(f"{block[:-3]}to_{part}.{last}") for part in "qkv"])
        elif block.endswith(".attn.out_proj") and f"{block[:-14]}.proj_attn.{last}" in state:
            unused = state[f"{block[:-14]}.proj_attn.{last}"]
            found[name] = (torch.eye if last == "weight" else torch.zeros)(len(tensor), dtype=unused.dtype)
        elif ".norm_cross_attn." in name and name.replace("norm_cross_attn", "norm3") in state:
            found.setdefault(name, tensor)  # held by MONAI core and applied under with_cross_attention alone
    _expect_fit(found, own, f"{source}: ", kind, key)
    return {name: found[name] for name in own}


def _expect_fit(found: Mapping, own: Mapping, source: str, kind: str, key: str) -> None:
    """Raise one sentence where a converted state is not the network's: names first, then shapes."""
    missing, surplus = [name for name in own if name not in found], [name for name in found if name not in own]
    if missing or surplus:
        why = _known_difference(missing, surplus, key)
        said = [f"{len(names)} {word} ({', '.join(names[:3])})" for word, names in _counted(missing, surplus) if names]
        raise UserError(
            f"{source}is no checkpoint of the {kind} in {key}: tensors {' and '.join(said)}; "
            + (why or f"give {key} the settings of the network that was saved, such as attention_levels.")
        )
    wrong = [name for name in own if found[name].shape != own[name].shape]
    if wrong:
        settings = [(_setting(name, found[name].shape, own[name].shape), name) for name in wrong]
        setting, name = min(settings, key=lambda pair: pair[0] == "channels")
        raise UserError(
            f"{source}tensor {name} is {tuple(found[name].shape)}, but {tuple(own[name].shape)} by {key}#{setting}; "
            f"give {key}#{setting} the value of the network that was saved."
        )


def _counted(missing: list[str], surplus: list[str]) -> list[tuple[str, list[str]]]:
    return [("missing", missing), ("unexpected", surplus)]


def _known_difference(missing: list[str], surplus: list[str], key: str) -> str:
    """What to do where the reason is known, or nothing."""
    if any(name.endswith("out_proj.weight") for name in surplus):
        return f"its attention ends in a layer that was applied, so leave include_fc of {key} true."
    if any(".deconv." in name for name in missing):
        return (
            "MONAI core's transposed convolution has a kernel of 2 voxels, that of monai-generative one of 3, so no "
            f"network of MONAI core computes this: train it again, with use_convtranspose of {key} false."
        )
    if any(name.startswith("decoder.conv_init.") for name in missing) and "decoder.fc.weight" in surplus:
        return "MONAI core's SPADENet without is_vae begins in another layer than the old one: train it again."
    return ""


def _setting(name: str, given: torch.Size, own: torch.Size) -> str:
    """The setting of a network from which the difference of two shapes comes, as far as the tensor's name tells it."""
    if len(given) != len(own):
        return "spatial_dims"
    differs = [place for place, (a, b) in enumerate(zip(given, own)) if a != b]
    for pattern, place, setting in SETTINGS:
        if place in differs and re.search(pattern, name):
            return setting
    return "channels"


def core_settings(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an old network as MONAI core's network of that kind takes them.

    Args:
        kind: name in `KINDS`.
        settings: of MONAI Generative or of MONAI core, values only.

    Raises:
        UserError: an unknown kind.
    """
    if kind not in KINDS:
        raise UserError(f"{kind}: networks that can be converted are {', '.join(KINDS)}.")
    own = dict(settings)
    own.pop("use_flash_attention", None)  # saves memory on a GPU, the result is the same
    if kind in MAISI or "channels" in own:
        return own
    own = {{"num_channels": "channels"}.get(name, name): value for name, value in own.items()}
    if kind == "AutoencoderKL" and "use_checkpointing" in own:
        own["use_checkpoint"] = own.pop("use_checkpointing")
    if kind in ("AutoencoderKL", "SPADEAutoencoderKL") or ("Diffusion" in kind and not own.get("with_conditioning")):
        own.setdefault("include_fc", False)
    return own


def with_spade_eps(network: nn.Module, eps: float = 1e-5) -> nn.Module:
    """The network with the epsilon that MONAI Generative's SPADE norms have; MONAI core gives them `norm_eps`.

    Between the two lie 1.5e-4 in an output of standard deviation 0.7, in the small network of the tests; a network that
    continues to train need not have it.
    """
    for part in network.modules():
        norm = getattr(part, "param_free_norm", None)
        if norm is not None and hasattr(norm, "eps"):
            norm.eps = eps
    return network

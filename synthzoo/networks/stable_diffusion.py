"""Networks of Stable Diffusion 1 and 2 behind our own calls: U-Net of MONAI, autoencoder of diffusers, text encoder.

    stable_diffusion_unet   MONAI's DiffusionModelUNet, 865,910,724 parameters   (N, 4, 64, 64), (N, 77, 1024)
    PublishedAutoencoder    diffusers' AutoencoderKL, 83,653,863                 (N, 3, 512, 512) <-> (N, 4, 64, 64)
    PublishedTextEncoder    transformers' CLIPTextModel, 340,387,840             (N, 77) -> (N, 77, 1024)
    PublishedTokenizer      a folder's own tokenizer                             phrases -> (N, 77)

All are built empty at the published sizes, by default those of Stable Diffusion 2, or from the `config.json` of a
folder. MONAI's autoencoder cannot hold the published one, whose decoder has a block more per level. The text encoder is
OpenCLIP ViT-H/14 without its last layer, then its last LayerNorm; that is how diffusers' folders store it, so no
further layer is left out here.

Reference: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import DiffusionModelUNet
from monai.networks.nets.diffusion_model_unet import SpatialTransformer
from torch import nn

from synthzoo.errors import UserError
from synthzoo.networks.released import DiffusersAutoencoder, package_class
from synthzoo.networks.word_tokens import A_FINDING, check_text

PURPOSE = "the networks of Stable Diffusion"
EXTRA = "text"
TOKENS = 77
TRANSFORMER_EPS = 1e-6  # of the norm before each transformer, whatever the other norms have
UNET: dict[str, Any] = {
    "spatial_dims": 2,
    "in_channels": 4,
    "out_channels": 4,
    "channels": (320, 640, 1280, 1280),
    "attention_levels": (True, True, True, False),
    "num_res_blocks": 2,
    "num_head_channels": 64,
    "with_conditioning": True,
    "transformer_num_layers": 1,
    "cross_attention_dim": 1024,
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
}
AUTOENCODER: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}
TEXT: dict[str, Any] = {
    "model_type": "clip_text_model",
    "vocab_size": 49408,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "max_position_embeddings": TOKENS,
    "hidden_act": "gelu",
    "projection_dim": 512,
}
# What diffusers' U-Net may have beyond Stable Diffusion's: setting -> the values that mean "nothing of it".
UNET_WITHOUT: dict[str, tuple] = {
    "act_fn": ("silu",),
    "addition_embed_type": (None,),
    "class_embed_type": (None,),
    "cross_attention_norm": (None,),
    "center_input_sample": (False,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "dual_cross_attention": (False,),
    "encoder_hid_dim_type": (None,),
    "encoder_hid_dim": (None,),
    "flip_sin_to_cos": (True,),
    "freq_shift": (0,),
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "num_class_embeds": (None,),
    "only_cross_attention": (False,),
    "resnet_time_scale_shift": ("default",),
    "time_cond_proj_dim": (None,),
    "time_embedding_dim": (None,),
    "time_embedding_type": ("positional",),
    "downsample_padding": (1,),
    "mid_block_scale_factor": (1,),
    "resnet_skip_time_act": (False,),
    "resnet_out_scale_factor": (1.0,),
    "attention_type": ("default",),
    "timestep_post_act": (None,),
    "time_embedding_act_fn": (None,),
}
TOKENIZERS = ({"tokenizer.json"}, {"vocab.json", "merges.txt"}, {"vocab.txt"})
TOKENIZER_FILES = (
    *("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)
CLIP, BERT = ("clip_text_model", "clip"), ("bert", "cxr-bert")


def stable_diffusion_unet(**settings: Any) -> DiffusionModelUNet:
    """MONAI's U-Net as Stable Diffusion 2 has it, by default at the published size.

    Args:
        settings: of `monai.networks.nets.DiffusionModelUNet`, in place of those of `UNET`.
    """
    network = DiffusionModelUNet(**{**UNET, **settings})
    for part in network.modules():
        if isinstance(part, SpatialTransformer):
            part.norm.eps = TRANSFORMER_EPS  # MONAI gives it that of all norms
    return network


def unet_settings(config: Mapping[str, Any], where: str | Path = "unet/config.json") -> dict[str, Any]:
    """Settings of `stable_diffusion_unet` from those of a diffusers U-Net.

    Args:
        config: of `diffusers.UNet2DConditionModel`.
        where: its file, for the sentence.

    Raises:
        UserError: a setting that Stable Diffusion 1 and 2 do not have, or a missing one.
    """
    for name, allowed in UNET_WITHOUT.items():
        value = config.get(name, allowed[0])
        if value not in allowed:
            raise UserError(f"{where}: {name} = {value!r} is not Stable Diffusion 1 or 2, which have {allowed[0]!r}.")
    try:
        channels = tuple(int(n) for n in config["block_out_channels"])
        levels = tuple("CrossAttn" in kind for kind in config["down_block_types"])
        up = tuple("CrossAttn" in kind for kind in config["up_block_types"])
        kinds = {kind.replace("CrossAttn", "") for kind in (*config["down_block_types"], *config["up_block_types"])}
        # What diffusers calls the width of a head is the number of heads, for the sake of old files.
        heads = config.get("num_attention_heads") or config.get("attention_head_dim", 8)
        heads = tuple(heads) if isinstance(heads, Sequence) else (heads,) * len(channels)
        widths = tuple(width // int(count) for width, count in zip(channels, heads))
        depths = config.get("transformer_layers_per_block", 1)
        depths = set(depths) if isinstance(depths, Sequence) else {depths}
        blocks = config.get("layers_per_block", 2)
        context = int(config["cross_attention_dim"])
        if not (len(channels) == len(levels) == len(up) == len(widths) and levels == up[::-1] and len(depths) == 1):
            raise ValueError("levels of other kinds on the way down than up")
        if not kinds <= {"DownBlock2D", "UpBlock2D"}:
            raise ValueError(f"blocks {', '.join(sorted(kinds))}")
        return {
            "in_channels": int(config["in_channels"]),
            "out_channels": int(config["out_channels"]),
            "channels": channels,
            "attention_levels": levels,
            "num_res_blocks": int(blocks) if isinstance(blocks, int) else tuple(blocks),
            "num_head_channels": widths,
            "transformer_num_layers": int(depths.pop()),
            "cross_attention_dim": context,
            "norm_num_groups": int(config.get("norm_num_groups", 32)),
            "norm_eps": float(config.get("norm_eps", 1e-5)),
            "upcast_attention": bool(config.get("upcast_attention", False)),
        }
    except (KeyError, TypeError, ValueError) as error:
        said = f"lacks {error}" if isinstance(error, KeyError) else f"has a setting of another network ({error})"
        raise UserError(
            f"{where}: {said}; give the unet folder of Stable Diffusion 1 or 2, as diffusers has it."
        ) from None


class PublishedAutoencoder(DiffusersAutoencoder):
    """Stable Diffusion's autoencoder: (N, 3, H, W) in [-1, 1] to (N, 4, H / 8, W / 8) and back.

    Args:
        settings: of `diffusers.AutoencoderKL`, in place of those of `AUTOENCODER`.

    Raises:
        UserError: diffusers is not installed.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__({**AUTOENCODER, **settings}, EXTRA, PURPOSE)


class PublishedTextEncoder(nn.Module):
    """A text encoder of transformers: tokens in, one vector a token out.

    CLIP's text model (Stable Diffusion), or BERT, which stands for the CXR-BERT of models tuned on radiographs, too.

    Args:
        learnable: False freezes it.
        settings: all of its configuration, with "model_type"; by default `TEXT`.

    Raises:
        UserError: another kind of model; transformers is not installed.
    """

    def __init__(self, learnable: bool = False, **settings: Any) -> None:
        super().__init__()
        self.encoder = text_model(settings or TEXT)
        self.learnable = bool(learnable)
        self.requires_grad_(self.learnable)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Numbers of tokens (N, T) -> context (N, T, W); padding takes part, as it did in training."""
        return self.encoder(input_ids=tokens).last_hidden_state


def text_model(settings: Mapping[str, Any], where: str | Path = "text_encoder/config.json") -> nn.Module:
    """The empty text model of a configuration.

    Args:
        settings: with "model_type".
        where: their file, for the sentence.

    Raises:
        UserError: another kind of model; a setting that it cannot take; transformers is not installed.
    """
    kind = settings.get("model_type")
    own = {name: value for name, value in settings.items() if name not in ("model_type", "auto_map", "architectures")}
    if kind in CLIP:
        name, more = "CLIPText", {}
        own = dict(own.get("text_config") or own)
    elif kind in BERT:
        name, more = "Bert", {"add_pooling_layer": False}
    else:
        raise UserError(
            f"{where}: model_type is {kind!r}; the text encoders that are read are {', '.join((*CLIP, *BERT))}, and no "
            "code of a folder is run."
        )
    config, model = (package_class("transformers", f"{name}{part}", EXTRA, PURPOSE) for part in ("Config", "Model"))
    try:
        return model(config(**own), **more)
    except Exception as error:  # transformers raises kinds of its own for settings that do not fit each other
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{where}: no network can be built from it ({reason}); download the folder again.") from None


def tokenizer_files(folder: str | Path) -> list[Path]:
    """The files of a tokenizer, which are tables and settings in text; other files of the folder are not among them.

    Raises:
        UserError: there are none, or one is missing.
    """
    folder = Path(folder)
    found = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    names = {path.name for path in found}
    if not any(needed <= names for needed in TOKENIZERS):
        kinds = "; ".join(" and ".join(sorted(needed)) for needed in TOKENIZERS)
        raise UserError(f"{folder}: lacks the files of a tokenizer, which are {kinds}; download the model whole.")
    return found


class PublishedTokenizer:
    """The tokenizer in a folder of transformers: prompts to tokens, and tokens to the words that they belong to.

    The folder is read when it is first needed.

    Args:
        folder: with tokenizer.json, or vocab.json and merges.txt, or vocab.txt.
        length: tokens of a prompt, marks of start and end among them.
        needed: what a prompt must name, with an example, for the sentence that refuses one.
    """

    def __init__(self, folder: str | Path, length: int = TOKENS, needed: str = A_FINDING) -> None:
        self.folder, self.length, self.needed = Path(folder), int(length), needed

    @cached_property
    def tokenizer(self) -> Any:
        """That of transformers.

        Raises:
            UserError: the folder lacks the files; transformers is not installed.
        """
        tokenizer_files(self.folder)
        # Folders of CXR-BERT name a class of their own, in code that is not run; it is BERT's but for a name.
        name = "BertTokenizer" if (self.folder / "vocab.txt").is_file() else "AutoTokenizer"
        kind = package_class("transformers", name, EXTRA, PURPOSE)
        try:
            found = kind.from_pretrained(str(self.folder), local_files_only=True, trust_remote_code=False)
        except Exception as error:  # transformers and tokenizers raise many kinds for damaged files
            reason = str(error).strip().partition("\n")[0][:200]
            raise UserError(
                f"{self.folder}: holds no usable tokenizer ({type(error).__name__}: {reason}); download it again."
            ) from None
        if found.pad_token_id is None:
            found.pad_token = found.eos_token or found.sep_token
        return found

    def __len__(self) -> int:
        return len(self.tokenizer)

    def __call__(self, prompts: Sequence[str]) -> torch.Tensor:
        """Prompts -> tokens int64 (B, length), between marks of start and end, padded; longer ones are cut."""
        return self._tokenized(list(prompts), truncation=True, padding="max_length", return_tensors="pt").input_ids

    def words(self, prompt: str) -> list[tuple[str, list[int]]]:
        """Each word between spaces with the positions of its tokens; a word past the end has none.

        A tokenizer of another text model marks pieces of words otherwise, so the positions come from where a token
        stands in the text, not from counting.
        """
        found = self._tokenized(prompt, truncation=True, return_offsets_mapping=True)
        special = self.tokenizer.get_special_tokens_mask(found.input_ids, already_has_special_tokens=True)
        words = [(match.group(), match.span(), []) for match in re.finditer(r"\S+", prompt)]
        for position, (begin, end) in enumerate(found.offset_mapping):
            for _, (first, last), own in words:
                if not special[position] and max(begin, first) < min(end, last):
                    own.append(position)
        return [(word, own) for word, _, own in words]

    def groups(self, prompt: str, sought: Sequence[str] = ()) -> list[list[int]]:
        """Positions of the tokens of each word that contains one of `sought`; of all words if none does."""
        words = [(word.lower(), own) for word, own in self.words(prompt) if own]
        found = [own for word, own in words if any(part in word for part in sought)]
        return found or [own for _, own in words]

    def positions(self, prompt: str, sought: Sequence[str] = ()) -> list[int]:
        """`groups` as one list."""
        return sorted({position for own in self.groups(prompt, sought) for position in own})

    def check(self, prompt: str, may_be_empty: bool = False, name: str = "prompt") -> str:
        """The prompt, its words joined by spaces.

        Args:
            prompt: as a user wrote it.
            may_be_empty: whether no word at all is a prompt.
            name: of the key, for the sentence.

        Raises:
            UserError: no text, no words, or more tokens than the network takes.
        """
        check_text(prompt, name, self.needed)
        prompt = " ".join(prompt.split())
        if not prompt and not may_be_empty:
            raise UserError(f"{name} is empty, but must name {self.needed}.")
        count = len(self._tokenized(prompt, truncation=False).input_ids)
        if count > self.length:
            raise UserError(f"{name} has {count - 2} tokens, but may have {self.length - 2}: shorten it.")
        return prompt

    def _tokenized(self, prompts: str | list[str], **how: Any) -> Any:
        return self.tokenizer(prompts, max_length=self.length, **how)

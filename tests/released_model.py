"""A small text-to-image model as diffusers and transformers store one: every folder real, every weight random."""

from __future__ import annotations

import json
from pathlib import Path

import torch

PHRASES = (
    "Small left pleural effusion.",
    "right apical pneumothorax",
    "cardiomegaly, no oedema",
    "nodule in the right upper lobe",
    "bibasilar atelectasis and consolidation",
)
LENGTH = 24  # tokens of a prompt
WIDTH = 48  # of the context


def save_tokenizer(folder: Path) -> None:
    """A byte-level BPE in the files that Stable Diffusion's tokenizer has: vocab.json, merges.txt and two more."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|startoftext|>", "<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=special,
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([phrase.lower() for phrase in PHRASES * 3], trainer)
    folder.mkdir(parents=True)
    tokenizer.model.save(str(folder))
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "pad_token": "!"}
    marks = {"bos_token": special[0], "eos_token": special[1], "unk_token": special[1]}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **marks}))
    (folder / "special_tokens_map.json").write_text(json.dumps({**marks, "pad_token": "!"}))


def save_model(folder: Path, linear: bool = True, safe: bool = True) -> dict:
    """Save the model and return its parts.

    Args:
        folder: where unet/, vae/, text_encoder/, tokenizer/ and scheduler/ go.
        linear: projections into transformers are matrices (Stable Diffusion 2), else convolutions (1).
        safe: safetensors; else pickles of plain tensors.
    """
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    save_tokenizer(folder / "tokenizer")
    numbers = len(json.loads((folder / "tokenizer" / "vocab.json").read_text()))
    parts = {
        "unet": UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(32, 64, 64),
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=2,
            attention_head_dim=(2, 4, 4),
            cross_attention_dim=WIDTH,
            norm_num_groups=16,
            use_linear_projection=linear,
        ),
        "vae": AutoencoderKL(
            block_out_channels=(16, 32),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            layers_per_block=2,
            norm_num_groups=8,
            latent_channels=4,
            scaling_factor=0.18215,
        ),
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=numbers,
                hidden_size=WIDTH,
                intermediate_size=96,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=LENGTH,
                hidden_act="gelu",
                bos_token_id=0,
                eos_token_id=1,
            )
        ),
        "scheduler": PNDMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    }
    for part in ("unet", "vae", "text_encoder"):
        for value in parts[part].parameters():
            if value.ndim < 2:  # norms and biases are not all ones and zeros, so that none may be left out or exchanged
                torch.nn.init.normal_(value, value.mean().item(), 0.1)
        parts[part].eval().save_pretrained(folder / part)
        if not safe:
            file = next((folder / part).glob("*.safetensors"))
            name = "pytorch_model.bin" if part == "text_encoder" else "diffusion_pytorch_model.bin"
            torch.save(parts[part].state_dict(), file.with_name(name))
            file.unlink()
    parts["scheduler"].save_pretrained(folder / "scheduler")
    return parts

"""Text-to-image latent diffusion (Rombach et al., CVPR 2022), whose cross-attention says where a word lies.

One module holds all that a bundle needs, so that one state dict is the whole model: autoencoder, U-Net with
cross-attention and text encoder.

    z = (encode(x) - mean) scale;    prediction = unet(z_t, t, text(tokens))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from synthzoo.networks.latent_images import LatentImages
from synthzoo.networks.word_tokens import PAD


class TextEncoder(nn.Module):
    """Embeddings of words at places, which a causal transformer may follow.

    Padding becomes zero, so that a cross-attention without biases gives it the score 0 and nothing to take.

    Args:
        words: size of the vocabulary, see `word_tokens.WordTokenizer`.
        width: of an embedding.
        length: tokens of a prompt, at most.
        layers: of the transformer; 0 leaves the embeddings as they are.
        heads: of its self-attention.
        learnable: False keeps the random weights that it begins with.
        place_scale: standard deviation of the embeddings of places, where that of words is 1.
    """

    def __init__(
        self,
        words: int,
        width: int = 64,
        length: int = 32,
        layers: int = 0,
        heads: int = 4,
        learnable: bool = False,
        place_scale: float = 0.3,
    ) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        nn.init.normal_(self.places.weight, std=place_scale)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.learnable = bool(learnable)
        self.requires_grad_(self.learnable)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens int64 (B, L) -> context (B, L, width)."""
        length = tokens.shape[1]
        x = self.words(tokens) + self.places.weight[:length]
        later = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        for layer in self.layers:
            x = layer(x, src_mask=later)
        return x * (tokens != PAD)[..., None]


class TextToImage(LatentImages):
    """Autoencoder, text encoder and conditional denoiser as one network of a bundle.

    Args:
        autoencoder: of grey images or of colours, see `GreyAutoencoder` and `ColourAutoencoder`.
        denoiser: (z_t, timesteps, context=(B, L, width)) -> prediction, such as MONAI's `DiffusionModelUNet`.
        text: tokens (B, L) -> context, such as `TextEncoder`.
        tokenizer: prompt -> tokens, such as `word_tokens.WordTokenizer`.
        schedule: the noise schedule and what the denoiser predicts.
        latent_shape: (C, h, w) of an image.
        preview: (denoise, noise, schedule) -> latents, the short sampler behind `forward`.
        each_channel: see `LatentImages`.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        denoiser: nn.Module,
        text: nn.Module,
        tokenizer: Any,
        schedule: Any,
        latent_shape: Sequence[int] = (4, 32, 32),
        preview: Callable | None = None,
        each_channel: bool = False,
    ) -> None:
        super().__init__(autoencoder, latent_shape, each_channel)
        self.denoiser, self.text, self.tokenizer = denoiser, text, tokenizer
        self.schedule, self.preview = schedule, preview

    def context(self, prompts: Sequence[str]) -> torch.Tensor:
        """Context (B, L, width) of prompts."""
        return self.text(self.tokenizer(prompts).to(self.latent_mean.device))

    def guided(self, context: torch.Tensor, weight: float = 1.0) -> Callable:
        """Denoiser (x (B, ...), t (B,)) -> prediction under `context`, guided against the empty prompt.

            prediction = empty + w (conditional - empty)

        Args:
            context: (B, L, width).
            weight: w; 1 is the conditional denoiser alone, one evaluation a step.
        """
        if weight == 1:
            return lambda x, t: self.denoiser(x, t, context=context)
        both = torch.cat([self.context([""] * len(context)), context])

        def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            empty, conditional = self.denoiser(torch.cat([x, x]), torch.cat([t, t]), context=both).chunk(2)
            return empty + weight * (conditional - empty)

        return denoise

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Noise (B, C, h, w) -> images (B, 1 or 3, H, W) of the empty prompt in few steps, for export tools."""
        denoise = self.guided(self.context([""] * len(image)))
        return self.decode(self.preview(denoise, image, self.schedule)).clamp(0, 1)


def begin_diffusion(network: TextToImage, path: str | Path, device: str | torch.device = "cpu") -> TextToImage:
    """The network with the autoencoder of a weights file, as the stage of diffusion begins; all else is new.

    Args:
        network: whose denoiser and text encoder are to be trained.
        path: weights of the stage that trained the autoencoder, or of a later one.
        device: where it is moved.
    """
    return network.take_autoencoder(path, measured=False).to(device)


def trained_parameters(network: TextToImage) -> list[nn.Parameter]:
    """Parameters of the diffusion stage: those of the denoiser, and of a text encoder that learns."""
    return [p for part in (network.denoiser, network.text) for p in part.parameters() if p.requires_grad]

"""Phrase grounding by cross-attention (Dombrowski et al., AAAI 2024); see `synthzoo.inferers.word_attention`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from synthzoo.inferers.word_attention import WordAttention, enlarged, masks_of
from synthzoo.networks.text_to_image import TextToImage
from synthzoo.systems.chest_distillation.words import ALL_SOUGHT


class GroundingInferer(WordAttention):
    """Heat maps of phrases over radiographs, by the words that name a finding; its arguments are `WordAttention`'s."""

    sought = ALL_SOUGHT

    @torch.inference_mode()
    def __call__(
        self, inputs: torch.Tensor, network: TextToImage, prompts: Sequence[str], *args: Any, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """Radiographs (B, 1, S, S) in [0, 1] and prompts -> "pred" heat map and "mask", (B, 1, S, S) in [0, 1]."""
        images = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        maps = self.attention(network.encode(images), prompts, network)
        size = tuple(images.shape[-2:])
        return {"pred": enlarged(maps, size), "mask": masks_of(maps, size)}

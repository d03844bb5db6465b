"""Where an image shows what a word names, by the cross-attention of text to image (Dombrowski et al., AAAI 2024).

    z_t = a_t z + s_t e, fresh e for each t;   map = mean over t and layers of softmax(Q K' / sqrt(d)) at the word

Every t is a forward pass of its own on the noisy latent of the image; nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.inferers import Inferer
from torch.nn import functional as F

from synthzoo.errors import UserError
from synthzoo.networks.cross_attention import ALL, chosen_layers, recorded, word_maps
from synthzoo.networks.text_to_image import TextToImage
from synthzoo.transforms.mixture_masks import mixture_mask

MASKED_AT = (64, 64)
TIMESTEPS = tuple(range(1, 782, 20))  # the last 40 of 50 steps from 981 down to 1, as published


class WordAttention(Inferer):
    """Maps of where an image shows what the words of a prompt name; subclasses say what becomes of them.

    Args:
        layers: "all", as published, or beginnings of places in the denoiser, see `attention.chosen_layers`.
        timesteps: noise levels whose maps are averaged; None takes the published ones.
        seed: of the noise, which is that of the timestep alone: an image has one map in whatever batch it is.
    """

    sought: Sequence[str] = ()  # parts of the words whose maps count; none: all words

    def __init__(
        self, layers: str | Sequence[str] = ALL, timesteps: Sequence[int] | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.layers = layers if isinstance(layers, str) else tuple(layers)
        self.timesteps = tuple(int(t) for t in (TIMESTEPS if timesteps is None else timesteps))
        self.seed = int(seed)
        if not self.timesteps or min(self.timesteps) < 0:
            raise UserError(f"timesteps = {timesteps!r}: give integers from 0 on, such as {TIMESTEPS[:3]}.")

    @torch.inference_mode()
    def attention(
        self,
        latents: torch.Tensor,
        prompts: Sequence[str],
        network: TextToImage,
        sought: Sequence[Sequence[str]] | None = None,
    ) -> torch.Tensor:
        """Maps (B, h, w), positive, in the size of the latents, not scaled.

        Args:
            latents: normalised, (B, C, h, w).
            prompts: one for each.
            network: with `denoiser`, `text`, `tokenizer` and `schedule`.
            sought: for each the parts of words whose maps are averaged; None takes `self.sought`. Where no word of a
                prompt has them, all words count.
        """
        schedule, shape = network.schedule, latents.shape[-2:]
        if max(self.timesteps) >= schedule.num_steps:
            raise UserError(f"timesteps: {max(self.timesteps)} is too high, the schedule has {schedule.num_steps}.")
        each = [self.sought] * len(prompts) if sought is None else sought
        groups = [network.tokenizer.groups(prompt, parts) for prompt, parts in zip(prompts, each, strict=True)]
        context, total = network.context(prompts), torch.zeros(len(latents), *shape)
        with recorded(chosen_layers(network.denoiser, self.layers)) as layers:
            for t in self.timesteps:
                own = torch.Generator().manual_seed((self.seed * 1_000_003 + t) % 2**63)
                noise = torch.randn(1, *latents.shape[1:], generator=own).to(latents).expand_as(latents)
                times = torch.full((len(latents),), t, device=latents.device)
                network.denoiser(schedule.add_noise(latents, noise, times), times, context=context)
                for layer in layers.values():
                    total += word_maps(layer, groups, shape).cpu()
        return total / (len(self.timesteps) * len(layers))


def enlarged(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps (B, h, w) scaled to [0, 1] each and enlarged bilinearly, (B, 1, *size); an even map becomes 0."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp_min(1e-12)
    return F.interpolate(scaled[:, None], size, mode="bilinear")


def masks_of(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Masks (B, 1, *size) of 0 and 1 of maps (B, h, w), found on 64 x 64 as published, see `mixture_mask`."""
    found = np.stack([mixture_mask(one[0].numpy()) for one in enlarged(maps, MASKED_AT)])
    return F.interpolate(torch.from_numpy(found).float()[:, None], size, mode="bilinear").round()

"""Phrase grounding by cross-attention, and generation of radiographs from text (Dombrowski et al., AAAI 2024).

    z_t = a_t z + s_t e, fresh e for each t;   map = mean over t and layers of softmax(Q K' / sqrt(d)) at the word

Every t is a forward pass of its own on the noisy latent of the radiograph; nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from torch.nn import functional as F

from synthzoo.diffusion.samplers import ddim
from synthzoo.errors import UserError
from synthzoo.systems.chest_distillation.attention import ALL, chosen_layers, recorded, word_maps
from synthzoo.systems.chest_distillation.masks import mixture_mask
from synthzoo.systems.chest_distillation.network import TextToImage
from synthzoo.systems.chest_distillation.words import ALL_SOUGHT

MASKED_AT = (64, 64)
TIMESTEPS = tuple(range(1, 782, 20))  # the last 40 of 50 steps from 981 down to 1, as published


class GroundingInferer(Inferer):
    """Heat maps of phrases over radiographs.

    Args:
        layers: "all", as published, or beginnings of places in the denoiser, see `attention.chosen_layers`.
        timesteps: noise levels whose maps are averaged; None takes the published ones.
        seed: of the noise, which is that of the timestep alone: a radiograph has one map in whatever batch it is.
    """

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
            sought: for each the parts of words whose maps are averaged; None takes those that name any finding. Where
                no word of a prompt has them, all words count.
        """
        schedule, shape = network.schedule, latents.shape[-2:]
        if max(self.timesteps) >= schedule.num_steps:
            raise UserError(f"timesteps: {max(self.timesteps)} is too high, the schedule has {schedule.num_steps}.")
        each = [ALL_SOUGHT] * len(prompts) if sought is None else sought
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

    @torch.inference_mode()
    def __call__(
        self, inputs: torch.Tensor, network: TextToImage, prompts: Sequence[str], *args: Any, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """Radiographs (B, 1, S, S) in [0, 1] and prompts -> "pred" heat map and "mask", (B, 1, S, S) in [0, 1]."""
        images = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        maps = self.attention(network.encode(images), prompts, network)
        size = tuple(images.shape[-2:])
        return {"pred": enlarged(maps, size), "mask": masks_of(maps, size)}


def enlarged(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps (B, h, w) scaled to [0, 1] each and enlarged bilinearly, (B, 1, *size); an even map becomes 0."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp_min(1e-12)
    return F.interpolate(scaled[:, None], size, mode="bilinear")


def masks_of(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Masks (B, 1, *size) of 0 and 1 of maps (B, h, w), found on 64 x 64 as published, see `mixture_mask`."""
    found = np.stack([mixture_mask(one[0].numpy()) for one in enlarged(maps, MASKED_AT)])
    return F.interpolate(torch.from_numpy(found).float()[:, None], size, mode="bilinear").round()


class TextToImageInferer(Inferer):
    """Radiographs from prompts by DDIM with classifier-free guidance against the empty prompt.

    Args:
        steps: of the sampler.
        guidance: weight; 1 switches it off.
        clip: largest absolute value of the clean latent in between; None clips nothing.
    """

    def __init__(self, steps: int = 25, guidance: float = 3.0, clip: float | None = 6.0) -> None:
        super().__init__()
        self.steps, self.guidance, self.clip = int(steps), float(guidance), clip

    @torch.inference_mode()
    def __call__(
        self, inputs: torch.Tensor, network: TextToImage, prompts: Sequence[str], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Noise (B, C, h, w) and prompts -> radiographs (B, 1, S, S) in [0, 1]."""
        noise = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        denoise = network.guided(network.context(prompts), self.guidance)
        latents = ddim(denoise, noise, network.schedule, self.steps, spacing="full", clip=self.clip)
        return network.decode(latents).float().clamp(0, 1)

"""Images from prompts by DDIM with classifier-free guidance (Ho, Salimans, arXiv 2207.12598)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers import Inferer

from synthzoo.diffusion.samplers import ddim
from synthzoo.networks.text_to_image import TextToImage


class TextToImageInferer(Inferer):
    """Images from prompts by DDIM with classifier-free guidance against the empty prompt.

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
        """Noise (B, C, h, w) and prompts -> images (B, 1 or 3, S, S) in [0, 1]."""
        noise = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        denoise = network.guided(network.context(prompts), self.guidance)
        latents = ddim(denoise, noise, network.schedule, self.steps, spacing="full", clip=self.clip)
        return network.decode(latents).float().clamp(0, 1)

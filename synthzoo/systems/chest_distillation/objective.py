"""Loss of text-to-image latent diffusion (Rombach et al., CVPR 2022).

loss = mean (unet(a_t z + s_t e, t, text(tokens)) - target)^2,   t uniform
"""

from __future__ import annotations

import torch

from synthzoo.systems.chest_distillation.network import TextToImage


class TextDiffusionObjective:
    """Mean squared error of the denoiser's prediction under a prompt; a text encoder that learns learns here, too."""

    name = "diffusion"

    def __call__(self, network: TextToImage, batch: dict) -> dict[str, torch.Tensor]:
        """`batch["latents"]` (B, C, h, w) normalised, `batch["tokens"]` int64 (B, L) -> "loss"."""
        z, schedule = batch["latents"], network.schedule
        noise = torch.randn_like(z)
        t = torch.randint(0, schedule.num_steps, (len(z),)).to(z.device)
        context = network.text(batch["tokens"])
        prediction = network.denoiser(schedule.add_noise(z, noise, t), t, context=context)
        return {"loss": (prediction - schedule.target(z, noise, t)).pow(2).mean()}

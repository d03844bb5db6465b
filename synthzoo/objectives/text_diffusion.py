"""Loss of text-to-image latent diffusion (Rombach et al., CVPR 2022).

loss = mean m (unet(a_t z + s_t e, t, text(tokens)) - target)^2,   t = levels T u^lean,   u uniform on 0 to 1

m is 1, or the mask of what a prompt speaks of, which leaves the mean over all elements (Dombrowski et al., ICCV 2023).
"""

from __future__ import annotations

import torch

from synthzoo.networks.text_to_image import TextToImage


class TextDiffusionObjective:
    """Mean squared error of the denoiser's prediction under a prompt; a text encoder that learns learns here, too.

    Args:
        levels: share of the schedule's noise levels, from the least noise on, that are trained; findings that are
            small or faint are decided at low ones.
        lean: 1 draws levels uniformly; above 1 draws low ones more often, where small findings are told apart.
    """

    name = "diffusion"

    def __init__(self, levels: float = 1.0, lean: float = 1.0) -> None:
        self.levels, self.lean = float(levels), float(lean)

    def draw(self, count: int, num_steps: int) -> torch.Tensor:
        """Levels of noise int64 (count,) of a schedule of `num_steps`."""
        most = round(self.levels * num_steps)
        return (most * torch.rand(count) ** self.lean).long().clamp(max=most - 1)

    def __call__(self, network: TextToImage, batch: dict) -> dict[str, torch.Tensor]:
        """`batch["latents"]` (B, C, h, w) normalised, `batch["tokens"]` int64 (B, L) -> "loss".

        With `batch["loss_mask"]` (B, 1, h, w) only the places where it is 1 count.
        """
        z, schedule = batch["latents"], network.schedule
        noise = torch.randn_like(z)
        t = self.draw(len(z), schedule.num_steps).to(z.device)
        context = network.text(batch["tokens"])
        prediction = network.denoiser(schedule.add_noise(z, noise, t), t, context=context)
        error = (prediction - schedule.target(z, noise, t)).pow(2)
        return {"loss": (error * batch["loss_mask"] if "loss_mask" in batch else error).mean()}

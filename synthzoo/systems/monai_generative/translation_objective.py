"""Losses of a translation: the velocity of noisy latents, alone or under the ControlNet, and a plain regression.

loss = mean (denoise(a_t z + s_t e, t, target, source) - v)^2,   t uniform            (Zhang et al., ICCV 2023, eq. 5)
"""

from __future__ import annotations

import torch

from synthzoo.objectives.autoencoder import beside
from synthzoo.objectives.latent_diffusion import LatentDiffusionObjective


class TranslationObjective(LatentDiffusionObjective):
    """Mean squared error of the denoiser's prediction for the latents of targets.

    Args:
        controlled: give the source to the ControlNet; False trains the latent diffusion model without any.
    """

    name = "diffusion"

    def __init__(self, controlled: bool = True) -> None:
        super().__init__(0.0, 0.0, key="latents")
        self.controlled = bool(controlled)

    def __call__(self, network: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        """`latents` (B, C, h, w), `source` (B, 1, H, W), `source_contrast`, `target_contrast` (B,) -> "loss"."""
        z, target = batch["latents"], batch["target_contrast"]
        noise = torch.randn_like(z)
        t = torch.randint(0, network.schedule.num_steps, (len(z),), device=z.device)
        noisy = network.schedule.add_noise(z, noise, t)
        condition = network.condition(batch["source"], batch["source_contrast"]) if self.controlled else None
        return self.judge(network, batch, network.denoise(noisy, t, target, condition), noisy, noise, t)


class RegressionObjective:
    """Mean absolute error of the plain U-Net's slices."""

    name = "regression"

    def __call__(self, network: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        """`image`, `source` (B, 1, H, W), `source_contrast`, `target_contrast` (B,) -> "loss"."""
        found = network.regress(batch["source"], batch["source_contrast"], batch["target_contrast"])
        return {"loss": (found - batch["image"]).abs().mean()}

    def images(self, network: torch.nn.Module, batch: dict, inferer: object = None) -> dict[str, torch.Tensor]:
        """The first target beside its regression, (1, H, 2 W)."""
        one = {name: batch[name][:1] for name in ("source", "source_contrast", "target_contrast")}
        found = network.regress(one["source"], one["source_contrast"], one["target_contrast"])
        return {"regression": beside(batch["image"][:1], found)}

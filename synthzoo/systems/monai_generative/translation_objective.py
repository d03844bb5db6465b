"""Losses of a translation: the velocity of noisy latents, alone or under the ControlNet, and a plain regression.

loss = mean w (denoise(a_t z + s_t e, t, target, source) - v)^2,   t uniform          (Zhang et al., ICCV 2023, eq. 5)

w is 1 + `lesion_weight` times the share of a place that is a lesion's, over its mean: lesions are a small part of a
slice, and a network that heals them all has a small error. Rows without "lesions" count alike everywhere.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from synthzoo.objectives.autoencoder import beside
from synthzoo.objectives.latent_diffusion import LatentDiffusionObjective


class TranslationObjective(LatentDiffusionObjective):
    """Mean squared error of the denoiser's prediction for the latents of targets.

    Args:
        controlled: give the source to the ControlNet; False trains the latent diffusion model without any.
        lesion_weight: see the module.
    """

    name = "diffusion"

    def __init__(self, controlled: bool = True, lesion_weight: float = 0.0) -> None:
        super().__init__(0.0, 0.0, key="latents")
        self.controlled, self.lesion_weight = bool(controlled), float(lesion_weight)

    def __call__(self, network: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        """`latents` (B, C, h, w), `source` (B, 1, H, W), `source_contrast`, `target_contrast` (B,) -> "loss"."""
        z, target = batch["latents"], batch["target_contrast"]
        noise = torch.randn_like(z)
        t = torch.randint(0, network.schedule.num_steps, (len(z),), device=z.device)
        noisy = network.schedule.add_noise(z, noise, t)
        condition = network.condition(batch["source"], batch["source_contrast"]) if self.controlled else None
        error = network.denoise(noisy, t, target, condition) - network.schedule.target(z, noise, t)
        return {"loss": (error.pow(2) * weights(batch, z, self.lesion_weight)).mean()}


class RegressionObjective:
    """Mean absolute error of the plain U-Net's slices.

    Args:
        lesion_weight: see the module.
    """

    name = "regression"

    def __init__(self, lesion_weight: float = 0.0) -> None:
        self.lesion_weight = float(lesion_weight)

    def __call__(self, network: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        """`image`, `source` (B, 1, H, W), `source_contrast`, `target_contrast` (B,) -> "loss"."""
        found = network.regress(batch["source"], batch["source_contrast"], batch["target_contrast"])
        error = (found - batch["image"]).abs()
        return {"loss": (error * weights(batch, error, self.lesion_weight)).mean()}

    def images(self, network: torch.nn.Module, batch: dict, inferer: object = None) -> dict[str, torch.Tensor]:
        """The first target beside its regression, (1, H, 2 W)."""
        one = {name: batch[name][:1] for name in ("source", "source_contrast", "target_contrast")}
        found = network.regress(one["source"], one["source_contrast"], one["target_contrast"])
        return {"regression": beside(batch["image"][:1], found)}


def weights(batch: dict, like: torch.Tensor, lesion_weight: float) -> torch.Tensor:
    """w of the module, (B, 1, h, w) on the places of `like` (B, C, h, w), of the mean 1; 1 without lesions."""
    if not lesion_weight or "lesions" not in batch:
        return torch.ones((), device=like.device)
    share = F.adaptive_avg_pool2d(batch["lesions"].to(like.device), like.shape[2:])
    found = 1 + lesion_weight * share
    return found / found.mean()

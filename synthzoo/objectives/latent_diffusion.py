"""Denoising loss in a latent space under conditions that are left out at random (Ho et al. 2020; Rombach et al. 2022).

loss = mean (denoise(a_t z + s_t e, t, c) - target)^2,   t uniform
"""

from __future__ import annotations

import torch

from synthzoo.networks.conditions import drop_conditions


class LatentDiffusionObjective:
    """Mean squared error of the denoiser's prediction, with conditions left out at random.

    Args:
        drop_each: probability with which each condition is left out by itself.
        drop_all: probability with which all conditions of a sample are left out.
        key: of the latents in the batch.
        drop_some: share of samples of which any number of conditions is left out, see `drop_conditions`.
    """

    def __init__(
        self, drop_each: float = 0.1, drop_all: float = 0.1, key: str = "latent", drop_some: float = 0.0
    ) -> None:
        self.drop_each, self.drop_all, self.drop_some, self.key = drop_each, drop_all, drop_some, key

    def __call__(self, network: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        """`batch[key]` (B, C, ...) normalised, `batch["conditions"]` (B, K) in user units -> "loss"."""
        z = batch[self.key]
        schedule = network.schedule
        noise = torch.randn_like(z)
        t = torch.randint(0, schedule.num_steps, (z.shape[0],), device=z.device)
        conditions = drop_conditions(batch["conditions"], self.drop_each, self.drop_all, some=self.drop_some)
        noisy = schedule.add_noise(z, noise, t)
        return self.judge(network, batch, network.denoise(noisy, t, conditions), noisy, noise, t)

    def judge(
        self,
        network: torch.nn.Module,
        batch: dict,
        prediction: torch.Tensor,
        noisy: torch.Tensor,
        noise: torch.Tensor,
        t: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """The losses of a prediction (B, C, ...) for noisy latents made of `noise` at t (B,)."""
        return {"loss": (prediction - network.schedule.target(batch[self.key], noise, t)).pow(2).mean()}

"""Losses of the upscaler: the mean detail by regression, and what it misses by diffusion.

    regression   mean (regressor(low, level, sizes) - d)^2
    diffusion    mean (denoiser(a_t r + s_t e, t, m, low, level, sizes) - v)^2,   t uniform

The scan's noise is drawn with each row, so that training is the noise-conditioned augmentation of the low-resolution
image (Ho et al., "Cascaded Diffusion Models", JMLR 2022).
"""

from __future__ import annotations

import torch

from synthzoo.systems.monai_generative.superresolution_network import Upscaler


def detail_of(network: Upscaler, batch: dict) -> torch.Tensor:
    """The detail of a batch in full precision: it is a small difference of two latents."""
    image, low = batch["image"].float(), batch["low"].float()
    with torch.no_grad(), torch.autocast(image.device.type, enabled=False):
        return network.detail(image, low)


class DetailRegression:
    """Mean squared error of the regressor; called with the network and a batch of `ScanPatches`."""

    name = "regression"

    def __call__(self, network: Upscaler, batch: dict) -> dict[str, torch.Tensor]:
        detail = detail_of(network, batch)
        found = network.regress(network.beside(batch["low"], batch["factors"]), network.classes(batch["noise"]))
        loss = (found.float() - detail).pow(2).mean()
        return {"loss": loss, "unexplained": loss.detach() / detail.pow(2).mean().clamp_min(1e-6)}


class RestDiffusion:
    """Mean squared error of the denoiser; called with the network and a batch of `ScanPatches`."""

    name = "diffusion"

    def __call__(self, network: Upscaler, batch: dict) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            beside, level = network.beside(batch["low"], batch["factors"]), network.classes(batch["noise"])
            mean = network.regress(beside, level).float()
            rest = (detail_of(network, batch) - mean) / network.rest_scale
        noise = torch.randn_like(rest)
        t = torch.randint(0, network.schedule.num_steps, (len(rest),), device=rest.device)
        noisy = network.schedule.add_noise(rest, noise, t)
        found = network.denoise(noisy, t, mean, beside, level).float()
        return {"loss": (found - network.schedule.target(rest, noise, t)).pow(2).mean()}

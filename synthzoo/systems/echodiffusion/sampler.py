"""Sampling of a cascade over continuous noise levels (EchoDiffusion, Reynaud et al., MICCAI 2023, arXiv 2303.12644).

Each stage is drawn by Heun's method from its own start noise; what the first gives is brought to full size, covered
with some noise and shown to the second, which gets the amount in the same unit as in training (log SNR).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from synthzoo.diffusion.guidance import guided
from synthzoo.systems.echodiffusion.cascade import grow_clip, low_resolution_noise, shrink_clip
from synthzoo.systems.echodiffusion.edm import heun, karras_sigmas, preconditioned, thresholded


def sample_stage(
    stage: Any,
    noise: torch.Tensor,
    conditions: torch.Tensor,
    given: Mapping[str, torch.Tensor],
    steps: int = 32,
    guidance: float = 1.0,
    churn: float = 0.0,
    threshold: float | None = None,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> torch.Tensor:
    """A clip of one stage, (B, C, T, H, W), about [-1, 1].

    Guidance of the raw network, as published, is guidance of D: D is affine in it with the same factors for both.

    Args:
        stage: has `denoise(x, level, conditions, **given)` and `sigma_data`, such as `ClipDenoiser`.
        noise: (B, C, T, H, W), standard normal.
        conditions: (B, K) in user units, NaN where left out.
        given: "image", "low" and "low_level", as the stage takes them.
        steps, churn, generator, progress: see `heun`.
        guidance: weight; 0 leaves the conditions out, 1 is the plain conditional denoiser.
        threshold: share of values that dynamic thresholding leaves alone, see `thresholded`; None leaves it out.
    """
    denoise = preconditioned(stage.denoise, float(stage.sigma_data))
    if guidance == 0:
        conditions, guidance = torch.full_like(conditions, float("nan")), 1.0
    denoise = guided(denoise, conditions, guidance, given)
    if threshold is not None:
        denoise = thresholded(denoise, threshold)
    return heun(denoise, noise, karras_sigmas(steps), churn, generator=generator, progress=progress)


def sample_cascade(
    network: Any,
    image: torch.Tensor,
    ef: torch.Tensor,
    noise: Mapping[str, torch.Tensor],
    steps: Sequence[int] = (32, 32),
    guidance: Sequence[float] = (2.0, 1.0),
    low_level: float = 0.2,
    churn: float = 0.0,
    threshold: float | None = None,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> torch.Tensor:
    """Clips (B, C, T, S, S) in [0, 1].

    Args:
        network: has the stages `base` and `upsampling`, and `frames`, `image_size`, `time`, `space`: an `EchoCascade`.
        image: conditioning frames (B, C, S, S) in [0, 1].
        ef: EF in percent (B,), NaN where left out.
        noise: "base", "low" and "upsampling", of the network's `noise_shapes`, standard normal.
        steps, guidance: of the first and the second stage.
        low_level: 0 to 1, noise on the small clip.
        churn, threshold, generator, progress: see `sample_stage`.
    """
    frame, conditions = 2 * image - 1, ef[:, None]
    settings: dict[str, Any] = {"churn": churn, "threshold": threshold, "generator": generator, "progress": progress}
    given = {"image": shrink_clip(frame[:, :, None], 1, network.space)[:, :, 0]}
    small = sample_stage(network.base, noise["base"], conditions, given, steps[0], guidance[0], **settings)
    grown = grow_clip(small.clamp(-1, 1), network.frames, (network.image_size, network.image_size), network.time)
    level = torch.full_like(ef, low_level)
    low, low_level = low_resolution_noise(grown, level, noise["low"])
    given = {"image": frame, "low": low, "low_level": low_level}
    clip = sample_stage(network.upsampling, noise["upsampling"], conditions, given, steps[1], guidance[1], **settings)
    return ((clip + 1) / 2).clamp(0, 1)


def preview(
    network: Any, image: torch.Tensor, ef: torch.Tensor, noise: Mapping[str, torch.Tensor], steps: int = 4
) -> torch.Tensor:
    """A few steps of both stages without guidance, for tools that want a plain forward pass."""
    return sample_cascade(network, image, ef, noise, (steps, steps), (1.0, 1.0))

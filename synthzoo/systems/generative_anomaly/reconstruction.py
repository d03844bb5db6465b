"""A slice as it would be if it were healthy, by diffusion: denoised from partial noise, or inverted and guided.

Reconstruction (Graham et al., CVPR workshops 2023): for several t, x_t = a_t x + s_t e is denoised to x^(t); what comes
back changed is anomalous.   map = mean_t |x - x^(t)|
Guidance (Sanchez et al. 2022): DDIM is run backwards without a label, x -> x_L, and forwards towards the label healthy,
e = e_none + w (e_healthy - e_none).   map = |x - x_cf|; with few steps |x_same - x_cf|, x_same decoded with w = 0: what
the inversion itself loses stands in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from synthzoo.diffusion.guidance import guided
from synthzoo.diffusion.samplers import ddim
from synthzoo.diffusion.schedule import NoiseSchedule, leading_timesteps
from synthzoo.errors import UserError

HEALTHY = 0.0


def labelled(denoise: Callable, label: float | None, weight: float = 1.0) -> Callable:
    """Denoiser `(x, t) -> prediction` under one label for all rows, None for no label.

    Args:
        denoise: see `DiffusionMap.denoise`.
        label: 0 healthy, 1 sick.
        weight: of guidance.
    """
    value = float("nan") if label is None else label

    def run(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return guided(denoise, torch.full((len(x), 1), value, device=x.device), weight)(x, t)

    return run


def times_below(schedule: NoiseSchedule, steps: int, level: int) -> list[int]:
    """Timesteps of a sampler with `steps` steps that do not lie above `level`, ascending from 0.

    Raises:
        UserError: none of them lies above 0.
    """
    times = [t for t in reversed(leading_timesteps(schedule.num_steps, steps)) if t <= level]
    if len(times) < 2:
        raise UserError(
            f"steps = {steps}: at a level of {level} the sampler takes no step; give at least "
            f"{-(-schedule.num_steps // max(level, 1))}, or a higher level."
        )
    return times


def reconstruct(
    denoise: Callable,
    x: torch.Tensor,
    schedule: NoiseSchedule,
    levels: Sequence[int],
    steps: int,
    generator: torch.Generator,
    clip: float | None = None,
) -> list[torch.Tensor]:
    """Slices (N, 1, D, H) denoised from each of some levels of noise.

    Args:
        denoise: (x, t) -> prediction.
        x: clean slices.
        schedule: of the denoiser.
        levels: timesteps.
        steps: of the sampler over the whole schedule.
        generator: of the noise, on the CPU.
        clip: see `ddim`.
    """
    found = []
    for level in levels:
        start = times_below(schedule, steps, level)[-1]
        noise = torch.randn(x.shape, generator=generator).to(x)
        noisy = schedule.add_noise(x, noise, torch.full((len(x),), start, device=x.device))
        found.append(ddim(denoise, noisy, schedule, steps, start=start, clip=clip))
    return found


def invert(denoise: Callable, x: torch.Tensor, schedule: NoiseSchedule, times: Sequence[int]) -> torch.Tensor:
    """DDIM backwards: clean slices (N, 1, D, H) -> those at the last of `times`, without any noise of their own.

    x_{i+1} = a_{i+1} x0(x_i) + s_{i+1} e(x_i), x0 and e by the denoiser at times[i]   (Song et al. 2021, eq. 13)

    Args:
        denoise: (x, t) -> prediction.
        x: taken to lie at times[0].
        schedule: of the denoiser.
        times: ascending.
    """
    for t, after in zip(times, times[1:]):
        clean, noise = schedule.split(x, denoise(x, torch.full((len(x),), t, device=x.device)), t)
        x = float(schedule.alpha[after]) * clean + float(schedule.sigma[after]) * noise
    return x


def counterfactual(
    denoise: Callable,
    x: torch.Tensor,
    schedule: NoiseSchedule,
    level: int,
    steps: int,
    weight: float,
    clip: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Slices (N, 1, D, H) as they would be if they were healthy, and as they come back without guidance.

    Args:
        denoise: see `DiffusionMap.denoise`.
        x: clean slices.
        schedule: of the denoiser.
        level: timestep up to which they are inverted.
        steps: of the sampler over the whole schedule.
        weight: w of guidance towards healthy.
        clip: see `ddim`; the inversion is never clipped.
    """
    times = times_below(schedule, steps, level)
    plain = labelled(denoise, None)
    deep = invert(plain, x, schedule, times)
    settings: dict[str, Any] = {"steps": steps, "start": times[-1], "clip": clip}
    healthy = ddim(labelled(denoise, HEALTHY, weight), deep, schedule, **settings)
    return healthy, ddim(plain, deep, schedule, **settings)

"""Samplers that turn noise into a sample with few calls of the denoiser.

A denoiser is any callable `(x (B, ...), t (B,)) -> prediction (B, ...)`. Each sampler walks down the timesteps and
ends at the clean estimate (a = 1, s = 0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch

from synthzoo.diffusion.rectified_flow import rectified_flow
from synthzoo.diffusion.schedule import NoiseSchedule, full_range_timesteps, leading_timesteps, log_snr_timesteps
from synthzoo.errors import UserError

SPACINGS = {
    "leading": lambda schedule, steps: leading_timesteps(schedule.num_steps, steps),
    "full": lambda schedule, steps: full_range_timesteps(schedule.num_steps, steps),
    "log_snr": log_snr_timesteps,
}


def _levels(schedule: NoiseSchedule, t: int | None) -> tuple[float, float]:
    return (1.0, 0.0) if t is None else (float(schedule.alpha[t]), float(schedule.sigma[t]))


def fresh_noise(x: torch.Tensor, generator: torch.Generator | Sequence[torch.Generator] | None) -> torch.Tensor:
    """Standard normal noise like x (B, ...), drawn on the CPU; from one generator, or from one per row."""
    if generator is None or isinstance(generator, torch.Generator):
        return torch.randn(x.shape, generator=generator).to(x)
    return torch.stack([torch.randn(x.shape[1:], generator=own) for own in generator]).to(x)


def _times(x: torch.Tensor, t: int) -> torch.Tensor:
    return torch.full((x.shape[0],), t, device=x.device, dtype=torch.long)


def ddim(
    denoise: Callable,
    noise: torch.Tensor,
    schedule: NoiseSchedule,
    steps: int = 50,
    eta: float = 0.0,
    spacing: str = "leading",
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
    clip: float | None = None,
    start: int | None = None,
    correct: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Denoising diffusion implicit models (Song et al., ICLR 2021, eq. 12).

    eta 1 is ancestral sampling (DDPM) with the posterior variance of the step that is taken, however long it is.

    Args:
        noise: (B, ...), standard normal.
        steps: calls of the denoiser.
        eta: share of fresh noise, 0 to 1.
        spacing: "leading" (980, ..., 0), "full" (999, ..., 0) or "log_snr" (even in log a / s).
        generator: source of the fresh noise on the CPU; one per row makes each sample independent of its batch.
        progress: wraps the loop, e.g. tqdm.
        clip: largest absolute value of the clean estimate; the noise estimate follows it. None clips nothing.
        start: timestep at which `noise` lies, an image under so much noise: the walk begins there and goes on over
            those of the spacing below it. None takes pure noise and walks all of them.
        correct: what becomes of each clean estimate (B, ...), such as one that agrees with what was measured; the
            noise estimate follows it. None leaves it.

    Returns:
        (B, ...), the sample.

    Raises:
        UserError: `start` or `steps` outside of the schedule.
    """
    x, times = noise, SPACINGS[spacing](schedule, steps)
    if start is not None:
        if not 0 <= int(start) < schedule.num_steps:
            raise UserError(f"start = {start}: the sampler begins at a timestep from 0 to {schedule.num_steps - 1}.")
        times = [int(start), *(t for t in times if t < int(start))]
    for t, after in progress(list(zip(times, [*times[1:], None]))):
        x0, e = schedule.split(x, denoise(x, _times(x, t)), t)
        (a, s), (a_next, s_next) = _levels(schedule, t), _levels(schedule, after)
        if clip is not None:
            x0 = x0.clamp(-clip, clip)
        if correct is not None:
            x0 = correct(x0)
        if clip is not None or correct is not None:
            e = (x - a * x0) / s
        fresh = eta * s_next / s * math.sqrt(max(1 - (a / a_next) ** 2, 0.0))
        x = a_next * x0 + math.sqrt(max(s_next**2 - fresh**2, 0.0)) * e
        if fresh > 0:
            x = x + fresh * fresh_noise(x, generator)
    return x


def ddim_inversion(
    denoise: Callable,
    x0: torch.Tensor,
    schedule: NoiseSchedule,
    steps: int = 50,
    spacing: str = "log_snr",
    refine: int = 1,
) -> torch.Tensor:
    """The noise from which `ddim` with eta 0 comes back to x0: its ordinary differential equation upwards (eq. 14).

    With v = a e - s x_0 a step down is x' = cos x - sin v(x), of the angle between the levels; the x that it comes from
    is sought by fixed-point iteration (as in Pan et al., ICCV 2023), since few steps are long.

    Args:
        x0: (B, ...), clean; it stands for x at the lowest level.
        steps, spacing: as of the way back, whose timesteps are walked the other way round.
        refine: iterations of each step; 0 takes v of the level below.

    Returns:
        (B, ...), x at the highest timestep.

    Raises:
        UserError: `steps` outside of the schedule.
    """

    def velocity(x: torch.Tensor, t: int) -> torch.Tensor:
        clean, e = schedule.split(x, denoise(x, _times(x, t)), t)
        a, s = _levels(schedule, t)
        return a * e - s * clean

    times = SPACINGS[spacing](schedule, steps)[::-1]
    x = x0
    for t, after in zip(times, times[1:]):
        (a, s), (a_next, s_next) = _levels(schedule, t), _levels(schedule, after)
        cosine, sine = a * a_next + s * s_next, a * s_next - s * a_next
        below, x = x, cosine * x + sine * velocity(x, t)
        for _ in range(refine):
            x = (below + sine * velocity(x, after)) / cosine
    return x


def dpm_solver(
    denoise: Callable,
    noise: torch.Tensor,
    schedule: NoiseSchedule,
    steps: int = 20,
    spacing: str = "log_snr",
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> torch.Tensor:
    """DPM-Solver++(2M), second order in the log signal-to-noise ratio (Lu et al., arXiv 2211.01095, algorithm 2).

    Args: as `ddim`; the sampler is deterministic and reads no generator.
    """
    x, times = noise, SPACINGS[spacing](schedule, steps)
    previous = previous_width = None
    for t, after in progress(list(zip(times, [*times[1:], None]))):
        x0, _ = schedule.split(x, denoise(x, _times(x, t)), t)
        if after is None:
            return x0
        (a, s), (a_next, s_next) = _levels(schedule, t), _levels(schedule, after)
        width = math.log(a_next / s_next) - math.log(a / s)
        estimate = x0
        if previous is not None:
            ratio = previous_width / width
            estimate = (1 + 1 / (2 * ratio)) * x0 - 1 / (2 * ratio) * previous
        x = s_next / s * x - a_next * math.expm1(-width) * estimate
        previous, previous_width = x0, width
    return x


SAMPLERS: dict[str, Callable] = {"ddim": ddim, "dpm_solver": dpm_solver}
FLOWS: dict[str, Callable] = {"rflow": rectified_flow}  # of another kind of schedule


def find_sampler(name: str) -> Callable:
    """The sampler of this name.

    Raises:
        UserError: no such sampler.
    """
    known = {**SAMPLERS, **FLOWS}
    if name not in known:
        raise UserError(f"sampler = {name!r}: the known ones are {', '.join(known)}.")
    return known[name]


def preview(denoise: Callable, noise: torch.Tensor, schedule: NoiseSchedule, steps: int = 4) -> torch.Tensor:
    """A few DDIM steps, for tools that want a plain forward pass."""
    return ddim(denoise, noise, schedule, steps, spacing="full")

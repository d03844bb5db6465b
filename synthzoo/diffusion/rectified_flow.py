"""Rectified flow as a schedule and a sampler, on MONAI's `RFlowScheduler`.

x_t = (1 - u) x_0 + u e,  u = t / T;  the network predicts the velocity x_0 - e   (Liu et al., ICLR 2023, 2209.03003)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from monai.networks.schedulers import RFlowScheduler

from synthzoo.errors import UserError

PREVIEW_STEPS = 4


class RectifiedFlow:
    """The straight path between noise and image, where a diffusion bundle has its `NoiseSchedule`.

    Args:
        settings: of `monai.networks.schedulers.RFlowScheduler`, such as num_train_timesteps, use_discrete_timesteps and
            use_timestep_transform.
    """

    prediction = "velocity"

    def __init__(self, **settings: Any) -> None:
        self.scheduler = RFlowScheduler(**settings)
        self.num_steps = int(self.scheduler.num_train_timesteps)

    def _share(self, t: int | torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """u of timesteps t, an int or (B,), shaped to multiply `like` (B, ...)."""
        return (torch.as_tensor(t).to(like) / self.num_steps).reshape(-1, *(1 for _ in like.shape[1:]))

    def add_noise(self, x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """x_t from x_0, noise (B, ...) and t (B,)."""
        return self.scheduler.add_noise(x0, noise, t)

    def target(self, x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Training target of the denoiser, the velocity (B, ...); t (B,) does not matter."""
        return x0 - noise

    def split(
        self, xt: torch.Tensor, prediction: torch.Tensor, t: int | torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Estimates of x_0 and of the noise from x_t and the velocity at t, an int or (B,)."""
        u = self._share(t, xt)
        return xt + u * prediction, xt - (1 - u) * prediction

    @property
    def alpha(self) -> torch.Tensor:
        """What samplers of diffusion read; a rectified flow has none.

        Raises:
            UserError: always.
        """
        raise UserError("this network is a rectified flow, which is sampled by sampler = rflow alone.")

    sigma = alpha


def rectified_flow(
    denoise: Callable,
    noise: torch.Tensor,
    schedule: RectifiedFlow,
    steps: int = 30,
    generator: Any = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> torch.Tensor:
    """Sample by the steps of MONAI's `RFlowScheduler`, from t = T down to 0; deterministic.

    Args:
        denoise: `(x (B, ...), t (B,)) -> velocity (B, ...)`.
        noise: (B, C, ...), standard normal.
        schedule: the network's.
        steps: calls of the denoiser, 1 to T.
        generator: not read.
        progress: wraps the loop, e.g. tqdm.

    Returns:
        (B, C, ...), the sample.

    Raises:
        UserError: the network is no rectified flow, or steps are outside of 1 to T.
    """
    if not isinstance(schedule, RectifiedFlow):
        raise UserError("sampler = rflow samples a rectified flow, which this network is not: take ddim or dpm_solver.")
    if not 1 <= int(steps) <= schedule.num_steps:
        raise UserError(f"steps = {steps}: the sampler takes 1 to {schedule.num_steps} steps.")
    scheduler = copy.copy(schedule.scheduler)  # of this call alone: it keeps its timesteps
    scheduler.set_timesteps(int(steps), input_img_size_numel=int(torch.tensor(noise.shape[2:]).prod()))
    times, x = scheduler.timesteps, noise  # of half precision where they are fractions, as MONAI's own loop has them
    for t, after in progress(list(zip(times, torch.cat((times[1:], torch.zeros(1, dtype=times.dtype)))))):
        now = torch.full((len(x),), t.item(), device=x.device)
        x, _ = scheduler.step(denoise(x, now), t, x, after)
    return x


def preview(
    denoise: Callable, noise: torch.Tensor, schedule: RectifiedFlow, steps: int = PREVIEW_STEPS
) -> torch.Tensor:
    """A few steps, for tools that want a plain forward pass."""
    return rectified_flow(denoise, noise, schedule, steps)

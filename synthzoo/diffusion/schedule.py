"""Noise schedules of discrete diffusion, and conversions between noise, image and velocity predictions.

x_t = a_t x_0 + s_t e,   a_t = sqrt(prod_{u <= t} (1 - beta_u)),   s_t^2 = 1 - a_t^2
epsilon: the network predicts e;   v: it predicts a_t e - s_t x_0   (Salimans, Ho, ICLR 2022)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from synthzoo.errors import UserError

KINDS = ("linear", "scaled_linear", "cosine")
PREDICTIONS = ("epsilon", "v")
RELEASED = {"epsilon": "epsilon", "v_prediction": "v"}  # what diffusers calls them
RELEASED_DEFAULTS = {"num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02}


class NoiseSchedule:
    """T noise levels, from t = 0 (least noise) to t = T - 1.

    Args:
        num_steps: T.
        kind: "linear" in beta, "scaled_linear" in its square root (Rombach et al. 2022), or "cosine" (Nichol,
            Dhariwal 2021; the betas are not read).
        beta_start, beta_end: first and last beta.
        prediction: what the denoiser predicts, "epsilon" or "v".

    Raises:
        UserError: unknown kind or prediction.
    """

    def __init__(
        self,
        num_steps: int = 1000,
        kind: str = "scaled_linear",
        beta_start: float = 0.0015,
        beta_end: float = 0.0205,
        prediction: str = "epsilon",
    ) -> None:
        if kind not in KINDS:
            raise UserError(f"schedule kind = {kind!r}: the known ones are {', '.join(KINDS)}.")
        if prediction not in PREDICTIONS:
            raise UserError(f"schedule prediction = {prediction!r}: the known ones are {', '.join(PREDICTIONS)}.")
        self.num_steps, self.prediction = int(num_steps), prediction
        if kind == "linear":
            betas = torch.linspace(beta_start, beta_end, self.num_steps, dtype=torch.float64)
        elif kind == "scaled_linear":
            betas = torch.linspace(beta_start**0.5, beta_end**0.5, self.num_steps, dtype=torch.float64) ** 2
        else:
            u = torch.arange(self.num_steps + 1, dtype=torch.float64) / self.num_steps
            level = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
            betas = (1 - level[1:] / level[:-1]).clamp(max=0.999)
        self.alpha = torch.cumprod(1 - betas, 0).sqrt()  # a_t, float64 (T,)
        self.sigma = (1 - self.alpha**2).sqrt()  # s_t, float64 (T,)

    @classmethod
    def released(cls, config: Mapping[str, Any], where: str | Path) -> NoiseSchedule:
        """The schedule in a scheduler_config.json of diffusers.

        Args:
            config: what the file says.
            where: the file, for the sentence.

        Raises:
            UserError: a schedule of another kind.
        """
        prediction = RELEASED.get(config.get("prediction_type", "epsilon"))
        kind = config.get("beta_schedule", "linear")
        if prediction is None or kind not in ("linear", "scaled_linear"):
            raise UserError(
                f"{where}: beta_schedule {kind!r} and prediction_type {config.get('prediction_type')!r} must be linear "
                "or scaled_linear, and epsilon or v_prediction."
            )
        if config.get("trained_betas") is not None or config.get("rescale_betas_zero_snr"):
            raise UserError(f"{where}: has betas of its own, which are not read; give Stable Diffusion 1 or 2.")
        try:
            steps, first, last = (config.get(*part) for part in RELEASED_DEFAULTS.items())
            return cls(int(steps), kind, float(first), float(last), prediction)
        except (TypeError, ValueError):
            raise UserError(f"{where}: num_train_timesteps, beta_start and beta_end must be numbers.") from None

    def expect_released(self, config: Mapping[str, Any], where: str | Path) -> None:
        """Raise one sentence if a scheduler_config.json of diffusers is of another noise than this schedule's."""
        given = type(self).released(config, where)
        if given.prediction != self.prediction:
            raise UserError(
                f"{where}: this model predicts {given.prediction}, and the network {self.prediction}; set prediction "
                f"of its schedule to {given.prediction}."
            )
        if given.num_steps != self.num_steps or not torch.allclose(given.alpha, self.alpha, atol=1e-6):
            raise UserError(f"{where}: betas are others than those of the network; set those of its schedule alike.")

    def at(self, t: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """a_t and s_t of timesteps t (B,), shaped to multiply `like` (B, ...)."""
        shape = (-1,) + (1,) * (like.ndim - 1)
        index = t.long().cpu()
        return tuple(v[index].to(like.device, like.dtype).reshape(shape) for v in (self.alpha, self.sigma))

    def add_noise(self, x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """x_t from x_0, noise (B, ...) and t (B,)."""
        a, s = self.at(t, x0)
        return a * x0 + s * noise

    def target(self, x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Training target of the denoiser, (B, ...), by the schedule's kind of prediction."""
        if self.prediction == "epsilon":
            return noise
        a, s = self.at(t, x0)
        return a * noise - s * x0

    def split(
        self, xt: torch.Tensor, prediction: torch.Tensor, t: int | torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Estimates of x_0 and of the noise from x_t and the denoiser's output at t, an int or (B,)."""
        a: float | torch.Tensor
        s: float | torch.Tensor
        a, s = self.at(t, xt) if isinstance(t, torch.Tensor) else (float(self.alpha[t]), float(self.sigma[t]))
        if self.prediction == "epsilon":
            return (xt - s * prediction) / a, prediction
        return a * xt - s * prediction, s * xt + a * prediction


def leading_timesteps(num_steps: int, steps: int) -> list[int]:
    """`steps` timesteps with leading spacing, descending to 0.

    >>> leading_timesteps(1000, 5)
    [800, 600, 400, 200, 0]

    Raises:
        UserError: steps below 1 or above num_steps.
    """
    if not 1 <= int(steps) <= num_steps:
        raise UserError(f"steps = {steps}: the sampler takes 1 to {num_steps} steps.")
    stride = num_steps // int(steps)
    return [i * stride for i in reversed(range(int(steps)))]


def full_range_timesteps(num_steps: int, steps: int) -> list[int]:
    """`steps` timesteps spread evenly from T - 1 down to 0, so that sampling starts at pure noise.

    Raises:
        UserError: steps below 1 or above num_steps.
    """
    if not 1 <= int(steps) <= num_steps:
        raise UserError(f"steps = {steps}: the sampler takes 1 to {num_steps} steps.")
    if int(steps) == 1:
        return [num_steps - 1]
    return [round(i * (num_steps - 1) / (int(steps) - 1)) for i in reversed(range(int(steps)))]


def log_snr_timesteps(schedule: NoiseSchedule, steps: int) -> list[int]:
    """`steps` timesteps from T - 1 to 0, even in the log signal-to-noise ratio log(a / s), where solvers are smooth.

    Where two would fall on one timestep, the lower one moves down.

    Raises:
        UserError: steps below 1 or above T.
    """
    if not 1 <= int(steps) <= schedule.num_steps:
        raise UserError(f"steps = {steps}: the sampler takes 1 to {schedule.num_steps} steps.")
    ratio = torch.log(schedule.alpha / schedule.sigma)
    times: list[int] = []
    for number, wanted in enumerate(torch.linspace(float(ratio[-1]), float(ratio[0]), int(steps))):
        t = int((ratio - wanted).abs().argmin())
        left = int(steps) - number - 1
        times.append(max(min(t, times[-1] - 1) if times else t, left))
    return times

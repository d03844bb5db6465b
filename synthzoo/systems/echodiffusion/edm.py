"""Diffusion over continuous noise levels: preconditioning, loss, schedule, Heun sampler (Karras et al., NeurIPS 2022).

    x = y + sigma n,    y the data, of standard deviation d
    D(x) = c_skip x + c_out F(c_in x, c_noise)
    c_skip = d^2 / (sigma^2 + d^2)    c_out = sigma d / sqrt(sigma^2 + d^2)
    c_in = 1 / sqrt(sigma^2 + d^2)    c_noise = ln(sigma) / 4

A denoiser here is a callable `(x (B, ...), sigma (B,)) -> estimate of y (B, ...)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from synthzoo.diffusion.samplers import fresh_noise
from synthzoo.errors import UserError

LARGEST_CHURN = math.sqrt(2) - 1


def _shaped(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return values.to(like).reshape(-1, *(1,) * (like.ndim - 1))


def preconditioned(network: Callable, sigma_data: float = 0.5) -> Callable:
    """The denoiser D `(x, sigma, ...) -> y` of a raw network F `(c_in x, c_noise, ...) -> (B, ...)`.

    What follows x and sigma (conditions, a conditioning image) is handed on unchanged.

    Args:
        network: F; it sees inputs and is requested outputs of unit variance at each noise level.
        sigma_data: d, the standard deviation of the data.
    """

    def denoise(x: torch.Tensor, sigma: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        s = _shaped(sigma, x)
        total = s**2 + sigma_data**2
        raw = network(x / total.sqrt(), sigma.to(x).log() / 4, *args, **kwargs)
        return sigma_data**2 / total * x + s * sigma_data / total.sqrt() * raw

    return denoise


def loss_weight(sigma: torch.Tensor, sigma_data: float = 0.5) -> torch.Tensor:
    """1 / c_out^2 at each noise level (B,), which gives the raw network an error of equal size at all of them."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def draw_sigmas(
    count: int,
    mean: float = -1.2,
    deviation: float = 1.2,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Noise levels (count,) on the CPU for training: ln sigma ~ N(mean, deviation^2)."""
    return (torch.randn(count, generator=generator) * deviation + mean).exp()


def karras_sigmas(steps: int, lowest: float = 0.002, highest: float = 80.0, rho: float = 7.0) -> list[float]:
    """`steps` noise levels from highest to lowest, even in sigma^(1 / rho), and a last 0.

    Raises:
        UserError: steps below 1, or levels that are not 0 < lowest < highest.
    """
    if int(steps) < 1:
        raise UserError(f"steps = {steps}: the sampler takes at least 1 step.")
    if not 0 < lowest < highest:
        raise UserError(f"sigma_min = {lowest}, sigma_max = {highest}: give 0 < sigma_min < sigma_max.")
    top, bottom = highest ** (1 / rho), lowest ** (1 / rho)
    last = max(int(steps) - 1, 1)
    return [(top + i / last * (bottom - top)) ** rho for i in range(int(steps))] + [0.0]


def heun(
    denoise: Callable,
    noise: torch.Tensor,
    sigmas: Sequence[float],
    churn: float = 0.0,
    churn_range: tuple[float, float] = (0.05, 50.0),
    churn_noise: float = 1.003,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> torch.Tensor:
    """Second-order sampler of Karras et al., algorithm 2; 2 N - 1 calls of the denoiser for N levels.

    Args:
        denoise: D.
        noise: (B, ...), standard normal; sampling starts at sigmas[0] times it.
        sigmas: falling noise levels that end in 0, such as `karras_sigmas`.
        churn: how much fresh noise all steps together add and remove again; 0 is deterministic. A step raises its
            level by at most the factor sqrt(2), so all values above .414 N are the same.
        churn_range: noise levels between which fresh noise is added.
        churn_noise: standard deviation of the fresh noise.
        generator: source of the fresh noise on the CPU; one per row makes each sample independent of its batch.
        progress: wraps the loop, e.g. tqdm.

    Returns:
        (B, ...), the sample.
    """
    share = min(churn / (len(sigmas) - 1), LARGEST_CHURN)
    x = noise * sigmas[0]
    for sigma, after in progress(list(zip(sigmas[:-1], sigmas[1:]))):
        if share > 0 and churn_range[0] <= sigma <= churn_range[1]:
            raised = sigma * (1 + share)
            x = x + math.sqrt(raised**2 - sigma**2) * churn_noise * fresh_noise(x, generator)
            sigma = raised
        slope = (x - denoise(x, _level(x, sigma))) / sigma
        euler = x + (after - sigma) * slope
        if after > 0:
            slope = (slope + (euler - denoise(euler, _level(x, after))) / after) / 2
        x = x + (after - sigma) * slope
    return x


def _level(x: torch.Tensor, sigma: float) -> torch.Tensor:
    return torch.full((x.shape[0],), sigma, device=x.device, dtype=x.dtype)


def thresholded(denoise: Callable, share: float = 0.95) -> Callable:
    """The denoiser with dynamic thresholding (Saharia et al. 2022), which keeps strong guidance from saturating.

    Per sample, s is the `share` quantile of |D|, at least 1; D is clipped to [-s, s] and divided by s.

    Args:
        denoise: D of data in [-1, 1].
        share: of the values that are not clipped, 0 to 1.
    """

    def clipped(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        estimate = denoise(x, sigma)
        # Row by row: torch.quantile takes 16 million values, which a batch of clips exceeds.
        limits = torch.stack([row.abs().flatten().float().quantile(share) for row in estimate])
        limit = _shaped(limits.clamp(min=1.0), estimate)
        return estimate.clamp(-limit, limit) / limit

    return clipped

"""Clips whose denoisers are known exactly: each pixel is a Gaussian process of order one over the frames, AR(1).

x_f = m + u_f,   cov(u_f, u_g) = v r^|f - g|.   From z = a x + s n the best estimate of the clip is
E[x | z] = m + a S (a^2 S + s^2)^-1 (z - a m), S the T x T covariance; with S = v it sees one frame at a time.
"""

from __future__ import annotations

import torch


def covariance(frames: int, variance: float = 1.0, correlation: float = 0.95) -> torch.Tensor:
    """v r^|f - g|, float64 (T, T)."""
    f = torch.arange(frames, dtype=torch.float64)
    return variance * correlation ** (f[:, None] - f[None]).abs()


def estimate(z: torch.Tensor, cov: torch.Tensor, a: float, s: float, mean: float = 0.0) -> torch.Tensor:
    """E[x | z = a x + s n] of clips z (B, C, T, H, W), over axis 2."""
    gain = a * torch.linalg.solve(a**2 * cov + s**2 * torch.eye(len(cov), dtype=cov.dtype), cov).T
    return mean + torch.einsum("fg,bcg...->bcf...", gain.to(z), z - a * mean)


def edm_denoiser(cov: torch.Tensor, mean: float = 0.0):
    """(x, sigma (B,)) -> estimate; a T x T covariance makes the video denoiser, a 1 x 1 one the image denoiser."""
    if len(cov) == 1:
        return lambda x, sigma: mean + cov.item() / (cov.item() + float(sigma[0]) ** 2) * (x - mean)
    return lambda x, sigma: estimate(x, cov, 1.0, float(sigma[0]), mean)


def scheduled_video(cov: torch.Tensor, schedule, mean: float = 0.0):
    """(x (B, C, T, H, W), t (B,)) -> the schedule's kind of prediction, from the joint distribution of the frames."""

    def denoise(x, t):
        a, s = float(schedule.alpha[int(t[0])]), float(schedule.sigma[int(t[0])])
        clean = estimate(x, cov, a, s, mean)
        return schedule.target(clean, (x - a * clean) / s, t)

    return denoise


def scheduled_image(variance: float, schedule, mean: float = 0.0):
    """(x (N, C, H, W), t (N,)) -> prediction, from the prior of one frame."""

    def denoise(x, t):
        a, s = schedule.at(t, x)
        clean = mean + a * variance / (a**2 * variance + s**2) * (x - a * mean)
        return schedule.target(clean, (x - a * clean) / s, t)

    return denoise


def statistics(clips: torch.Tensor) -> tuple[float, float, float]:
    """Mean, variance and correlation of neighbouring frames of clips (B, C, T, H, W)."""
    mean = clips.mean()
    u = clips - mean
    variance = u.pow(2).mean()
    return float(mean), float(variance), float((u[:, :, 1:] * u[:, :, :-1]).mean() / variance)

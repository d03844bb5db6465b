"""The object removed from an image, and the mask that this refines (Dombrowski et al., ICCV 2023).

    z <- keep (a_t z0 + s_t e) + (1 - keep) z   before each step of DDIM under the background's prompt
    d = mean over colours |decode(z0) - decode(z)|,   refined = weak and d above its mixture's threshold, closed, filled

d is taken against the image as the autoencoder gives it back, not against the image itself, which would add the
autoencoder's error everywhere; that is the paper's way and can be chosen.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional as F

from synthzoo.diffusion.samplers import fresh_noise
from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError
from synthzoo.systems.foreground_background.windows import Window, mixture_masks

AGAINST = ("reconstruction", "image")


def offset_timesteps(num_steps: int, steps: int) -> list[int]:
    """`steps` timesteps 1 + k T / steps, descending, as Stable Diffusion's samplers have them.

    >>> offset_timesteps(1000, 4)
    [751, 501, 251, 1]

    Raises:
        UserError: steps below 1 or above half of the schedule.
    """
    if not 1 <= int(steps) <= num_steps // 2:
        raise UserError(f"removal_steps = {steps}: the removal takes 1 to {num_steps // 2} steps.")
    return [1 + k * (num_steps // int(steps)) for k in reversed(range(int(steps)))]


def inpaint(
    denoise: Callable,
    latents: torch.Tensor,
    paint: torch.Tensor,
    schedule: NoiseSchedule,
    steps: int = 50,
    seed: int = 0,
    resample: int = 1,
    clip: float | None = None,
) -> torch.Tensor:
    """Latents (B, C, h, w) whose painted places are sampled and whose others stay as they are, by DDIM.

    Args:
        denoise: (x (B, ...), t (B,)) -> prediction.
        latents: normalised, of the images.
        paint: (B, 1, h, w), 1 where they are painted.
        schedule: of the denoiser.
        steps: of the sampler.
        seed: of the noise; a row's noise is that of the seed alone, in whatever batch it is.
        resample: passes through each step, with fresh noise between them (Lugmayr et al., CVPR 2022); 1 is the paper.
        clip: largest absolute value of the clean estimate; None clips nothing.

    Raises:
        UserError: steps out of range.
    """
    own = torch.Generator().manual_seed(int(seed) % 2**63)

    def noise() -> torch.Tensor:
        return fresh_noise(latents[:1], own).expand_as(latents)

    times = offset_timesteps(schedule.num_steps, steps)
    x = noise()
    for t, after in zip(times, [*times[1:], None]):
        for turn in range(int(resample)):
            at = torch.full((len(latents),), t, device=latents.device)
            x = torch.where(paint > 0, x, schedule.add_noise(latents, noise(), at))
            clean, error = schedule.split(x, denoise(x, at), t)
            if clip is not None:
                clean = clean.clamp(-clip, clip)
                error = (x - float(schedule.alpha[t]) * clean) / float(schedule.sigma[t])
            lower = (1.0, 0.0) if after is None else (float(schedule.alpha[after]), float(schedule.sigma[after]))
            x = lower[0] * clean + lower[1] * error
            if turn + 1 < int(resample):  # back up to t, so that painted and kept places come to agree
                ratio = float(schedule.alpha[t]) / lower[0]
                x = ratio * x + max(float(schedule.sigma[t]) ** 2 - (ratio * lower[1]) ** 2, 0.0) ** 0.5 * noise()
    return torch.where(paint > 0, x, latents)


def to_latents(masks: torch.Tensor, shape: tuple[int, int], dilate: int = 0) -> torch.Tensor:
    """Masks (B, 1, S, S) on the grid of the latents, 0 and 1: where at least half is masked, or the most of all.

    Args:
        dilate: latents by which they grow.
    """
    shares = F.interpolate(masks.float(), shape, mode="area")
    # Of a mask so small that it fills no latent by half, the fullest one stays.
    found = (shares >= shares.amax((2, 3), keepdim=True).clamp(1e-6, 0.5)).float()
    return F.max_pool2d(found, 2 * dilate + 1, 1, dilate) if dilate else found


def near(paint: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Pixels (B, 1, *size) of painted latents (B, 1, h, w) and of a latent around each, 0 and 1."""
    return F.interpolate(F.max_pool2d(paint, 3, 1, 1), size, mode="nearest")


def refined_masks(
    difference: torch.Tensor, weak: torch.Tensor, windows: list[Window], clean: bool = True
) -> torch.Tensor:
    """Weak masks (B, 1, S, S) cut to where the images changed.

    Args:
        difference: (B, 1, S, S), how much each pixel changed.
        weak: 0 and 1.
        windows: that count.
        clean: close gaps by one pixel and fill holes.
    """
    changed, _ = mixture_masks(difference, windows)
    refined = (changed * weak) > 0
    if clean:
        closed = [
            ndi.binary_fill_holes(ndi.binary_closing(np.pad(one, 1))[1:-1, 1:-1]) for one in refined[:, 0].numpy()
        ]
        refined = torch.from_numpy(np.stack(closed))[:, None]
    return refined.float()

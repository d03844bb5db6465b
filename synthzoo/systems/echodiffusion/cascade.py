"""Hand-over between the stages of a cascade: small clips, brought to the next size and covered with some noise.

Ho et al., Cascaded diffusion models, JMLR 2022; for clips Ho et al., Imagen Video, 2022. Frames are left out and put
back without a shift in time: frame k of a clip is frame k s of the longer one.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from synthzoo.errors import UserError


def shrink_clip(clip: torch.Tensor, time: int = 1, space: int = 1) -> torch.Tensor:
    """Every `time`-th frame of a clip (B, C, T, H, W), each the average of squares of `space` pixels.

    Raises:
        UserError: the height or the width is no multiple of `space`.
    """
    if clip.shape[-1] % space or clip.shape[-2] % space:
        raise UserError(f"clip of {clip.shape[-2]} x {clip.shape[-1]} pixels: this stage needs multiples of {space}.")
    return F.avg_pool3d(clip[:, :, ::time], (1, space, space))


def grow_clip(clip: torch.Tensor, frames: int, size: tuple[int, int], time: int = 1) -> torch.Tensor:
    """The opposite of `shrink_clip`: a clip (B, C, t, h, w), linear between its frames and pixels.

    Args:
        frames: T of the result; what lies behind the last frame of the clip repeats it.
        size: (H, W) of the result.
        time: frames of the result from one frame of the clip to the next.

    Returns:
        (B, C, T, H, W).
    """
    place = torch.arange(frames, device=clip.device) / time
    first = place.floor().long().clamp(max=clip.shape[2] - 1)
    share = (place - first).clamp(0, 1).to(clip)[:, None, None]
    longer = clip[:, :, first].lerp(clip[:, :, (first + 1).clamp(max=clip.shape[2] - 1)], share)
    flat = F.interpolate(longer.flatten(1, 2), size=tuple(size), mode="bilinear", align_corners=False)
    return flat.unflatten(1, (clip.shape[1], frames))


def low_resolution_noise(
    low: torch.Tensor, level: torch.Tensor, noise: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise on the input of a later stage, so that it forgives the faults of the one before.

    log SNR = -ln(exp(1e-4 + 10 u^2) - 1), the continuous form of a linear schedule.

    Args:
        low: (B, ...) in [-1, 1], the small clip brought to the size of the stage.
        level: u (B,), 0 (nearly none) to 1 (nearly all noise); in training uniform, in sampling 0.2.
        noise: (B, ...), standard normal.

    Returns:
        noisy (B, ...) of kept variance, and log SNR (B,), the network's input in training and sampling.
    """
    log_snr = -torch.log(torch.expm1(1e-4 + 10 * level.double() ** 2))
    alpha, sigma = (
        torch.sigmoid(part).sqrt().to(low).reshape(-1, *(1,) * (low.ndim - 1)) for part in (log_snr, -log_snr)
    )
    return alpha * low + sigma * noise, log_snr.to(low)

"""Editing and interpolation of brain scans through the noise that the diffusion prior would have made them from.

    x_T = inversion(encode(scan) | c),   edited = scan + w (decode(ddim(x_T | c')) - decode(ddim(x_T | c)))

DDIM without fresh noise is an ordinary differential equation, which runs both ways (Song et al., ICLR 2021, eq. 14):
what of a subject no condition says stays in x_T. Both ways back lose alike, so that their difference is the edit, and
what neither the autoencoder nor the inversion keeps stays the scan's. w keeps the edit where the two differ clearly, as
in DiffEdit (Couairon et al., ICLR 2023, 2210.11427). Between two subjects x_T goes along the sphere (Song et al.,
appendix D.5).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from synthzoo.diffusion.guidance import guided
from synthzoo.diffusion.samplers import ddim, ddim_inversion
from synthzoo.systems.brain_ldm.restoration import SPACING, unconditional

DEEP_MM = 12.0  # below the surface of the brain
SMOOTH_MM = 4.0  # to either side, of the mean by which a change is judged
LEVELS = (0.003, 0.997)  # quantiles that bound what is made
CLEAR = 3.0  # a change is kept whole from so many times `keep` on


class Editor:
    """Edits of one batch of images: the way up and the way back under its own conditions are gone once.

    Args:
        network: `LatentDiffusion`.
        image: (B, 1, D, H, W) in [0, 1].
        source: its conditions (B, K) in user units, NaN where left out.
        steps: timesteps of the way up, and of each way down.
        keep: share of the largest change below which a change counts as none.
    """

    def __init__(
        self, network: Any, image: torch.Tensor, source: torch.Tensor, steps: int = 10, keep: float = 0.05
    ) -> None:
        self.network, self.image, self.steps, self.keep = network, image, steps, keep
        own = guided(network.denoise, source)
        self.noise = ddim_inversion(own, network.encode(image), network.schedule, steps, SPACING)
        self.before = self._down(source)

    def _down(self, conditions: torch.Tensor) -> torch.Tensor:
        way = guided(self.network.denoise, conditions)
        return self.network.decode(ddim(way, self.noise, self.network.schedule, self.steps, spacing=SPACING))

    def edited(self, target: torch.Tensor) -> torch.Tensor:
        """The images (B, 1, D, H, W) in [0, 1] as they would be under other conditions (B, K)."""
        change = self._down(target) - self.before
        deep, smooth = (max(1, round(mm / self.network.spacing_mm)) for mm in (DEEP_MM, SMOOTH_MM))
        return within_own_levels(self.image + clearly(change, self.keep, smooth) * change, self.image, deep)


def within_own_levels(made: torch.Tensor, image: torch.Tensor, deep_voxels: int) -> torch.Tensor:
    """Edited images (B, 1, D, H, W) without levels that the scan's own deep brain does not have; elsewhere in [0, 1].

    Where a darker tissue takes the place of a mixture that held some of it, the sum of scan and change overshoots. Deep
    is what lies more than `deep_voxels` below the surface.
    """
    outside = F.max_pool3d((image <= 0).float(), 2 * deep_voxels + 1, 1, deep_voxels)
    out = made.clamp(0, 1)
    for row, own, edge in zip(out, image, outside):
        deep = edge == 0
        if deep.any():
            low, high = torch.quantile(own[deep], torch.tensor(LEVELS).to(own))
            kept = own[deep]
            row[deep] = torch.minimum(torch.maximum(row[deep], kept.clamp_max(low)), kept.clamp_min(high))
    return out


def clearly(change: torch.Tensor, keep: float, smooth_voxels: int = 1) -> torch.Tensor:
    """Weights in [0, 1] of changes (B, 1, D, H, W): 0 where, smoothed, they are below `keep` of their largest, 1 above
    three times that; the mean is over `smooth_voxels` to either side."""
    if keep <= 0:
        return torch.ones_like(change)
    size = F.avg_pool3d(change.abs(), 2 * smooth_voxels + 1, 1, smooth_voxels)
    size = size / size.amax((1, 2, 3, 4), keepdim=True).clamp_min(1e-6)
    return ((size - keep) / (keep * (CLEAR - 1))).clamp(0, 1)


def interpolated(
    network: Any, first: torch.Tensor, second: torch.Tensor, share: float = 0.5, steps: int = 20
) -> torch.Tensor:
    """Images between two.

    Args:
        network: `LatentDiffusion`.
        first, second: (B, 1, D, H, W) in [0, 1].
        share: of the way from the first to the second, 0 to 1.
        steps: timesteps of each way up and of the way down.

    Returns:
        (B, 1, D, H, W) in [0, 1].
    """
    schedule, denoise = network.schedule, unconditional(network, len(first), first.device)
    one, two = (ddim_inversion(denoise, network.encode(image), schedule, steps, SPACING) for image in (first, second))
    return network.decode(ddim(denoise, on_sphere(one, two, share), schedule, steps, spacing=SPACING)).clamp(0, 1)


def on_sphere(first: torch.Tensor, second: torch.Tensor, share: float) -> torch.Tensor:
    """Noise (B, ...) between two along the great circle, so that its length stays that of noise."""
    lengths = [one.flatten(1).norm(dim=1) for one in (first, second)]
    cosine = (first * second).flatten(1).sum(1) / (lengths[0] * lengths[1]).clamp_min(1e-9)
    angle = cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos().reshape(-1, *(1 for _ in first.shape[1:]))
    return (((1 - share) * angle).sin() * first + (share * angle).sin() * second) / angle.sin()

"""PHiSeg: a hierarchy of latent variables, from coarse to fine, each of which adds to the logits.

Baumgartner et al., "PHiSeg: Capturing uncertainty in medical image segmentation", MICCAI 2019. Per latent level l,
    z_l = mu_l + sigma_l eps,   log p(y | x, z) = sum over pixels of log-likelihood of y under sum_{k >= l} s_k(z_k)
and a training step minimises the error of the accumulated logits of every level plus
    beta sum_l 4^l KL(q(z_l | x, y, z_{> l}) || p(z_l | x, z_{> l})),   l = 0 is the finest.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

Gaussian = tuple[torch.Tensor, torch.Tensor]  # mean and standard deviation


def block(inside: int, outside: int, depth: int) -> nn.Sequential:
    """`depth` times a 3 x 3 convolution, an instance norm and a rectifier."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layers.append(nn.Conv2d(inside if index == 0 else outside, outside, 3, padding=1))
        layers += [nn.InstanceNorm2d(outside, affine=True), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class LatentEncoder(nn.Module):
    """Prior or posterior: features at every resolution, and a Gaussian at each of the latent levels.

    Args:
        in_channels: of the image, with the label for a posterior.
        channels: width per resolution level.
        latent_levels: latent variables; level l lies on the grid of resolution level l + levels - latent_levels.
        latent_channels: of a latent variable.
    """

    def __init__(self, in_channels: int, channels: Sequence[int], latent_levels: int, latent_channels: int) -> None:
        super().__init__()
        self.first = len(channels) - latent_levels
        widths = [in_channels, *channels]
        self.down = nn.ModuleList(block(a, b, 3) for a, b in zip(widths, widths[1:]))
        self.up, self.merge = nn.ModuleList(), nn.ModuleList()
        self.mean, self.deviation = nn.ModuleList(), nn.ModuleList()
        for level in range(latent_levels):
            width = channels[self.first + level]
            deepest = level == latent_levels - 1
            self.up.append(nn.Identity() if deepest else block(latent_channels, width, 2))
            self.merge.append(block(width if deepest else 2 * width, width, 2))
            self.mean.append(nn.Conv2d(width, latent_channels, 1))
            self.deviation.append(nn.Conv2d(width, latent_channels, 1))

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Features on the grids of the latent levels, finest first."""
        found = []
        for index, stage in enumerate(self.down):
            x = stage(F.avg_pool2d(x, 2) if index else x)
            found.append(x)
        return found[self.first :]

    def gaussian(self, level: int, features: list[torch.Tensor], above: torch.Tensor | None) -> Gaussian:
        """The Gaussian of a level, given the latent variable of the next coarser one."""
        x = features[level]
        if above is not None:
            x = torch.cat([x, self.up[level](F.interpolate(above, scale_factor=2.0, mode="bilinear"))], 1)
        x = self.merge[level](x)
        return self.mean[level](x), F.softplus(self.deviation[level](x)) + 1e-4


class PHiSeg(nn.Module):
    """Logits of an image from latent variables at several resolutions.

    Args:
        in_channels: of the image.
        channels: width per resolution level, (32, 64, 128, 192, 192, 192, 192) as published.
        latent_levels: latent variables, 5 as published.
        latent_channels: of each, 2 as published.

    Input (B, in_channels, H, W), output logits (B, 1, H, W).
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int], latent_levels: int = 5, latent_channels: int = 2
    ) -> None:
        super().__init__()
        if not 1 <= latent_levels <= len(channels):
            raise ValueError(
                f"latent_levels = {latent_levels}: 1 to {len(channels)}, the resolution levels, are allowed."
            )
        self.levels = latent_levels
        self.prior = LatentEncoder(in_channels, channels, latent_levels, latent_channels)
        self.posterior = LatentEncoder(in_channels + 1, channels, latent_levels, latent_channels)
        widths = channels[len(channels) - latent_levels :]
        self.decode = nn.ModuleList(block(latent_channels, width, 2) for width in widths)
        self.combine = nn.ModuleList(block(a + b, a, 2) for a, b in zip(widths[:-1], widths[1:]))
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in widths)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._accumulated(self._latents(x, noise=False)[0], x.shape[2:])[0]

    def draw(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, 1, H, W) from latent variables drawn from the prior."""
        return self._accumulated(self._latents(x, noise=True)[0], x.shape[2:])[0]

    def training_terms(self, x: torch.Tensor, label: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Accumulated logits of every level, finest first, with the posterior's latents, and the levels' divergences.

        Args:
            x: (B, in_channels, H, W).
            label: (B, 1, H, W) in [0, 1].

        Returns:
            logits [(B, 1, H, W)] and Kullback-Leibler divergences [(B,)], summed over channels and pixels.
        """
        features = self.posterior.features(torch.cat([x, label - 0.5], 1))
        of_prior = self.prior.features(x)
        latents: list[torch.Tensor] = []
        divergences: list[torch.Tensor] = []
        above = None
        for level in reversed(range(self.levels)):
            posterior = self.posterior.gaussian(level, features, above)
            divergences.insert(0, divergence(posterior, self.prior.gaussian(level, of_prior, above)))
            above = posterior[0] + posterior[1] * torch.randn_like(posterior[0])
            latents.insert(0, above)
        return self._accumulated(latents, x.shape[2:]), divergences

    def _latents(self, x: torch.Tensor, noise: bool) -> tuple[list[torch.Tensor], list[Gaussian]]:
        features = self.prior.features(x)
        latents: list[torch.Tensor] = []
        gaussians: list[Gaussian] = []
        above = None
        for level in reversed(range(self.levels)):
            mean, deviation = self.prior.gaussian(level, features, above)
            above = mean + deviation * torch.randn_like(mean) if noise else mean
            latents.insert(0, above)
            gaussians.insert(0, (mean, deviation))
        return latents, gaussians

    def _accumulated(self, latents: list[torch.Tensor], size: torch.Size) -> list[torch.Tensor]:
        """Logits on the image's grid, summed from the coarsest level to each; finest first."""
        hidden = None
        total: torch.Tensor | None = None
        sums: list[torch.Tensor] = []
        for level in reversed(range(self.levels)):
            x = self.decode[level](latents[level])
            if hidden is not None:
                x = self.combine[level](torch.cat([x, F.interpolate(hidden, scale_factor=2.0, mode="bilinear")], 1))
            hidden = x
            logits = F.interpolate(self.heads[level](x), size=tuple(size), mode="bilinear")
            total = logits if total is None else total + logits
            sums.insert(0, total)
        return sums


def divergence(one: Gaussian, other: Gaussian) -> torch.Tensor:
    """KL(one || other) of diagonal Gaussians, (B,), summed over all other axes."""
    (m0, s0), (m1, s1) = one, other
    terms = (s0 / s1) ** 2 + ((m1 - m0) / s1) ** 2 - 1 + 2 * (s1.log() - s0.log())
    return 0.5 * terms.flatten(1).sum(1)

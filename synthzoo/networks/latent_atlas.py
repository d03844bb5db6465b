"""What is known of a latent before any noise is removed: where one is, and what the conditions do there on average.

A convolution does not know where it is, so a small denoiser spends its training on finding out. The atlas tells it: the
mean anatomy, the least-squares effect of the conditions on each latent voxel, and coordinates, as input channels. The
denoiser is free in what it makes of them; nothing is added to its output.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class LatentAtlas(nn.Module):
    """Maps for a request, (B, K) -> (B, 2 C + 3, d, h, w): mean anatomy, expected deviation from it, coordinates.

        deviation(c) = E_1 (c - m_1) + E_2 (c^2 - m_2),   (E_1, E_2) = argmin sum_n |z_n - deviation(c_n)|^2

    Args:
        latent_shape: (C, d, h, w).
        conditions: K.
    """

    def __init__(self, latent_shape: Sequence[int], conditions: int):
        super().__init__()
        shape = tuple(int(n) for n in latent_shape)
        self.register_buffer("template", torch.zeros(shape))
        self.register_buffer("effects", torch.zeros(2 * conditions, *shape))
        self.register_buffer("middle", torch.zeros(2 * conditions))
        axes = [torch.linspace(-1, 1, n) for n in shape[1:]]
        self.register_buffer("coordinates", torch.stack(torch.meshgrid(*axes, indexing="ij")), persistent=False)

    def powers(self, context: torch.Tensor) -> torch.Tensor:
        """Normalised conditions (B, K), below 0 where left out -> c and c^2 less their means, (B, 2 K)."""
        both = torch.cat([context, context.square()], 1) - self.middle
        return torch.where(torch.cat([context, context], 1) < 0, torch.zeros_like(both), both)

    @torch.no_grad()
    def fit(self, template: torch.Tensor, latents: torch.Tensor, context: torch.Tensor) -> None:
        """Set the maps from the training set.

        Args:
            template: mean anatomy (C, d, h, w).
            latents: normalised latents (N, C, d, h, w), of zero mean.
            context: normalised conditions (N, K), below 0 where left out.
        """
        self.template.copy_(template / template.std().clamp_min(1e-6))
        given = context.masked_fill(context < 0, float("nan"))
        self.middle.copy_(torch.cat([given, given.square()], 1).nanmean(0).nan_to_num())
        powers = self.powers(context).double()
        ridge = 1e-3 * len(context) * powers.var(0).mean() * torch.eye(powers.shape[1], dtype=powers.dtype)
        gram = powers.T @ powers + ridge.to(powers.device)
        effects = torch.linalg.solve(gram, powers.T @ latents.flatten(1).double())
        self.effects.copy_(effects.reshape(self.effects.shape))

    def forward(self, context: torch.Tensor) -> torch.Tensor:
        """Normalised conditions (B, K), below 0 where left out -> maps (B, 2 C + 3, d, h, w)."""
        deviation = torch.einsum("bk,k...->b...", self.powers(context), self.effects.to(context.dtype))
        known = torch.cat([self.template, self.coordinates]).to(context.dtype)
        return torch.cat([deviation, known.expand(len(context), *known.shape)], 1)

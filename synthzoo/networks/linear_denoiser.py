"""The normal distribution of a latent given conditions, and the denoiser in closed form that follows from it.

    z | c ~ N(m(c), sum_k l_k u_k u_k^T + r (I - sum_k u_k u_k^T)),   m(c) = E (p(c) - p_0)
    E[z | x_t, c] = m + G (x_t - a m),   with gain a l / (a^2 l + s^2) along a direction of variance l

With `places` r is a number for each place and channel, so that air stays air; the estimate then takes what the
directions leave as if it were independent of them.

p(c) holds c, c^2 and the products of two conditions: the head is as large as age, brain and ventricles say together.
A small denoiser spends most of its training on finding what a linear estimate knows already: where it is, what the
conditions do there on average, and which deformations go together. It gets them as input instead, and learns the rest.
Nothing here is trained by gradients; `fit` reads it off the training set (the linear estimate is Wiener's).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


class LatentGaussian(nn.Module):
    """Prediction of the linear denoiser, and maps of what is known of each place.

    Args:
        latent_shape: (C, d, h, w).
        conditions: K.
        modes: how many directions have a variance of their own.
        schedule: noise schedule, which says what a denoiser predicts.
        products: False leaves squares and products of conditions out of p(c): of many conditions there are many.
        places: the variance r that no direction explains is that of each place and channel, not one for all.
    """

    def __init__(
        self,
        latent_shape: Sequence[int],
        conditions: int,
        modes: int,
        schedule: Any,
        products: bool = True,
        places: bool = False,
    ) -> None:
        super().__init__()
        shape = tuple(int(n) for n in latent_shape)
        self.schedule = schedule
        self.register_buffer("template", torch.zeros(shape))
        self.pairs = torch.triu_indices(conditions, conditions)[:, : None if products else 0]
        terms = conditions + self.pairs.shape[1]
        self.register_buffer("effects", torch.zeros(terms, *shape))
        self.register_buffer("middle", torch.zeros(terms))
        self.register_buffer("modes", torch.zeros(modes, *shape))
        self.register_buffer("variances", torch.zeros(modes))
        self.register_buffer("rest", torch.ones(shape if places else ()))
        axes = [torch.linspace(-1, 1, n) for n in shape[1:]]
        self.register_buffer("coordinates", torch.stack(torch.meshgrid(*axes, indexing="ij")), persistent=False)

    def powers(self, context: torch.Tensor) -> torch.Tensor:
        """Normalised conditions (B, K), below 0 where left out -> c and products of two, less their means.

        (B, K + K (K + 1) / 2); 0 where a condition is left out.
        """
        first, second = self.pairs
        both = torch.cat([context, context[:, first] * context[:, second]], 1) - self.middle
        missing = context < 0
        return both.masked_fill(torch.cat([missing, missing[:, first] | missing[:, second]], 1), 0)

    def expected(self, context: torch.Tensor) -> torch.Tensor:
        """m(c), (B, C, d, h, w), of normalised conditions (B, K); 0 if all are left out."""
        return torch.einsum("bk,k...->b...", self.powers(context), self.effects.to(context.dtype))

    def draw(self, context: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Latents (B, C, d, h, w) drawn from the distribution at normalised conditions (B, K)."""
        noise = torch.randn(len(context), *self.template.shape, generator=generator).to(context)
        along = torch.randn(len(context), len(self.modes), generator=generator).to(context)
        modes = self.modes.to(noise.dtype)
        noise = self.rest.sqrt() * noise
        scale = self.variances.sqrt() * along - torch.einsum("b...,k...->bk", noise, modes)
        return self.expected(context) + noise + torch.einsum("bk,k...->b...", scale, modes)

    def clean(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """E[z | x_t, c], (B, C, d, h, w), of noisy latents x (B, C, d, h, w) at timesteps (B,)."""
        a, s = self.schedule.at(timesteps, x)
        mean = self.expected(context)
        left = x - a * mean
        modes = self.modes.to(x.dtype)
        gain = a * self.rest / (a**2 * self.rest + s**2)
        flat_a, flat_s = a.flatten(1), s.flatten(1)
        own = flat_a * self.variances / (flat_a**2 * self.variances + flat_s**2)
        along = torch.einsum("b...,k...->bk", left, modes)
        if self.rest.ndim:
            left = left - torch.einsum("bk,k...->b...", along, modes)
        else:
            own = own - gain.flatten(1)
        return mean + gain * left + torch.einsum("bk,k...->b...", own * along, modes)

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Noisy latents, timesteps (B,), normalised conditions (B, K) -> what the linear denoiser predicts, and maps.

        Returns:
            prediction (B, C, d, h, w) in the schedule's terms; maps (B, 2 C + 3, d, h, w): the clean latent that it
            expects, the mean anatomy, coordinates.
        """
        clean = self.clean(x, timesteps, context)
        a, s = self.schedule.at(timesteps, x)
        prediction = self.schedule.target(clean, (x - a * clean) / s, timesteps)
        known = torch.cat([self.template, self.coordinates]).to(x.dtype)
        return prediction, torch.cat([clean, known.expand(len(x), *known.shape)], 1)

    @torch.no_grad()
    def fit(self, template: torch.Tensor, latents: torch.Tensor, context: torch.Tensor) -> None:
        """Read the prior off the training set: directions from three quarters of it, their variances from the last one.

        Args:
            template: mean anatomy (C, d, h, w).
            latents: normalised latents (N, C, d, h, w), of zero mean.
            context: normalised conditions (N, K), below 0 where left out.
        """
        self.template.copy_(template / template.std().clamp_min(1e-6))
        given = context.masked_fill(context < 0, float("nan"))
        products = given[:, self.pairs[0]] * given[:, self.pairs[1]]
        self.middle.copy_(torch.cat([given, products], 1).nanmean(0).nan_to_num())
        powers = self.powers(context).double()
        ridge = 1e-3 * len(context) * powers.pow(2).mean().clamp_min(1e-9)
        gram = powers.T @ powers + ridge * torch.eye(powers.shape[1]).to(powers)
        effects = torch.linalg.solve(gram, powers.T @ latents.flatten(1).double())
        self.effects.copy_(effects.reshape(self.effects.shape))

        left = (latents - self.expected(context)).flatten(1)
        first = (3 * len(left) + 3) // 4
        directions = _directions(left[:first], min(len(self.modes), first - 1))
        held_out = left[first:] if len(left) > first else left
        found = (held_out @ directions.T).pow(2).mean(0)
        count = len(directions)
        self.modes.zero_()
        self.variances.zero_()
        self.modes[:count] = directions.reshape(count, *self.modes.shape[1:])
        self.variances[:count] = found.clamp_min(1e-6)
        if self.rest.ndim:
            unexplained = held_out - (held_out @ directions.T) @ directions
            self.rest.copy_(unexplained.pow(2).mean(0).reshape(self.rest.shape).clamp_min(1e-4))
        else:
            total = held_out.pow(2).sum(1).mean()
            self.rest.copy_(((total - found.sum()) / (left.shape[1] - count)).clamp_min(1e-4))


def _directions(rows: torch.Tensor, count: int) -> torch.Tensor:
    """The `count` orthonormal directions (count, D) along which rows (N, D) vary most, by way of the N x N products."""
    if count < 1:
        return rows[:0]
    values, vectors = torch.linalg.eigh((rows @ rows.T).double())
    largest = vectors[:, -count:].flip(1).to(rows)
    scale = values[-count:].flip(0).clamp_min(1e-12).sqrt().to(rows)
    return largest.T @ rows / scale[:, None]

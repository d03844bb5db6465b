"""Classifier-free guidance: a guided denoiser is a denoiser (Ho, Salimans, arXiv 2207.12598, eq. 6).

prediction = null + w (conditional - null)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch


def guided(
    denoise: Callable,
    conditions: torch.Tensor,
    weight: float = 1.0,
    given: Mapping[str, torch.Tensor] | None = None,
) -> Callable:
    """Denoiser `(x, t) -> prediction` under `conditions`.

    Args:
        denoise: (x (B, ...), t (B,), conditions (B, K), **given) -> prediction (B, ...).
        conditions: (B, K) in user units, NaN where left out.
        weight: w; 1 is the plain conditional denoiser and needs one evaluation, otherwise both go in one call.
        given: further tensors (B, ...) by name that both evaluations see, such as a conditioning image.
    """
    given = dict(given or {})
    if weight == 1.0:
        return lambda x, t: denoise(x, t, conditions, **given)
    twice = {name: torch.cat([value, value]) for name, value in given.items()}
    null = torch.full_like(conditions, float("nan"))

    def both(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        out = denoise(torch.cat([x, x]), torch.cat([t, t]), torch.cat([conditions, null]), **twice)
        conditional, unconditional = out.chunk(2)
        return unconditional + weight * (conditional - unconditional)

    return both

"""Sampling of token sequences: each token by the inverse of its distribution function at a number that is given.

    token_i = min {k : P(t_i <= k | t_<i, c) > u_i},  u_i in [0, 1)

So a sequence is a function of its numbers u and its context, whatever else stands in its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from synthzoo.errors import UserError
from synthzoo.networks.token_transformer import KeyValueCache, TokenTransformer

BELOW_ONE = 1 - 2**-50


def check_sampling(temperature: float, top_k: int | None, guidance: float = 1.0) -> None:
    """Refuse what no distribution comes from.

    Raises:
        UserError: a temperature of 0 or less, a top_k below 1, a guidance below 0.
    """
    if not isinstance(temperature, (int, float)) or isinstance(temperature, bool) or not 0 < temperature <= 100:
        raise UserError(f"temperature = {temperature!r}: give a number above 0, at most 100; 1 samples as trained.")
    if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
        raise UserError(f"top_k = {top_k!r}: give an integer of at least 1, or null for all tokens.")
    if not isinstance(guidance, (int, float)) or isinstance(guidance, bool) or guidance < 0:
        raise UserError(f"guidance = {guidance!r}: give a number of at least 0; 1 switches it off.")


def uniform_of(noise: torch.Tensor) -> torch.Tensor:
    """Standard normal noise of any shape -> float64 numbers, uniform in [0, 1)."""
    return (0.5 * torch.erfc(-noise.double() / 2**0.5)).clamp(0, BELOW_ONE)


def choose(
    logits: torch.Tensor, uniform: torch.Tensor, temperature: float = 1.0, top_k: int | None = None
) -> torch.Tensor:
    """Tokens at given places of their distributions.

    Args:
        logits: (..., codes).
        uniform: (...), float64 in [0, 1).
        temperature: divides the logits.
        top_k: only the so many most probable tokens can come; None lets all.

    Returns:
        int64 (...).
    """
    logits = logits.double() / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        lowest = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < lowest, float("-inf"))
    cumulated = logits.softmax(-1).cumsum(-1)
    place = (uniform * cumulated[..., -1])[..., None]
    return torch.searchsorted(cumulated, place, right=True)[..., 0].clamp(max=logits.shape[-1] - 1)


@torch.no_grad()
def sample_tokens(
    transformer: TokenTransformer,
    uniform: torch.Tensor,
    context: torch.Tensor | None = None,
    null: torch.Tensor | None = None,
    guidance: float = 1.0,
    temperature: float = 1.0,
    top_k: int | None = None,
    given: torch.Tensor | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> torch.Tensor:
    """Sequences of tokens, int64 (B, T), a token a call of the transformer with its cache.

    Args:
        transformer: of at least T tokens.
        uniform: (B, T), float64 in [0, 1): where in its distribution each token lies.
        context: (B, K, width) for cross-attention, or None.
        null: context that says nothing, for guidance; needed where that is not 1.
        guidance: w in l_null + w (l - l_null), on logits (classifier-free guidance, arXiv 2207.12598).
        temperature, top_k: see `choose`.
        given: (B, T), tokens that are kept, -1 where one is sampled; None samples all.
        progress: wraps the positions, such as tqdm.
    """
    batch, length = uniform.shape
    guided = guidance != 1
    if guided:
        context = torch.cat([context, null])
    cache = KeyValueCache(transformer, batch * (1 + guided), context, length)
    found = torch.empty(batch, length, dtype=torch.long, device=uniform.device)
    last = torch.full((batch, 1), transformer.begin, device=uniform.device)
    for position in progress(range(length)):
        logits = transformer(last.repeat(1 + guided, 1), cache=cache)[:, 0, : transformer.begin]
        if guided:
            requested, plain = logits.chunk(2)
            logits = plain + guidance * (requested - plain)
        last = choose(logits, uniform[:, position], temperature, top_k)[:, None]
        if given is not None:
            kept = given[:, position, None]
            last = torch.where(kept < 0, last, kept)
        found[:, position] = last[:, 0]
    return found

"""Likelihoods of codes, and healing: unlikely codes are sampled again given those before them (Pinaya et al. 2022).

l_i = log p(z_i | z_<i)             m_i = l_i < limit           x_h = decode(healed z)
z_i -> a sample of p(. | healed z_<i) where m_i, in the order of the sequence; the others stay
map = |x - x_h| * up(-l)            (in the paper up(m), smoothed)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from synthzoo.inferers.tokens import choose
from synthzoo.networks.token_transformer import KeyValueCache, TokenTransformer

LEAST_LOG = -30.0
NATS = 3.0  # surprise with a heat of one half
READ_AT_ONCE, DECODED_AT_ONCE = 16, 64  # slices


@dataclass
class Healing:
    """What the two networks say of slices.

    Attributes:
        surprise: - log p of each code, averaged over the readings, on the slices' grid, (N, 1, D, H), nats >= 0.
        mask: share of readings in which a code was healed, on the slices' grid.
        coded: |x - decode(z)|, what the codes alone lose, in image units.
        healed: mean |x - x_h| over readings and samples.
        changed: mean |decode(z) - x_h|.
    """

    surprise: torch.Tensor
    mask: torch.Tensor
    coded: torch.Tensor
    healed: torch.Tensor
    changed: torch.Tensor


def surprise_of(log_likelihood: torch.Tensor) -> torch.Tensor:
    """Log-likelihoods of any shape -> nats in [0, 30]."""
    return -log_likelihood.clamp(LEAST_LOG, 0)


def upsampled(values: torch.Tensor, shape: Iterable[int]) -> torch.Tensor:
    """Values of codes (N, h, w) -> (N, 1, D, H), bilinear."""
    return F.interpolate(values[:, None].float(), size=tuple(shape), mode="bilinear", align_corners=False)


def heal(
    network: Any,
    tokens: torch.Tensor,
    mask: torch.Tensor,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
) -> torch.Tensor:
    """Sample masked codes again, from left to right, given the healed codes before them.

    Args:
        network: a `TokenImages`.
        tokens: (N, T) in order.
        mask: bool (N, T).
        generator: on the CPU.
        temperature, top_k: see `choose`; a top_k of 1 takes the most probable code.

    Returns:
        int64 (N, T).
    """
    uniform = torch.rand(tokens.shape, generator=generator, dtype=torch.float64).to(tokens.device)
    healed = tokens.clone()
    for row in mask.any(1).nonzero().flatten().tolist():
        places = mask[row].nonzero().flatten().tolist()
        _heal_row(network.transformer, healed[row], places, uniform[row], temperature, top_k)
    return healed


@torch.no_grad()
def _heal_row(
    transformer: TokenTransformer,
    tokens: torch.Tensor,
    places: Sequence[int],
    uniform: torch.Tensor,
    temperature: float,
    top_k: int | None,
) -> None:
    """Heal a sequence (T,) where it lies: a call for each masked place, with the kept tokens since the last one."""
    cache = KeyValueCache(transformer, 1, None, places[-1] + 1)
    for place in places:
        first = cache.length
        given = tokens[max(first - 1, 0) : place]
        given = given if first else F.pad(given, (1, 0), value=transformer.begin)
        logits = transformer(given[None], cache=cache)[:, -1, : transformer.begin]
        tokens[place] = choose(logits, uniform[place : place + 1], temperature, top_k)[0]


@torch.no_grad()
def read_slices(
    network: Any,
    images: torch.Tensor,
    limit: float,
    samples: int = 1,
    mirrored: bool = True,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Healing:
    """Likelihoods and healing of slices, averaged over readings.

    Args:
        network: a `TokenImages`.
        images: (N, 1, D, H).
        limit: codes with a log-likelihood below it are healed.
        samples: healed versions of each reading; 0 leaves healing out.
        mirrored: read each slice a second time, left and right exchanged: a code is then judged once from each side.
        seed: of the samples.
        temperature, top_k: see `heal`.
        progress: wraps the readings, such as tqdm.
    """
    generator = torch.Generator().manual_seed(seed)
    sides = (False, True) if mirrored else (False,)
    total = {name: torch.zeros_like(images) for name in ("surprise", "mask", "coded", "healed", "changed")}
    for flip in progress(sides):
        seen = images.flip(2) if flip else images
        for rows in torch.arange(len(images), device=images.device).split(DECODED_AT_ONCE):
            found = _read(network, seen[rows], limit, samples, generator, temperature, top_k)
            for name, values in found.items():
                total[name][rows] += (values.flip(2) if flip else values) / len(sides)
    return Healing(**total)


def _read(
    network: Any,
    images: torch.Tensor,
    limit: float,
    samples: int,
    generator: torch.Generator,
    temperature: float,
    top_k: int | None,
) -> dict[str, torch.Tensor]:
    """One reading of some slices, by the names of `Healing`."""
    parts = [(network.tokenise(part), part) for part in images.split(READ_AT_ONCE)]
    tokens = torch.cat([own for own, _ in parts])
    likely = torch.cat([network.log_likelihood(own) for own, _ in parts])
    coded = network.decode(network.grid(tokens))
    mask = likely < limit
    healed, changed = torch.zeros_like(images), torch.zeros_like(images)
    for _ in range(samples):
        restored = network.decode(network.grid(heal(network, tokens, mask, generator, temperature, top_k)))
        healed += (images - restored).abs() / samples
        changed += (coded - restored).abs() / samples
    shape = images.shape[2:]
    return {
        "surprise": upsampled(network.grid(surprise_of(likely)), shape),
        "mask": upsampled(network.grid(mask.float()), shape),
        "coded": (images - coded).abs(),
        "healed": healed,
        "changed": changed,
    }

"""Benchmark of token samplers in one process, taking turns: ours with its cache, the loop without one, and MONAI's own.

All three have the same weights, the same context and the same number of tokens, and decode what they sampled.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import VQVAETransformerInferer
from monai.networks.nets import DecoderOnlyTransformer

from synthzoo.evaluation.benchmark import PeakMemory, machine_of, synchronise
from synthzoo.inferers.tokens import choose, sample_tokens, uniform_of
from synthzoo.networks.token_images import TokenImages
from synthzoo.networks.token_transformer import KeyValueCache, TokenTransformer

OURS, UNCACHED, MONAI = "ours, with a cache", "the same without a cache", "MONAI's VQVAETransformerInferer.sample"
COLUMNS = ["sampler", "s per volume", "processor s per volume", "times as long as ours", "peak MiB"]


@torch.no_grad()
def sample_uncached(
    transformer: TokenTransformer, uniform: torch.Tensor, context: torch.Tensor | None = None
) -> torch.Tensor:
    """What `sample_tokens` gives, by a forward over the whole sequence so far for each token: (B, T)."""
    batch, length = uniform.shape
    sequence = torch.full((batch, 1), transformer.begin, device=uniform.device)
    for position in range(length):
        logits = transformer(sequence, context)[:, -1, : transformer.begin]
        sequence = torch.cat([sequence, choose(logits, uniform[:, position])[:, None]], 1)
    return sequence[:, 1:]


def monai_transformer(own: TokenTransformer) -> DecoderOnlyTransformer:
    """MONAI's network with the weights of ours, its faster attention switched on."""
    settings = {
        "attn_layers_dim": own.attn_layers_dim,
        "attn_layers_depth": len(own.blocks),
        "attn_layers_heads": own.attn_layers_heads,
        "with_cross_attention": own.with_cross_attention,
        "use_combined_linear": own.blocks[0].attn.use_combined_linear,
    }
    network = DecoderOnlyTransformer(own.num_tokens, own.max_seq_len, **settings, use_flash_attention=True)
    network.load_state_dict({**network.state_dict(), **own.state_dict()}, strict=True)
    return network.to(own.token_embeddings.weight.device).eval()


def token_samplers(
    network: TokenImages, kept: dict[str, torch.Tensor]
) -> dict[str, Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]]:
    """Name -> (noise (B, 1, *grid), context) -> image, for `network`; our two leave their tokens in `kept`."""
    theirs = monai_transformer(network.transformer)

    def decoded(name: str, sample: Callable) -> Callable:
        def run(noise: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
            uniform = uniform_of(network.sequence(noise[:, 0]))
            kept[name] = sample(network.transformer, uniform, context)
            return network.decode(network.grid(kept[name]))

        return run

    def monai(noise: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
        begin = torch.full((len(noise), 1), network.transformer.begin, device=noise.device)
        autoencoder, order = network.autoencoder, network.ordering
        return VQVAETransformerInferer().sample(
            network.token_shape, begin, autoencoder, theirs, order, conditioning=context, verbose=False
        )

    return {OURS: decoded(OURS, sample_tokens), MONAI: monai, UNCACHED: decoded(UNCACHED, sample_uncached)}


@torch.no_grad()
def measure_token_samplers(
    network: TokenImages, noise: torch.Tensor, conditions: torch.Tensor | None, turns: int = 1
) -> dict[str, Any]:
    """Seconds of all samplers on one batch, in turns, and how far the cached logits are from the uncached ones.

    Args:
        network: trained, in eval mode.
        noise: (B, 1, *grid).
        conditions: (B, K) in user units, or None.
        turns: rounds; medians are reported. Decoding and one token go before, unmeasured.

    Returns:
        "rows": name -> seconds and processor_seconds a volume, peak_mib; "largest_difference" of logits over a whole
        sequence and "largest_logit"; "same_tokens": share that ours and the uncached loop have in common.
    """
    device, context = noise.device, network.context(conditions, len(noise))
    tokens: dict[str, torch.Tensor] = {}
    samplers = token_samplers(network, tokens)
    network.decode(torch.zeros(len(noise), *network.token_shape, dtype=torch.long, device=device))
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in samplers}
    for _ in range(turns):
        for name, sampler in samplers.items():
            synchronise(device)
            with PeakMemory(device) as memory:
                began, busy = time.perf_counter(), time.process_time()
                sampler(noise, context)
                synchronise(device)
                seconds = (time.perf_counter() - began, time.process_time() - busy)
            taken[name].append((*seconds, memory.grown))
    rows = {}
    for name, found in taken.items():
        wall, busy, peak = zip(*found)
        rows[name] = {
            "seconds": round(statistics.median(wall) / len(noise), 3),
            "processor_seconds": round(statistics.median(busy) / len(noise), 3),
            "peak_mib": round(max(peak), 1),
        }
    same = float((tokens[OURS] == tokens[UNCACHED]).double().mean())
    return {"rows": rows, **logit_difference(network, tokens[OURS], context), "same_tokens": same}


@torch.no_grad()
def logit_difference(network: TokenImages, tokens: torch.Tensor, context: torch.Tensor | None) -> dict[str, float]:
    """Largest difference between cached and uncached logits over sequences (B, T), and the largest logit."""
    transformer = network.transformer
    sequence = torch.nn.functional.pad(tokens[:, :-1], (1, 0), value=transformer.begin)
    whole = transformer(sequence, context)
    cache, worst = KeyValueCache(transformer, len(tokens), context, tokens.shape[1]), 0.0
    for position in range(tokens.shape[1]):
        step = transformer(sequence[:, [position]], cache=cache)
        worst = max(worst, float((step[:, 0] - whole[:, position]).abs().max()))
    return {"largest_difference": worst, "largest_logit": float(whole.abs().max())}


def benchmark_tokens(
    network: TokenImages, command: str, turns: int = 1, batch: int = 1, seed: int = 0
) -> dict[str, Any]:
    """The card's report of `measure_token_samplers` for requests drawn evenly from the network's bounds.

    Args:
        network: trained, in eval mode.
        command: that gives the same numbers.
        turns, batch: see `measure_token_samplers`.
        seed: of noise and requests.
    """
    device, draw, conditions = network.order.device, torch.Generator().manual_seed(seed), None
    noise = torch.randn(batch, *network.latent_shape, generator=draw).to(device)
    bounds = getattr(network, "conditions", None)
    if bounds is not None:
        share = torch.rand(batch, len(bounds), generator=draw).to(device)
        conditions = bounds.low + (bounds.high - bounds.low) * share
    found = measure_token_samplers(network, noise, conditions, turns)
    rows, ours = found["rows"], found["rows"][OURS]["processor_seconds"]
    table = [
        [name, row["seconds"], row["processor_seconds"], round(row["processor_seconds"] / ours, 1), row["peak_mib"]]
        for name, row in rows.items()
    ]
    title = f"The same weights in other samplers, {len(network.order)} tokens, {batch} at once, {machine_of(device)}; "
    title += f"largest difference of cached to uncached logits {found['largest_difference']:.2g}, the largest logit "
    title += f"being {found['largest_logit']:.3g}; share of tokens in common with the loop without a cache "
    title += f"{found['same_tokens']:.4g}"
    figures = {"times_as_fast_as_uncached": table[2][3], "times_as_fast_as_monai": table[1][3]}
    tables = [{"title": title, "columns": COLUMNS, "rows": table}]
    return {"command": command, "tables": tables, "figures": figures, "measured": found}

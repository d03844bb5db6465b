"""Sampling of SynthAnatomy: codes one after the other with a cache of keys and values, then the decoder."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import Inferer
from tqdm import tqdm

from synthzoo.inferers.tokens import check_sampling, sample_tokens, uniform_of
from synthzoo.networks.convolution import FastSingleVolumes


class AutoregressiveInferer(Inferer):
    """Samples a sequence of codes for each request and decodes it.

    The request's own noise says where in its distribution each code lies, so that a request gives one image in whatever
    batch, chunk or process it is.

    Args:
        temperature: divides the logits; below 1 samples are more alike.
        top_k: only the so many most probable codes of each place can come; None lets all.
        guidance: weight of classifier-free guidance on the logits; 1 switches it off.
        chunk: images sampled at once; None takes the whole batch.
        progress: show a bar over the codes.

    Raises:
        UserError: what `check_sampling` refuses.
    """

    sampler_name = "autoregressive"

    def __init__(
        self,
        temperature: float = 1.0,
        top_k: int | None = None,
        guidance: float = 1.0,
        chunk: int | None = None,
        progress: bool = False,
    ) -> None:
        super().__init__()
        check_sampling(temperature, top_k, guidance)
        self.temperature, self.top_k, self.guidance = float(temperature), top_k, float(guidance)
        self.chunk, self.progress = chunk, progress

    @torch.inference_mode()
    def __call__(
        self, inputs: torch.Tensor, network: Any, conditions: torch.Tensor | None = None, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Noise (B, 1, d, h, w), conditions (B, K) in user units (NaN: unset) -> image (B, 1, D, H, W) in [0, 1]."""
        if conditions is None:
            conditions = torch.full((len(inputs), len(network.conditions)), float("nan"), device=inputs.device)
        size = self.chunk or len(inputs)
        with FastSingleVolumes():
            parts = zip(inputs.split(size), conditions.split(size), strict=True)
            return torch.cat([self._sample(noise, network, values) for noise, values in parts])

    def _sample(self, noise: torch.Tensor, network: Any, conditions: torch.Tensor) -> torch.Tensor:
        sequence = self.sample_sequence(noise, network, conditions)
        return network.decode(network.grid(sequence)).float().clamp(0, 1)

    def sample_sequence(self, noise: torch.Tensor, network: Any, conditions: torch.Tensor | None) -> torch.Tensor:
        """As `__call__`, but the codes in order, int64 (B, T)."""
        batch = len(noise)
        return sample_tokens(
            network.transformer,
            uniform_of(network.sequence(noise[:, 0])),
            network.context(conditions, batch),
            network.context(None, batch) if self.guidance != 1 else None,
            self.guidance,
            self.temperature,
            self.top_k,
            progress=lambda steps: tqdm(steps, desc="sampling", leave=False, disable=not self.progress),
        )

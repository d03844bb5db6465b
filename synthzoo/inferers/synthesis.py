"""Synthesis: from the start noise and the conditions of a request to an image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from tqdm import tqdm

from synthzoo.diffusion.guidance import guided
from synthzoo.diffusion.samplers import find_sampler
from synthzoo.errors import UserError
from synthzoo.networks.convolution import FastSingleVolumes, computes_in


def prepare_request(batch: dict, device: Any = None, non_blocking: bool = False, **kwargs: Any) -> tuple:
    """A batch of requests -> (noise, no target, (), {"conditions": values}), for MONAI's SupervisedEvaluator."""
    noise = batch["image"].to(device, non_blocking=non_blocking)
    return noise, None, (), {"conditions": batch["conditions"].to(device, non_blocking=non_blocking)}


def own_stream(start: torch.Tensor, seed: int = 0) -> torch.Generator:
    """The source of fresh noise that belongs to one row's start noise (C, ...), whatever batch it is in."""
    digest = hashlib.sha256(start.detach().cpu().contiguous().numpy().tobytes()).digest()
    return torch.Generator().manual_seed((int.from_bytes(digest[:8], "little") ^ int(seed)) % 2**63)


class SynthesisInferer(Inferer):
    """Samples a latent and decodes it.

    Args:
        sampler: "dpm_solver" or "ddim", or "rflow" of a rectified flow.
        steps: network calls per image.
        guidance: weight of classifier-free guidance; 1 switches it off.
        clip: largest absolute value of ddim's clean estimate, for networks of images in a range; None clips nothing.
        eta: share of fresh noise of ddim, 0 to 1. Each row draws it from a stream that its own start noise decides,
            so that a request gives one image in whatever batch, chunk or process it is.
        seed: another one draws other fresh noise for the same start noise.
        autocast: None, "bfloat16" or "float16": lower precision inside the networks, where the device has it; a CPU
            that has not stays in float32.
        decode_roi: window in latent voxels for a decoding in little memory; None decodes at once.
        chunk: images per network call; None takes the whole batch.
        progress: show a bar over the steps.

    Raises:
        UserError: an unknown sampler, a number of steps that the schedule does not have, an eta that is not used.
    """

    def __init__(
        self,
        sampler: str = "dpm_solver",
        steps: int = 20,
        guidance: float = 1.0,
        eta: float = 0.0,
        seed: int = 0,
        autocast: str | None = None,
        decode_roi: Sequence[int] | None = None,
        chunk: int | None = None,
        progress: bool = False,
        clip: float | None = None,
    ) -> None:
        super().__init__()
        self.clip = None if clip is None else float(clip)
        self.sampler, self.sampler_name = find_sampler(sampler), sampler
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise UserError(f"steps = {steps!r}: the sampler takes an integer of at least 1.")
        self.steps, self.guidance, self.eta, self.seed = steps, float(guidance), float(eta), int(seed)
        if not 0 <= self.eta <= 1 or (self.eta and sampler != "ddim"):
            raise UserError(f"eta = {eta!r} with sampler {sampler}: it lies between 0 and 1, and only ddim takes it.")
        self.autocast = None if autocast is None else getattr(torch, autocast)
        self.decode_roi, self.chunk, self.progress = decode_roi, chunk, progress

    @torch.inference_mode()
    def __call__(
        self, inputs: torch.Tensor, network: Any, conditions: torch.Tensor | None = None, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Noise (B, C, d, h, w), conditions (B, K) in user units (NaN: left out) -> image (B, 1, D, H, W) in [0, 1]."""
        if conditions is None:
            conditions = torch.full((inputs.shape[0], len(network.conditions)), float("nan"), device=inputs.device)
        size = self.chunk or inputs.shape[0]
        parts = zip(inputs.split(size), conditions.split(size), strict=True)
        device = inputs.device.type
        wanted = self.autocast is not None and computes_in(self.autocast, device)
        lower = torch.autocast(device, dtype=self.autocast or torch.bfloat16, enabled=wanted)
        with lower, FastSingleVolumes():
            return torch.cat([self._sample(noise, network, values) for noise, values in parts])

    def _sample(self, noise: torch.Tensor, network: Any, conditions: torch.Tensor) -> torch.Tensor:
        return network.decode(self.latents(noise, network, conditions), self.decode_roi).float().clamp(0, 1)

    def latents(self, noise: torch.Tensor, network: Any, conditions: torch.Tensor) -> torch.Tensor:
        """Noise (B, C, ...), conditions (B, K) in user units (NaN: left out) -> latents (B, C, ...), not decoded."""
        options: dict[str, Any] = {}
        if self.sampler_name == "ddim":
            options = {
                "eta": self.eta,
                "clip": self.clip,
                "generator": [own_stream(row, self.seed) for row in noise] if self.eta else None,
            }
        if self.progress:
            options["progress"] = lambda steps: tqdm(steps, desc="sampling", leave=False)
        denoise = guided(network.denoise, conditions, self.guidance)
        return self.sampler(denoise, noise, network.schedule, self.steps, **options)

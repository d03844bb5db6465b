"""Anomaly maps of a head by likelihood and healing of codes, and by reconstruction and guidance of a denoiser."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from tqdm import tqdm

from synthzoo.errors import UserError
from synthzoo.inferers.brain_map import BrainMapInferer
from synthzoo.inferers.tokens import check_sampling
from synthzoo.systems.generative_anomaly import denoiser, network
from synthzoo.systems.generative_anomaly.denoiser import RESIDUAL, DiffusionMap
from synthzoo.systems.generative_anomaly.healing import NATS, Healing, read_slices
from synthzoo.systems.generative_anomaly.network import AutoregressiveMap
from synthzoo.systems.generative_anomaly.reconstruction import HEALTHY, counterfactual, labelled, reconstruct
from synthzoo.systems.generative_anomaly.slices import AxialSlices, as_heat, axial_slices, per_z

DENOISED_AT_ONCE = 16  # slices


class AutoregressiveMapInferer(BrainMapInferer):
    """Compute the anomaly map of a head from the codes of its axial slices.

    healing      |x - x_h| in z-scores times - log p in nats, see `healing`
    likelihood   - log p in nats

    Args:
        method: "healing" or "likelihood".
        samples: healed versions of each reading that are averaged.
        mirrored: read slices a second time with left and right exchanged.
        temperature, top_k: of healing, see `heal`.
        seed: of the samples.
        shared: see `BrainMapInferer`.

    Raises:
        UserError: no samples, and what `check_sampling` refuses.
    """

    METHODS = network.METHODS

    def __init__(
        self,
        method: str = "healing",
        samples: int = 2,
        mirrored: bool = True,
        temperature: float = 1.0,
        top_k: int | None = None,
        seed: int = 0,
        **shared: Any,
    ) -> None:
        super().__init__(method=method, **shared)
        check_sampling(temperature, top_k)
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
            raise UserError(f"samples = {samples!r}: give the number of healed versions, an integer of at least 1.")
        self.samples, self.mirrored, self.temperature, self.top_k = samples, mirrored, float(temperature), top_k
        self.seed = seed

    def heat(self, volume: torch.Tensor, network: AutoregressiveMap) -> torch.Tensor:
        """The map by `method`; a likelihood heals nothing."""
        slices, found = self.read(volume, network, self.samples if self.method == "healing" else 0)
        return slices.volume(self.combined(found, network)[self.method])

    def heats(self, volume: torch.Tensor, network: AutoregressiveMap) -> dict[str, torch.Tensor]:
        """Maps (1, 1, *grid) by both methods."""
        slices, found = self.read(volume, network, self.samples)
        return {method: slices.volume(heat) for method, heat in self.combined(found, network).items()}

    def read(self, volume: torch.Tensor, network: AutoregressiveMap, samples: int) -> tuple[AxialSlices, Healing]:
        """Slices of z-scores (1, 1, *grid), and what the networks say of them."""
        slices = axial_slices(volume, network.units)
        bar = partial(tqdm, desc="readings", leave=False, disable=not self.progress)
        limit, settings = float(network.limit), {"temperature": self.temperature, "top_k": self.top_k}
        read = partial(read_slices, network.codes, slices.images, limit, samples, self.mirrored, self.seed)
        return slices, read(**settings, progress=bar)

    @staticmethod
    def combined(found: Healing, network: AutoregressiveMap) -> dict[str, torch.Tensor]:
        """Heat of the slices (N, 1, D, H) in [0, 1) by method."""
        healing = found.healed * per_z(network.units) * found.surprise
        return {"healing": as_heat(healing, NATS), "likelihood": as_heat(found.surprise, NATS)}


class DiffusionMapInferer(BrainMapInferer):
    """Compute the anomaly map of a head from healthy versions of its axial slices.

    guidance         |x_same - x_cf| in z-scores, see `reconstruction`
    reconstruction   mean over the levels of |x - x^(t)| in z-scores, under the label healthy

    Args:
        method: "guidance" or "reconstruction".
        steps: of the sampler over the whole schedule.
        depth: timestep up to which slices are inverted.
        guidance: w of guidance towards healthy.
        levels: timesteps from which slices are reconstructed.
        published: with True the map of guidance is |x - x_cf|.
        seed: of the noise.
        shared: see `BrainMapInferer`.

    Raises:
        UserError: a guidance below 0, no levels.
    """

    METHODS = denoiser.METHODS

    def __init__(
        self,
        method: str = "guidance",
        steps: int = 20,
        depth: int = 250,
        guidance: float = 3.0,
        levels: Sequence[int] = (100, 200, 300),
        published: bool = False,
        seed: int = 0,
        **shared: Any,
    ) -> None:
        super().__init__(method=method, **shared)
        check_sampling(1.0, None, guidance)
        if not levels:
            raise UserError("levels is empty: give the timesteps from which slices are reconstructed, such as [200].")
        self.steps, self.depth, self.guidance = int(steps), int(depth), float(guidance)
        self.levels, self.published, self.seed = [int(level) for level in levels], published, seed

    def heat(self, volume: torch.Tensor, network: DiffusionMap) -> torch.Tensor:
        """The map by `method` alone."""
        return self._maps(volume, network, (self.method,))[self.method]

    def heats(self, volume: torch.Tensor, network: DiffusionMap) -> dict[str, torch.Tensor]:
        """Maps (1, 1, *grid) by both methods."""
        return self._maps(volume, network, self.METHODS)

    def _maps(self, volume: torch.Tensor, network: DiffusionMap, methods: Sequence[str]) -> dict[str, torch.Tensor]:
        slices = axial_slices(volume, network.units)
        found = self.residuals(slices.images, network, methods)
        names = {"guidance": "published" if self.published else "guidance", "reconstruction": "reconstruction"}
        return {method: slices.volume(as_heat(found[names[method]], RESIDUAL)) for method in methods}

    @torch.no_grad()
    def residuals(self, images: torch.Tensor, network: DiffusionMap, methods: Sequence[str]) -> dict[str, torch.Tensor]:
        """Residuals of slices (N, 1, D, H) in z-scores, same shape, by name.

        "reconstruction"; and "guidance", "published" (|x - x_cf|) and "inversion" (|x - x_same|: no guidance at all).
        """
        scale, clip = per_z(network.units), max(map(abs, network.units))
        generator = torch.Generator().manual_seed(self.seed)
        found: dict[str, list[torch.Tensor]] = {}
        parts = images.split(DENOISED_AT_ONCE)
        for x in tqdm(parts, desc="slices", leave=False, disable=not self.progress):
            maps = {}
            if "reconstruction" in methods:
                healthy = labelled(network.denoise, HEALTHY)
                settings = (network.schedule, self.levels, self.steps, generator, clip)
                restored = reconstruct(healthy, x, *settings)
                maps["reconstruction"] = torch.stack([(x - own).abs() for own in restored]).mean(0)
            if "guidance" in methods:
                settings = (network.schedule, self.depth, self.steps, self.guidance, clip)
                other, same = counterfactual(network.denoise, x, *settings)
                maps |= {"guidance": (same - other).abs(), "published": (x - other).abs()}
                maps["inversion"] = (x - same).abs()
            for name, residual in maps.items():
                found.setdefault(name, []).append(residual * scale)
        return {name: torch.cat(values) for name, values in found.items()}

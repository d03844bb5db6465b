"""Translation of a head: extract the brain, translate its axial slices one by one, stack them again.

All slices start from one noise and the samplers are deterministic, so that neighbouring slices, which look alike,
become neighbours that look alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer

from synthzoo.diffusion.samplers import find_sampler
from synthzoo.errors import UserError
from synthzoo.inferers.brain_map import to_network
from synthzoo.instruments.brain.extraction import brain_mask, expect_brain
from synthzoo.phantoms.brain.painting import PEAK
from synthzoo.systems.monai_generative.translation_network import SliceTranslator
from synthzoo.systems.monai_generative.translation_phantoms import (
    AUTO,
    LEAST_BRAIN,
    SOURCES,
    TARGETS,
    slices_of,
    volume_of,
)

METHODS = ("controlnet", "regression")
BRIGHTEST = 98.0  # percentile of a brain that stands for its brightest tissue
MOST_SCALE = 2.0


class TranslationInferer(Inferer):
    """Translate heads from one contrast to another.

    Called with heads (B, 1, D, H, W) on the head grid at 2 mm, any intensity unit, and a `SliceTranslator`; returns
    (B, 1, D, H, W) in [0, 1], exactly 0 outside the brain.

    Args:
        source: contrast of the scan, one of `SOURCES`, or "auto" where it is not known.
        target: contrast that is wanted, one of `TARGETS`.
        method: "controlnet", or "regression" for the plain U-Net.
        sampler: name of a deterministic sampler.
        steps: of the sampler.
        control_scale: of the ControlNet's residuals; 0 leaves the scan out.
        copies: samples from noises of their own, whose mean is returned.
        seed: of the noise.
        batch_size: slices at once.
        shared_noise: False gives each slice a noise of its own.

    Raises:
        UserError: an unknown contrast or method, one contrast as both, a number out of range; no brain was found, or
            what was found does not look like one.
    """

    def __init__(
        self,
        source: str = "FLAIR",
        target: str = "T1w",
        method: str = METHODS[0],
        sampler: str = "dpm_solver",
        steps: int = 8,
        control_scale: float = 1.0,
        copies: int = 1,
        seed: int = 0,
        batch_size: int = 16,
        shared_noise: bool = True,
    ) -> None:
        if source not in (*SOURCES, AUTO):
            raise UserError(f"source = {source!r}: a scan to translate is {', '.join((*SOURCES, AUTO))}.")
        if target not in TARGETS:
            raise UserError(f"target = {target!r}: a scan is translated to {', '.join(TARGETS)}.")
        if source == target:
            raise UserError(f"target = {target!r}: source is {source}, too; say what the scan is, or another target.")
        if method not in METHODS:
            raise UserError(f"method = {method!r}: the known ones are {', '.join(METHODS)}.")
        if not 0 <= float(control_scale) <= MOST_SCALE:
            raise UserError(f"control_scale = {control_scale}: must be from 0 to {MOST_SCALE:g}.")
        if not 1 <= int(copies) <= 16:
            raise UserError(f"copies = {copies}: must be from 1 to 16.")
        find_sampler(sampler)
        self.source, self.target, self.method = source, target, method
        self.sampler, self.steps, self.control_scale = sampler, int(steps), float(control_scale)
        self.copies, self.seed, self.batch_size = int(copies), int(seed), int(batch_size)
        self.shared_noise = bool(shared_noise)

    def __call__(self, inputs: torch.Tensor, network: SliceTranslator, *args: Any, **kwargs: Any) -> torch.Tensor:
        heads = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        with torch.no_grad():  # the fit of the template takes gradients of its own
            return torch.stack([self.head(one[0].float().cpu().numpy(), network, heads.device)[None] for one in heads])

    def head(self, head: np.ndarray, network: SliceTranslator, device: torch.device) -> torch.Tensor:
        """Translation (D, H, W) of one head (D, H, W)."""
        mask = brain_mask(head, network.extractor, device)
        expect_brain(head, mask)
        _, _, (place, inside) = to_network(head, mask, network.grid)
        volume = torch.zeros(network.grid, device=device)
        volume[inside] = torch.from_numpy(in_unit(head, mask)[place]).to(device)
        out = torch.zeros(head.shape, device=device)
        out[place] = self.volume(volume, network)[inside]
        return out

    def volume(self, volume: torch.Tensor, network: SliceTranslator) -> torch.Tensor:
        """Translation (X, Y, Z) of a brain (X, Y, Z) in [0, 1], 0 outside, as `in_unit` gives it."""
        slices = slices_of(volume)
        filled = (slices > 0).flatten(1).sum(1) >= LEAST_BRAIN
        out = torch.zeros_like(slices)
        if filled.any():
            out[filled] = self.translate(slices[filled], network)
        return volume_of(out)

    def translate(
        self,
        slices: torch.Tensor,
        network: SliceTranslator,
        sources: torch.Tensor | None = None,
        targets: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Slices (N, 1, H, W) in [0, 1] in the target contrast, 0 where they are 0.

        Args:
            sources, targets: contrasts (N,) by their numbers; None takes those of the inferer.
        """
        count, device = len(slices), slices.device
        sources = self._all(count, (*SOURCES, AUTO).index(self.source), device) if sources is None else sources
        targets = self._all(count, TARGETS.index(self.target), device) if targets is None else targets
        generator = torch.Generator().manual_seed(self.seed)
        shape = (self.copies, 1 if self.shared_noise else count, *network.latent_shape)
        noise = torch.randn(shape, generator=generator).expand(-1, count, -1, -1, -1).to(device)
        found = [
            self.part(slices[rows], network, sources[rows], targets[rows], noise[:, rows])
            for rows in torch.arange(count, device=device).split(self.batch_size)
        ]
        return torch.cat(found).clamp(0, 1) * (slices > 0)

    def part(
        self,
        slices: torch.Tensor,
        network: SliceTranslator,
        sources: torch.Tensor,
        targets: torch.Tensor,
        noise: torch.Tensor,
    ) -> torch.Tensor:
        """Translations (N, 1, H, W), the mean over noises (copies, N, C, h, w), not clamped."""
        if self.method == "regression":
            return network.regress(slices, sources, targets)
        denoise = network.controlled(slices, sources, targets, self.control_scale)
        sample = find_sampler(self.sampler)
        made = [network.decode(sample(denoise, one, network.schedule, self.steps)) for one in noise]
        return torch.stack(made).mean(0)

    @staticmethod
    def _all(count: int, number: int, device: torch.device) -> torch.Tensor:
        return torch.full((count,), number, dtype=torch.long, device=device)


def in_unit(head: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Head (D, H, W) of any unit as the sources of phantoms are: its brightest tissue at `PEAK`, 0 outside the mask."""
    level = max(float(np.percentile(head[mask], BRIGHTEST)), 1e-6)
    inside = np.clip(head / level * PEAK, 1e-3, 1)  # 0 is outside
    return np.where(mask, inside, 0).astype(np.float32)

"""Masks of a concept in images: weak ones by attention, refined ones by removal, final ones by the segmenter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from synthzoo.errors import UserError
from synthzoo.inferers.word_attention import WordAttention
from synthzoo.networks.cross_attention import ALL
from synthzoo.systems.foreground_background.network import ConceptNetwork
from synthzoo.systems.foreground_background.removal import AGAINST, inpaint, near, refined_masks, to_latents
from synthzoo.systems.foreground_background.windows import mixture_masks, scaled, windows_of

AUTO = "auto"
STAGES = (AUTO, "trained", "refined", "weak")


class ConceptInferer(WordAttention):
    """Maps and masks of a concept over images.

    Args:
        concept: a word, in whatever case; its own tokens are read in the prompt of the network.
        stage: "trained" asks the segmenter, which needs a concept that it was trained on; "weak" reads the attention;
            "refined" removes the object, too; "auto" takes "trained" where that can be, else "refined".
        layers, timesteps, seed: see `WordAttention`.
        steps: of the removal.
        dilate: latents by which the weak mask grows before the removal; it made small findings worse.
        against: "reconstruction" or, as published, "image": what the removal is compared with.
        composite: away from what was painted, a background is the image as the autoencoder gives it back; False takes
            all of it from the painted latents, as published, whose decoder shifts pixels far away, too.
        threshold: of the segmenter's probability.
        least_separation: masks whose map splits less clearly than that are left empty, as the concept is not there.
        fit: how images were brought to the grid, see `synthzoo.transforms.radiograph_grid.place`.
        chunk: images at once.

    Raises:
        UserError: an unknown stage or comparison, a threshold outside of 0 to 1.
    """

    def __init__(
        self,
        concept: str,
        stage: str = AUTO,
        layers: str | Sequence[str] = ALL,
        timesteps: Sequence[int] | None = None,
        seed: int = 0,
        steps: int = 50,
        dilate: int = 0,
        against: str = "reconstruction",
        composite: bool = True,
        threshold: float = 0.5,
        least_separation: float = 0.0,
        fit: str = "pad",
        chunk: int = 8,
    ) -> None:
        super().__init__(layers, timesteps, seed)
        if stage not in STAGES:
            raise UserError(f"stage = {stage!r}: must be {', '.join(STAGES)}.")
        if against not in AGAINST:
            raise UserError(f"against = {against!r}: must be {' or '.join(AGAINST)}.")
        if not 0 <= float(threshold) <= 1:
            raise UserError(f"threshold = {threshold}: must lie between 0 and 1.")
        self.concept = " ".join(str(concept).lower().split())
        self.stage, self.steps, self.dilate = stage, int(steps), int(dilate)
        self.composite = bool(composite)
        self.against, self.threshold, self.least_separation = against, float(threshold), float(least_separation)
        self.fit, self.chunk = fit, max(1, int(chunk))

    def stage_for(self, network: ConceptNetwork, concept: str | None = None) -> str:
        """The stage that a concept gets.

        Raises:
            UserError: "trained" was asked for, and the segmenter does not know the concept.
        """
        concept = concept or self.concept
        known = network.channel(concept) is not None
        if self.stage == "trained" and not known:
            raise UserError(
                f"concept is '{concept}', but the segmenter was trained on {', '.join(network.concepts) or 'none'}: "
                "refined and weak masks can be made of it."
            )
        return ("trained" if known else "refined") if self.stage == AUTO else self.stage

    @torch.inference_mode()
    def __call__(
        self,
        inputs: torch.Tensor,
        network: ConceptNetwork,
        shapes: torch.Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, torch.Tensor]:
        """Images (B, bands, S, S) in [0, 1] -> "pred" map and "mask", (B, 1, S, S) in [0, 1], "separation" (B,).

        After a removal there is "background", too, (B, bands, S, S), the images without the concept.

        Args:
            inputs: images.
            network: trained.
            shapes: int (B, 2), height and width of the photographs before they were brought to the grid; None where
                they fill it.
        """
        images = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        parts = []
        for first in range(0, len(images), self.chunk):
            part = slice(first, first + self.chunk)
            parts.append(self.segment(images[part], network, None if shapes is None else shapes[part]))
        return {name: torch.cat([one[name] for one in parts]) for name in parts[0]}

    def segment(
        self,
        images: torch.Tensor,
        network: ConceptNetwork,
        shapes: torch.Tensor | None = None,
        concept: str | None = None,
    ) -> dict[str, torch.Tensor]:
        """What `__call__` returns of one chunk, of any concept."""
        concept = concept or self.concept
        stage, windows = self.stage_for(network, concept), windows_of(shapes, len(images), images.shape[-1], self.fit)
        if stage == "trained":
            heat = network(images)[:, network.channel(concept)][:, None].float().cpu()
            heat = torch.stack([_within(one, window) for one, window in zip(heat, windows)])
            return {
                "pred": heat,
                "mask": (heat >= self.threshold).float(),
                "separation": torch.full((len(heat),), -1.0),
            }
        latents = network.encode(images)
        heat = scaled(self.heat(latents, network, concept, tuple(images.shape[-2:])), windows)
        mask, separation = mixture_masks(heat, windows)
        mask = mask * (separation >= self.least_separation)[:, None, None, None]
        found = {"pred": heat, "mask": mask, "separation": separation}
        return found if stage == "weak" else {**found, **self.remove(images, latents, mask, network, windows)}

    def heat(self, latents: torch.Tensor, network: ConceptNetwork, concept: str, size: tuple[int, int]) -> torch.Tensor:
        """Attention to a concept, not scaled, (B, 1, *size)."""
        prompts = [network.prompt_of(concept)] * len(latents)
        maps = self.attention(latents, prompts, network, [concept.split()] * len(latents))
        return F.interpolate(maps[:, None], size, mode="bilinear")

    def remove(
        self, images: torch.Tensor, latents: torch.Tensor, weak: torch.Tensor, network: ConceptNetwork, windows: list
    ) -> dict[str, torch.Tensor]:
        """The refined "mask" and the "background", the images without what the weak masks (B, 1, S, S) hold."""
        paint = to_latents(weak, tuple(latents.shape[-2:]), self.dilate).to(latents)
        denoise = network.guided(network.context([network.background] * len(images)))
        removed = inpaint(denoise, latents, paint, network.schedule, self.steps, self.seed)
        background, restored = (network.decode(z).float().clamp(0, 1).cpu() for z in (removed, latents))
        if self.composite:
            background = torch.where(near(paint, tuple(images.shape[-2:])).cpu() > 0, background, restored)
        before = images.cpu() if self.against == "image" else restored
        difference = (before - background).abs().mean(1, keepdim=True)
        return {"mask": refined_masks(difference, weak, windows), "background": background}


def _within(heat: torch.Tensor, window: tuple[slice, slice]) -> torch.Tensor:
    found = torch.zeros_like(heat)
    where = (slice(None), *window)
    found[where] = heat[where]
    return found

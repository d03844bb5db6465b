"""Label maps by request, or as given, and the image painted on them in the style of a reference slice."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import Inferer

from synthzoo.diffusion.guidance import guided
from synthzoo.diffusion.samplers import find_sampler
from synthzoo.errors import UserError
from synthzoo.networks.label_to_image import LabelToImage
from synthzoo.phantoms.brain.label_maps import CLASSES, VALUES

LEAST_SHARE = 0.075  # of brain in a voxel, below which it is background, as published


class LabelToImageInferer(Inferer):
    """Samples label maps, or takes those that are given, and paints them.

    Args:
        style: slice (1, h, w) in [0, 1], see `synthzoo.datasets.brain.styles.read_style`; None paints in the mean
            style of the prior.
        sampler: "dpm_solver" or "ddim".
        steps: network calls for each label map.
        guidance: weight of classifier-free guidance; 1 switches it off.
        voxel_ml: of the label maps, for the volumes that are measured in them.

    Raises:
        UserError: an unknown sampler, or steps below 1.
    """

    def __init__(
        self,
        style: torch.Tensor | None = None,
        sampler: str = "dpm_solver",
        steps: int = 20,
        guidance: float = 1.5,
        voxel_ml: float = 0.008,
    ) -> None:
        super().__init__()
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise UserError(f"steps = {steps!r}: the sampler takes an integer of at least 1.")
        self.style, self.sampler, self.sampler_name = style, find_sampler(sampler), sampler
        self.steps, self.guidance, self.voxel_ml = steps, float(guidance), float(voxel_ml)

    @torch.inference_mode()
    def __call__(
        self, inputs: torch.Tensor, network: LabelToImage, conditions: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> dict[str, Any]:
        """Noise (B, C, ...) with conditions (B, K) in user units, or label maps (B, len(CLASSES), ...).

        Returns:
            "pred" image (B, 1, ...) in [0, 1], "labels" values of `VALUES` (B, 1, ...), "measured" name -> mL (B,).
        """
        inputs = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        if tuple(inputs.shape[1:]) == network.latent_shape:
            maps = self.sample(inputs, network, conditions)
        else:
            maps = inputs.float()
        maps = cleaned(maps)
        code = self.code(network, len(maps))
        image = network.painter(maps, code).float().clamp(0, 1)
        return {"pred": image, "labels": label_values(maps), "measured": self.volumes(maps)}

    def sample(self, noise: torch.Tensor, network: LabelToImage, conditions: torch.Tensor | None) -> torch.Tensor:
        """Label maps (B, K, ...) of sum 1 from noise (B, C, ...) and conditions (B, K), NaN where left out."""
        if conditions is None:
            conditions = torch.full((len(noise), len(network.conditions)), float("nan"), device=noise.device)
        denoise = guided(network.denoise, conditions, self.guidance)
        return network.decode(self.sampler(denoise, noise, network.schedule, self.steps)).float()

    def code(self, network: LabelToImage, count: int) -> torch.Tensor:
        """The style's code, (count, code_size)."""
        painter = network.painter
        device = next(painter.parameters()).device
        if self.style is None:
            return torch.zeros(count, painter.code_size, device=device)
        return painter.style(self.style[None].to(device))[0].expand(count, -1)

    def volumes(self, maps: torch.Tensor) -> dict[str, torch.Tensor]:
        """Class_ml -> millilitres (B,) in label maps, the background left out."""
        sums = maps.flatten(2).sum(2) * self.voxel_ml
        return {f"{name}_ml": sums[:, number] for number, name in enumerate(CLASSES) if number}


def cleaned(maps: torch.Tensor) -> torch.Tensor:
    """Label maps (B, K, ...) of sum 1 in which a voxel with hardly any brain is background alone."""
    outside = maps[:, :1] > 1 - LEAST_SHARE
    alone = torch.zeros_like(maps)
    alone[:, 0] = 1
    return torch.where(outside, alone, maps / maps.sum(1, keepdim=True))


def label_values(maps: torch.Tensor) -> torch.Tensor:
    """The written values, float (B, 1, ...), of the classes with the largest shares."""
    values = torch.tensor([VALUES[name] for name in CLASSES], device=maps.device)
    return values[maps.argmax(1, keepdim=True)].float()

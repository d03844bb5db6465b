"""Label maps by request, or as given, and the image painted on them in the style of a reference slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from monai.inferers import Inferer

from synthzoo.diffusion.guidance import guided
from synthzoo.diffusion.samplers import find_sampler
from synthzoo.errors import UserError
from synthzoo.inferers.synthesis import own_stream
from synthzoo.networks.label_to_image import LabelToImage
from synthzoo.phantoms.brain.label_maps import CLASSES, VALUES

LEAST_SHARE = 0.075  # of brain in a voxel, below which it is background, as published


class LabelToImageInferer(Inferer):
    """Samples label maps, or takes those that are given, and paints them.

    Args:
        style: slice (1, h, w) in [0, 1], see `synthzoo.datasets.brain.styles.read_style`, or key -> slice where an
            image is to be painted for each; None paints in the mean style of the prior.
        sampler: "dpm_solver" or "ddim".
        steps: network calls for each label map.
        guidance: weight of classifier-free guidance; 1 switches it off.
        eta: share of fresh noise of ddim, 0 to 1, see `synthzoo.inferers.synthesis.SynthesisInferer`.
        voxel_ml: of the label maps, for the volumes that are measured in them.
        classes: name of each channel of the label maps; the first is the background.
        values: written value of each; None takes ours, and the channel's number for others.

    Raises:
        UserError: an unknown sampler, steps below 1, an eta that is not used.
    """

    def __init__(
        self,
        style: torch.Tensor | Mapping[str, torch.Tensor] | None = None,
        sampler: str = "dpm_solver",
        steps: int = 20,
        guidance: float = 1.5,
        eta: float = 0.0,
        voxel_ml: float = 0.008,
        classes: Sequence[str] = CLASSES,
        values: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise UserError(f"steps = {steps!r}: the sampler takes an integer of at least 1.")
        self.styles = MappingProxyType(dict(style) if isinstance(style, Mapping) else {"pred": style})
        self.sampler, self.sampler_name = find_sampler(sampler), sampler
        self.steps, self.guidance, self.eta, self.voxel_ml = steps, float(guidance), float(eta), float(voxel_ml)
        if not 0 <= self.eta <= 1 or (self.eta and sampler != "ddim"):
            raise UserError(f"eta = {eta!r} with sampler {sampler}: it lies between 0 and 1, and only ddim takes it.")
        self.classes = tuple(classes)
        self.values = tuple(values or (VALUES.get(name, number) for number, name in enumerate(self.classes)))

    @torch.inference_mode()
    def __call__(
        self, inputs: torch.Tensor, network: LabelToImage, conditions: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> dict[str, Any]:
        """Noise (B, C, ...) with conditions (B, K) in user units, or label maps (B, len(CLASSES), ...).

        Returns:
            "pred" image (B, 1, ...) in [0, 1], and one under the key of each further style; "dseg" values of `VALUES`
            (B, 1, ...); "measured" name -> mL (B,).
        """
        inputs = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        if tuple(inputs.shape[1:]) == network.latent_shape:
            maps = self.sample(inputs, network, conditions)
        else:
            maps = inputs.float()
        maps = cleaned(maps)
        images = {key: self.paint(maps, network, style) for key, style in self.styles.items()}
        return {**images, "dseg": self.written(maps), "measured": self.volumes(maps)}

    def paint(self, maps: torch.Tensor, network: LabelToImage, style: torch.Tensor | None) -> torch.Tensor:
        """Images (B, 1, ...) in [0, 1] of label maps (B, K, ...) in one style."""
        return network.painter(maps, self.code(network, style, len(maps))).float().clamp(0, 1)

    def sample(self, noise: torch.Tensor, network: LabelToImage, conditions: torch.Tensor | None) -> torch.Tensor:
        """Label maps (B, K, ...) of sum 1 from noise (B, C, ...) and conditions (B, K), NaN where left out."""
        if conditions is None:
            conditions = torch.full((len(noise), len(network.conditions)), float("nan"), device=noise.device)
        denoise = guided(network.denoise, conditions, self.guidance)
        options: dict[str, Any] = {}
        if self.eta:
            options = {"eta": self.eta, "generator": [own_stream(row) for row in noise]}
        return network.decode(self.sampler(denoise, noise, network.schedule, self.steps, **options)).float()

    def code(self, network: LabelToImage, style: torch.Tensor | None, count: int) -> torch.Tensor:
        """A style's code, (count, code_size)."""
        painter = network.painter
        device = next(painter.parameters()).device
        if style is None:
            return torch.zeros(count, painter.code_size, device=device)
        return painter.style(style[None].to(device))[0].expand(count, -1)

    def volumes(self, maps: torch.Tensor) -> dict[str, torch.Tensor]:
        """Class_ml -> millilitres (B,) in label maps, the background left out."""
        sums = maps.flatten(2).sum(2) * self.voxel_ml
        return {f"{name}_ml": sums[:, number] for number, name in enumerate(self.classes) if number}

    def written(self, maps: torch.Tensor) -> torch.Tensor:
        """The written values, float (B, 1, ...), of the classes with the largest shares."""
        return torch.tensor(self.values, device=maps.device)[maps.argmax(1, keepdim=True)].float()


def cleaned(maps: torch.Tensor) -> torch.Tensor:
    """Label maps (B, K, ...) of sum 1 in which a voxel with hardly any brain is background alone."""
    outside = maps[:, :1] > 1 - LEAST_SHARE
    alone = torch.zeros_like(maps)
    alone[:, 0] = 1
    return torch.where(outside, alone, maps / maps.sum(1, keepdim=True))

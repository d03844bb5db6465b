"""MAISI's networks (`monai.apps.generation.maisi`) in the places of a bundle's denoiser and conditions; names stay.

The U-Net takes a class label, the spacing and, in some releases, the upper and the lower region of the body, all
numbers but the label times 100 (Guo et al., WACV 2025, arXiv 2409.11169).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from synthzoo.errors import UserError

PERCENT = 100.0
REGIONS = 4


class ClassLabels(nn.Module):
    """One condition, an entry of a list, as the class label that a network was trained with.

    Args:
        labels: the network's label of each entry.
        null: label of a request that leaves the condition unset.
    """

    low: torch.Tensor

    def __init__(self, labels: Sequence[int], null: int = 0) -> None:
        super().__init__()
        self.labels, self.nothing = [int(label) for label in labels], int(null)
        self.register_buffer("low", torch.zeros(1), persistent=False)

    def __len__(self) -> int:
        return 1

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Positions in the list (B, 1), NaN where unset -> labels (B, 1)."""
        known = torch.tensor([*self.labels, self.nothing], dtype=values.dtype, device=values.device)
        place = torch.where(values.isnan(), torch.full_like(values, len(self.labels)), values)
        return known[place.long()]

    def null(self, batch: int) -> torch.Tensor:
        """The label (B, 1) of requests that leave it unset."""
        return torch.full((batch, 1), float(self.nothing), device=self.low.device)


class MaisiDenoiser(nn.Module):
    """MAISI's U-Net under a class label that comes as the context, and a spacing and regions that stay.

    Args:
        unet: `monai.apps.generation.maisi.networks.diffusion_model_unet_maisi.DiffusionModelUNetMaisi`.
        spacing_mm: of the decoded volume, three numbers, where the network takes it.
        top_region, bottom_region: four numbers that are 1 at head and neck, chest, abdomen or pelvis, where the network
            takes them.

    Raises:
        UserError: the network takes one of these and it is not given, or has another length.
    """

    def __init__(
        self,
        unet: nn.Module,
        spacing_mm: Sequence[float] | None = None,
        top_region: Sequence[float] | None = None,
        bottom_region: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.unet, self.shown = unet, {}
        for name, given, taken, length in (
            ("spacing", spacing_mm, unet.include_spacing_input, 3),
            ("top_region_index", top_region, unet.include_top_region_index_input, REGIONS),
            ("bottom_region_index", bottom_region, unet.include_bottom_region_index_input, REGIONS),
        ):
            if not taken:
                continue
            if given is None or len(given) != length:
                key = {"spacing": "spacing_mm"}.get(name, name.removesuffix("_index"))
                raise UserError(f"{key} is {given}: this network takes {length} numbers there.")
            self.shown[f"{name}_tensor"] = [PERCENT * float(value) for value in given]

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Latent (B, C, d, h, w), timesteps (B,), label (B, 1, 1) -> velocity or noise (B, C, d, h, w)."""
        more = {
            name: torch.tensor(value, dtype=x.dtype, device=x.device).expand(len(x), -1)
            for name, value in self.shown.items()
        }
        if self.unet.num_class_embeds is not None:
            more["class_labels"] = context[:, 0, 0].round().long()
        return self.unet(x, timesteps, **more)

"""D'ARTAGNAN as one network of a bundle: the twin generator, and the expert that reads the ejection fraction (EF).

Outside, EFs are percents; inside they are fractions. The frame discriminator is only needed in training and stays out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from synthzoo.errors import UserError
from synthzoo.networks.weights import expect_same_network, read_state
from synthzoo.systems.dartagnan.generator import SMALL, EFExpert, TwinGenerator

PART = "expert."


class CounterfactualTwin(nn.Module):
    """Clip -> the clip that the same patient would show with another EF.

    Args:
        frames: T, frames of a clip, even.
        image_size: side of a frame in pixels, even; a multiple of 4 where the generator answers with motions.
        fps: frames a second of the clips.
        ef: EF in percent that a plain call requests.
        generator: settings of `TwinGenerator`; None takes the small ones.
        expert: settings of `EFExpert`; None takes the small ones.
    """

    def __init__(
        self,
        frames: int = 16,
        image_size: int = 32,
        fps: float = 16.0,
        ef: float = 30.0,
        generator: Mapping[str, Any] | None = None,
        expert: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if frames % 2 or image_size % 2:
            raise UserError(
                f"network_def: frames = {frames} and image_size = {image_size}, but both must be even; add one."
            )
        self.frames, self.image_size, self.fps, self.ef = int(frames), int(image_size), float(fps), float(ef)
        self.generator = TwinGenerator(**(SMALL["generator"] if generator is None else generator))
        if image_size % self.generator.shrinks[-1]:
            raise UserError(f"network_def: image_size = {image_size}; a generator of motions takes a multiple of 4.")
        self.expert = EFExpert(**(SMALL["expert"] if expert is None else expert))

    def read_ef(self, clip: torch.Tensor) -> torch.Tensor:
        """EF of clips (B, 1, T, H, W) in percent by the expert, (B,), from 0 to 100."""
        return 100 * self.expert(clip).clamp(0, 1)

    def predict(
        self, clip: torch.Tensor, ef: torch.Tensor, requested: torch.Tensor, noise: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Factual reconstruction and counterfactual, each (B, 1, T, H, W) in [0, 1].

        Args:
            clip: (B, 1, T, H, W) in [0, 1].
            ef, requested: factual and requested-for EF in percent, (B,).
            noise: see `TwinGenerator.draw_noise`; None leaves it out.
        """
        noise = torch.ones((), dtype=clip.dtype, device=clip.device) if noise is None else noise
        return self.generator(clip, ef / 100, requested / 100, noise)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Clips (B, 1, T, H, W) in [0, 1] -> counterfactuals of the EF `ef`, without noise; same shape and range."""
        requested, branch = torch.full_like(image[:, 0, 0, 0, 0], self.ef / 100), self.generator.counterfactual
        own = self.expert(image).clamp(0, 1) if branch.answer == "motion" else None
        return branch.render(image, branch.decide(requested, image, torch.ones_like(requested[0]), own))


def start_twin(
    network: CounterfactualTwin, expert: str | Path, device: str | torch.device | None = None
) -> CounterfactualTwin:
    """A network whose generator is new and whose expert comes from the weights of the stage before.

    Args:
        network: with new weights.
        expert: state dict of a network with the same expert, such as `train_expert.json` writes.
        device: where the network is moved.

    Raises:
        UserError: the file is absent, damaged, or holds another expert.
    """
    state = {name.removeprefix(PART): value for name, value in read_state(expert).items() if name.startswith(PART)}
    if not state:
        raise UserError(f"{expert}: holds no expert; run train_expert.json first, or name its weights.")
    expect_same_network(network.expert, state, expert)
    network.expert.load_state_dict(state)
    return network if device is None else network.to(device)

"""The patch-adversarial half of stage one: a discriminator learns to tell images from their reconstructions.

critic        L = 1/2 mean (D(x) - 1)^2 + 1/2 mean D(x')^2         (least squares: Mao et al., ICCV 2017)
autoencoder   L = mean (D(x') - 1)^2                               per patch: Isola et al., CVPR 2017
"""

from __future__ import annotations

import torch
from monai.losses import PatchAdversarialLoss
from torch import nn


class PatchCritic(nn.Module):
    """A discriminator, its own objective, and its verdict for the autoencoder.

    Second entry of the trainer's `steps`, with `from_iteration` late, after an `AutoencoderObjective` that knows it:
    that one hands over its reconstruction. A module, so that its weights are in the checkpoint; never in the model.

    Args:
        discriminator: image -> list of features, the last one the score per patch, such as
            `monai.networks.nets.PatchDiscriminator`.
        warm_up: steps that it takes before the autoencoder hears it.
    """

    name = "critic"

    def __init__(self, discriminator: nn.Module, warm_up: int = 0) -> None:
        super().__init__()
        self.discriminator, self.warm_up = discriminator, int(warm_up)
        self.loss = PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.restored: torch.Tensor | None = None

    @property
    def is_heard(self) -> bool:
        """Whether the critic was trained for enough steps to judge."""
        return int(self.steps) > self.warm_up

    def verdict(self, restored: torch.Tensor) -> torch.Tensor:
        """Adversarial loss of a reconstruction (B, 1, D, H, W), a scalar that carries gradients."""
        return self.loss(self.discriminator(restored)[-1], target_is_real=True, for_discriminator=False)

    def remember(self, restored: torch.Tensor) -> None:
        """Keep the reconstruction of this iteration for the critic's own step."""
        self.restored = restored.detach()

    def forward(self, network: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        """`batch["image"]` (B, 1, D, H, W) -> "loss", "real", "fake": mean scores, which should stay apart but near."""
        restored, self.restored = self.restored, None
        if restored is None:
            with torch.no_grad():
                restored = network.autoencoder.decode(network.autoencoder.encode(batch["image"])[0])
        real = self.discriminator(batch["image"])[-1]
        fake = self.discriminator(restored)[-1]
        loss = 0.5 * (
            self.loss(real, target_is_real=True, for_discriminator=True)
            + self.loss(fake, target_is_real=False, for_discriminator=True)
        )
        self.steps += 1
        return {"loss": loss, "real": real.mean(), "fake": fake.mean()}

"""Loss of latent clips over discrete noise levels, beside a reference frame (EchoNet-Synthetic, arXiv 2406.00808).

loss = mean over clips and their real frames of (denoise(a_t z + s_t e, t, c, z_ref) - target)^2,   t uniform
"""

from __future__ import annotations

from typing import Any

import torch

from synthzoo.networks.conditions import drop_conditions
from synthzoo.objectives.clips import draw_frame, frame_weights, weighted_error


class ClipDiffusionObjective:
    """Denoising loss of a `ClipDenoiser` with a schedule.

    The batch has "latents" (B, C, T, h, w), normalised, and "conditions" (B, K) in user units, and may have "valid"
    (B,), the frames that are not padding, and "image" (B, C, h, w), the reference in place of a random frame.

    Args:
        part: name of the denoiser in the network; None: the network itself.
        takes_image: the denoiser has a reference frame.
        still_share: share of the steps in which the clip is a row of stills.
        noise_offset: standard deviation of a constant, one a clip and channel, that is added to the noise, so that
            the overall brightness is learnt in spite of a last level that is not all noise. Leave it at 0 where an
            image model is to share the reverse process.
        drop_each, drop_all: see `drop_conditions`.
    """

    def __init__(
        self,
        part: str | None = None,
        takes_image: bool = True,
        still_share: float = 0.0,
        noise_offset: float = 0.0,
        drop_each: float = 0.0,
        drop_all: float = 0.1,
    ) -> None:
        self.part, self.takes_image, self.still_share, self.noise_offset = part, takes_image, still_share, noise_offset
        self.drops = (drop_each, drop_all)
        self.name = part or "clips"

    def __call__(self, network: Any, batch: dict) -> dict[str, torch.Tensor]:
        """A batch as described above -> "loss"."""
        stage = network if self.part is None else getattr(network, self.part)
        z, valid, schedule = batch["latents"], batch.get("valid"), stage.schedule
        still = float(torch.rand(())) < self.still_share
        given: dict[str, Any] = {"still": True} if still else {}  # published networks have no such switch
        if self.takes_image:
            given["image"] = batch["image"] if "image" in batch else draw_frame(z, valid)
        noise = torch.randn_like(z)
        if self.noise_offset:
            noise = noise + self.noise_offset * torch.randn_like(z[:, :, :1, :1, :1])
        t = torch.randint(0, schedule.num_steps, (len(z),)).to(z.device)
        conditions = drop_conditions(batch["conditions"], *self.drops)
        prediction = stage.denoise(schedule.add_noise(z, noise, t), t, conditions, **given)
        return {"loss": weighted_error(prediction, schedule.target(z, noise, t), frame_weights(valid, z)).mean()}

"""Loss of clips over continuous noise levels (Karras et al. 2022), for stills and clips together (Ho et al. 2022).

    ln sigma ~ N(P_mean, P_std^2), one a clip;   x = y + sigma n
    loss = mean over clips of  weight(sigma)  mean over frames and pixels of (D(x) - y)^2

EchoDiffusion (Reynaud et al., MICCAI 2023) trains every fourth step with the parts that look along time left out, and
each stage of its cascade alone, on windows of the clip and a noisy small clip made from the real one.
"""

from __future__ import annotations

from typing import Any

import torch

from synthzoo.diffusion.cascade import grow_clip, low_resolution_noise, shrink_clip
from synthzoo.diffusion.edm import draw_sigmas, loss_weight, preconditioned
from synthzoo.networks.conditions import drop_conditions
from synthzoo.objectives.clips import cut, draw_frame, draw_windows, frame_weights, weighted_error


class EDMObjective:
    """Denoising loss of one stage, a `ClipDenoiser`.

    The batch has "video" (B, C, T, H, W) in [0, 1] and "conditions" (B, K) in user units, and may have "valid" (B,),
    the frames that are not padding; "image" (B, C, H, W) in [0, 1], the conditioning frame, in place of a random one
    of the clip; and "stills" (N, C, H, W) in [0, 1], further images, with "stills_conditions" (N, K) and
    "stills_image" (N, C, H, W).

    Args:
        part: name of the stage in the network; None: the network itself.
        shrink: [time, space], how far the clip is shrunk before this stage sees it.
        low: [time, space], how far the stage's own clip is shrunk to make its low-resolution input; None for none.
        window: pixels of a square window that is cut from clip, image and input, one a clip; None takes all.
        still_share: share of the steps in which the clip is a row of stills.
        stills_weight: of the further images in the loss.
        takes_image: the stage has a conditioning image.
        drop_each, drop_all: see `drop_conditions`; the image is never dropped.
        mean, deviation: of ln sigma.
    """

    def __init__(
        self,
        part: str | None = None,
        shrink: tuple[int, int] = (1, 1),
        low: tuple[int, int] | None = None,
        window: int | None = None,
        still_share: float = 0.25,
        stills_weight: float = 1.0,
        takes_image: bool = True,
        drop_each: float = 0.0,
        drop_all: float = 0.1,
        mean: float = -1.2,
        deviation: float = 1.2,
    ):
        self.part, self.shrink, self.low, self.window = part, tuple(shrink), low, window
        self.still_share, self.stills_weight, self.takes_image = still_share, stills_weight, takes_image
        self.drops, self.levels = (drop_each, drop_all), (mean, deviation)
        self.name = part or "edm"

    def __call__(self, network: Any, batch: dict) -> dict[str, torch.Tensor]:
        """A batch as described above -> "loss" and, where there are stills, "clips" and "stills" apart."""
        stage = network if self.part is None else getattr(network, self.part)
        still = float(torch.rand(())) < self.still_share
        clips = self._loss(stage, batch["video"], batch["conditions"], batch.get("image"), batch.get("valid"), still)
        if "stills" not in batch:
            return {"loss": clips}
        conditions = batch.get("stills_conditions")
        stills = batch["stills"]
        if conditions is None:
            conditions = torch.full((len(stills), len(stage.conditions)), float("nan"), device=stills.device)
        stills = self._loss(stage, stills[:, :, None], conditions, batch.get("stills_image"), None, True)
        return {"loss": clips + self.stills_weight * stills, "clips": clips, "stills": stills}

    def _loss(
        self,
        stage: Any,
        video: torch.Tensor,
        conditions: torch.Tensor,
        image: torch.Tensor | None,
        valid: torch.Tensor | None,
        still: bool,
    ) -> torch.Tensor:
        time, space = (1, self.shrink[1]) if video.shape[2] == 1 else self.shrink
        clip = shrink_clip(2 * video - 1, time, space)
        weights = frame_weights(valid, clip, time)
        given: dict[str, torch.Tensor] = {}
        if self.takes_image:
            known = None if valid is None else torch.as_tensor(valid)
            image = draw_frame(video, known) if image is None else image
            given["image"] = shrink_clip((2 * image - 1)[:, :, None], 1, space)[:, :, 0]
        if self.low is not None:
            by = (1 if clip.shape[2] == 1 else self.low[0], self.low[1])
            given["low"] = grow_clip(shrink_clip(clip, *by), clip.shape[2], clip.shape[-2:], by[0])
        if self.window is not None and self.window < max(clip.shape[-2:]):
            corners = draw_windows(tuple(clip.shape[-2:]), self.window, len(clip))
            clip = cut(clip, corners, self.window)
            given = {name: cut(value, corners, self.window) for name, value in given.items()}
        if self.low is not None:
            level = torch.rand(len(clip)).to(clip)
            given["low"], given["low_level"] = low_resolution_noise(
                given["low"], level, torch.randn_like(given["low"])
            )
        sigma = draw_sigmas(len(clip), *self.levels).to(clip)
        spread = float(stage.sigma_data)
        noisy = clip + sigma.reshape(-1, 1, 1, 1, 1) * torch.randn_like(clip)
        estimate = preconditioned(stage.denoise, spread)(
            noisy, sigma, drop_conditions(conditions, *self.drops), still=still, **given
        )
        return (loss_weight(sigma, spread) * weighted_error(estimate, clip, weights)).mean()

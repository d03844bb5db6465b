"""Loss of the stages of an `EchoCascade` over continuous noise levels (Karras et al. 2022; EchoDiffusion).

    ln sigma ~ N(P_mean, P_std^2), one a clip;   x = y + sigma n
    loss = mean over clips of  weight(sigma)  mean over frames and pixels of (D(x) - y)^2

EchoDiffusion (Reynaud et al., MICCAI 2023) trains every fourth step with the parts that look along time left out, and
each stage of its cascade alone, on windows of the clip and a noisy small clip made from the real one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from synthzoo.errors import UserError
from synthzoo.networks.conditions import drop_conditions
from synthzoo.networks.weights import load_weights
from synthzoo.objectives.clips import cut, draw_frame, draw_windows, frame_weights, weighted_error
from synthzoo.systems.echodiffusion.cascade import grow_clip, low_resolution_noise, shrink_clip
from synthzoo.systems.echodiffusion.edm import draw_sigmas, loss_weight, preconditioned
from synthzoo.systems.echodiffusion.network import PARTS, EchoCascade

MEASURED = 64  # clips that the spread of the data is measured on


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
    ) -> None:
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
            given["low"], given["low_level"] = low_resolution_noise(given["low"], level, torch.randn_like(given["low"]))
        sigma = draw_sigmas(len(clip), *self.levels).to(clip)
        spread = float(stage.sigma_data)
        noisy = clip + sigma.reshape(-1, 1, 1, 1, 1) * torch.randn_like(clip)
        estimate = preconditioned(stage.denoise, spread)(
            noisy, sigma, drop_conditions(conditions, *self.drops), still=still, **given
        )
        return (loss_weight(sigma, spread) * weighted_error(estimate, clip, weights)).mean()


class CascadeObjective(EDMObjective):
    """The denoising loss of one stage on rows with "video" (B, 1, T, S, S) in [0, 1] and "ef" (B,), a fraction."""

    def __call__(self, network: Any, batch: dict) -> dict[str, torch.Tensor]:
        """A batch as described above -> "loss"."""
        return super().__call__(network, {**batch, "conditions": 100 * batch["ef"].float().reshape(-1, 1)})


def start_stage(
    network: EchoCascade,
    part: str,
    clips: Dataset,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
) -> EchoCascade:
    """A network whose stage `part` is about to be trained: the spread of its data is measured on the first clips.

    Args:
        network: with new weights.
        part: "base" or "upsampling".
        clips: rows with "video" (1, T, S, S) in [0, 1].
        weights: state dict of the stage before, which is loaded first; None starts from new weights.
        device: where the network is moved.

    Raises:
        UserError: another part, and what `load_weights` says.
    """
    if part not in PARTS:
        raise UserError(f"part = {part!r}: the stages are {', '.join(PARTS)}.")
    if weights:
        load_weights(network, weights)
    rows = torch.stack([clips[row]["video"] for row in range(min(MEASURED, len(clips)))])
    by = (network.time, network.space) if part == "base" else (1, 1)
    getattr(network, part).fit(shrink_clip(2 * rows - 1, *by))
    if os.environ.get("RANK", "0") == "0":
        spread = float(getattr(network, part).sigma_data)
        print(f"{part}: the data spread by {spread:.3f} about their mean.", file=sys.stderr)
    return network if device is None else network.to(device)

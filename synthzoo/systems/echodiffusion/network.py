"""EchoDiffusion as one network of a bundle: the denoiser of small clips and the one that adds frames and pixels.

Outside, ejection fractions (EF) are percents and clips lie in [0, 1]; the denoisers see clips in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from synthzoo.errors import UserError
from synthzoo.networks.clip_denoiser import ClipDenoiser
from synthzoo.networks.conditions import ConditionNormaliser
from synthzoo.networks.space_time import SpaceTimeUNet

PARTS = ("base", "upsampling")


class EchoCascade(nn.Module):
    """A frame and an EF -> a clip: `base` draws it small and at a low rate, `upsampling` brings it to full size.

    Args:
        frames: T, frames of a clip, a multiple of `time`.
        image_size: side of a frame in pixels, a multiple of `space`.
        fps: frames a second of the clips.
        base: settings of its `SpaceTimeUNet`.
        upsampling: the same of the second stage, which sees the low-resolution clip beside.
        time, space: how much longer and larger the second stage makes a clip.
        channels: of a frame, 1 grey or 3 colours.
        ef: EF in percent that a plain call requests.
        steps: of each stage in a plain call.
        preview: (network, frames (B, C, S, S), EF (B,) in percent, noise by name, steps) -> clips, the short sampler
            behind `forward`, such as `synthzoo.systems.echodiffusion.sampler.preview`.

    Raises:
        UserError: frames or image_size that the second stage cannot reach.
    """

    def __init__(
        self,
        frames: int = 16,
        image_size: int = 32,
        fps: float = 16.0,
        base: Mapping[str, Any] | None = None,
        upsampling: Mapping[str, Any] | None = None,
        time: int = 2,
        space: int = 2,
        channels: int = 1,
        ef: float = 50.0,
        steps: int = 4,
        preview: Callable | None = None,
    ) -> None:
        super().__init__()
        for name, value, by in (("frames", frames, time), ("image_size", image_size, space)):
            if value % by:
                raise UserError(
                    f"network_def: {name} = {value}, but must be a multiple of {by}, the step to full size."
                )
        self.frames, self.image_size, self.fps = int(frames), int(image_size), float(fps)
        self.time, self.space, self.channels = int(time), int(space), int(channels)
        self.ef, self.steps, self.preview = float(ef), int(steps), preview
        given = {"in_channels": channels, "image_channels": channels, "conditions": 1}
        self.base = ClipDenoiser(SpaceTimeUNet(**given | dict(base or {})), ConditionNormaliser([0], [100]))
        self.upsampling = ClipDenoiser(
            SpaceTimeUNet(**given | {"low_channels": channels} | dict(upsampling or {})),
            ConditionNormaliser([0], [100]),
        )
        stream = torch.Generator().manual_seed(0)
        for name, shape in self.noise_shapes().items():  # one fixed draw for `forward`, which has to be a function
            self.register_buffer(f"{name}_noise", torch.randn(1, *shape, generator=stream), persistent=False)

    def noise_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes (C, T, H, W) of the noise of one clip: start of the base, on the small clip, start of the second."""
        whole = (self.channels, self.frames, self.image_size, self.image_size)
        small = (self.channels, self.frames // self.time, self.image_size // self.space, self.image_size // self.space)
        return {"base": small, "low": whole, "upsampling": whole}

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Frames (B, C, S, S) in [0, 1] -> clips (B, C, T, S, S) in [0, 1] of the EF `ef`, in few steps, for tools."""
        batch = image.shape[0]
        noise = {name: getattr(self, f"{name}_noise").expand(batch, -1, -1, -1, -1) for name in self.noise_shapes()}
        requested = torch.full((batch,), self.ef, dtype=image.dtype, device=image.device)
        return self.preview(self, image, requested, noise, self.steps)

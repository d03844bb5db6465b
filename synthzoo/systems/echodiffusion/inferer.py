"""Videos from one frame and an ejection fraction (EF), by a cascade of two diffusion models."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from tqdm import tqdm

from synthzoo.errors import UserError
from synthzoo.instruments.echo.ef import measure_ef
from synthzoo.systems.echodiffusion.sampler import sample_cascade

MOST_DRAWS = 16


class CascadeInferer(Inferer):
    """The video of the patient of a frame with the EF requested.

    Called with frames (B, 1, S, S) in [0, 1] and the network, an `EchoCascade`; returns (B, 1, T, S, S) in [0, 1]. The
    noise of a video comes from its frame, the seed and the number of the draw, so that neither the batch nor the order
    of the inputs changes it.

    Args:
        ef: requested, percent.
        steps, upsampling_steps: noise levels of the two stages, each of two network calls but the last.
        guidance, upsampling_guidance: weight of the EF; 1 takes it as learned, 0 leaves it out.
        draws: videos drawn for each frame, of which the one is kept whose EF the regressor reads closest to that
            requested
            for: the published feedback loop.
        low_level: 0 to 1, noise on the small clip that the second stage sees.
        churn: share of noise that is added and removed again on the way, see `synthzoo.systems.echodiffusion.edm.heun`.
        threshold: of dynamic thresholding, see `synthzoo.systems.echodiffusion.edm.thresholded`; None leaves it out.
        seed: of the noise.
        progress: show a bar over the steps.

    Raises:
        UserError: a setting out of its range.
    """

    def __init__(
        self,
        ef: float = 30.0,
        steps: int = 32,
        upsampling_steps: int = 16,
        guidance: float = 2.0,
        upsampling_guidance: float = 1.0,
        draws: int = 1,
        low_level: float = 0.2,
        churn: float = 0.0,
        threshold: float | None = None,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        super().__init__()
        for name, value, most in (
            ("steps", steps, 1000),
            ("upsampling_steps", upsampling_steps, 1000),
            ("draws", draws, MOST_DRAWS),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise UserError(f"{name} is {value!r}, but must be an integer from 1 to {most}.")
        for name, value, most in (
            ("guidance", guidance, 20),
            ("upsampling_guidance", upsampling_guidance, 20),
            ("low_level", low_level, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
                raise UserError(f"{name} is {value!r}, but must be a number from 0 to {most}.")
        if threshold is not None and not 0 < threshold <= 1:
            raise UserError(f"threshold is {threshold!r}, but must be a share from 0 to 1, or null for none.")
        self.ef, self.draws, self.seed, self.progress = float(ef), draws, int(seed), progress
        self.settings: dict[str, Any] = {
            "steps": (steps, upsampling_steps),
            "guidance": (float(guidance), float(upsampling_guidance)),
            "low_level": float(low_level),
            "churn": float(churn),
            "threshold": threshold,
        }

    def __call__(self, inputs: torch.Tensor, network: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Frames (B, 1, S, S) in [0, 1] -> videos (B, 1, T, S, S) in [0, 1]."""
        frames = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        requested = torch.full((len(frames),), self.ef, device=frames.device)
        videos = [self.predict(frames, requested, network, draw) for draw in range(self.draws)]
        if self.draws == 1:
            return videos[0]
        return closest(videos, requested)[0]

    def predict(
        self, frames: torch.Tensor, ef: torch.Tensor, network: Any, draw: int = 0, **settings: Any
    ) -> torch.Tensor:
        """One draw of videos (B, 1, T, S, S) for frames (B, 1, S, S) and EFs in percent (B,), NaN where left out.

        Args:
            draw: its number; another one draws other noise.
            settings: replace those of the inferer, as `sample_cascade` names them.
        """
        streams = [self._stream(frame, draw) for frame in frames]
        shapes = network.noise_shapes()
        drawn = [{name: torch.randn(shape, generator=own) for name, shape in shapes.items()} for own in streams]
        noise = {name: torch.stack([one[name] for one in drawn]).to(frames) for name in shapes}
        chosen = {**self.settings, **settings}
        if chosen["churn"]:
            chosen["generator"] = streams
        if self.progress:
            chosen["progress"] = lambda steps: tqdm(steps, desc="sampling", leave=False)
        with torch.inference_mode():
            return sample_cascade(network, frames, ef.to(frames), noise, **chosen)

    def _stream(self, frame: torch.Tensor, draw: int) -> torch.Generator:
        """The source of noise that belongs to a frame (1, S, S)."""
        text = frame.detach().cpu().float().contiguous().numpy().tobytes() + f"{self.seed} {draw}".encode()
        return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1)


def closest(videos: list[torch.Tensor], requested: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
    """Of several draws (B, 1, T, S, S) for each row that with the EF closest to `requested` (B,) in percent.

    The regressor judges: an instrument that no loss knows.

    Returns:
        videos (B, 1, T, S, S), and the number of the chosen draw (B,).
    """
    read = np.stack([100 * measure_ef(video)["regressor"] for video in videos])
    chosen = np.abs(read - requested.cpu().numpy()[None]).argmin(0)
    return torch.stack([videos[draw][row] for row, draw in enumerate(chosen)]), chosen

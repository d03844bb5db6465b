"""What could do the work of a generator of echo videos alone: rules that were never trained, as rows beside it.

held      a frame stands still: all that is asked of a frame, and no motion
moved     a frame and the motion of the training video of the nearest ejection fraction (EF) about its mean frame
mean      the mean of the training videos, whatever is requested
nearest   the training video of the nearest EF: a copy, which only the distance to training videos gives away
gaussian  clips drawn from a normal distribution in closed form whose mean follows the EF
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from synthzoo.evaluation.base import Found
from synthzoo.evaluation.echo import INSTRUMENTS, ef_agreement
from synthzoo.instruments.echo.ef import measure_ef
from synthzoo.instruments.echo.fidelity import frechet, motion_energy
from synthzoo.metrics.memorisation import nearest_distances
from synthzoo.networks.linear_denoiser import LatentGaussian

MODES = 64  # directions of the closed form with a variance of their own
TITLE = "What could do the work alone"
COLUMNS = ["videos", *(f"R2 by {name}" for name in INSTRUMENTS), "frames", "clips", "motion", "nearest training video"]


def held(frames: torch.Tensor, length: int) -> torch.Tensor:
    """Videos (N, 1, T, S, S) of T times the same frame (N, 1, S, S)."""
    return frames[:, :, None].repeat(1, 1, length, 1, 1)


def moved(frames: torch.Tensor, videos: torch.Tensor) -> torch.Tensor:
    """Videos (N, 1, T, S, S) in [0, 1] of frames (N, 1, S, S) to which other videos' change about their mean is
    added."""
    return (frames[:, :, None] + videos - videos.mean(2, keepdim=True)).clamp(0, 1)


def scaled(videos: torch.Tensor, factors: np.ndarray) -> torch.Tensor:
    """Videos (N, 1, T, S, S) in [0, 1] whose change about their mean frame is multiplied, by factors (N,)."""
    mean = videos.mean(2, keepdim=True)
    return (mean + torch.tensor(factors, dtype=videos.dtype).reshape(-1, 1, 1, 1, 1) * (videos - mean)).clamp(0, 1)


def nearest_ef(requested: np.ndarray, known: np.ndarray) -> np.ndarray:
    """For each EF (N,) the number of the nearest of those known (M,), (N,)."""
    return np.abs(np.asarray(requested)[:, None] - np.asarray(known)[None]).argmin(1)


class ClipGaussian:
    """Normal distribution of clips in closed form, with a mean that follows the EF and its square.

    Args:
        clips: (N, C, T, h, w), of videos or of their latents.
        ef: theirs, fractions (N,).
        modes: see `LatentGaussian`.
    """

    def __init__(self, clips: torch.Tensor, ef: np.ndarray, modes: int = MODES) -> None:
        self.mean = clips.mean(0)
        self.gaussian = LatentGaussian(clips.shape[1:], 1, min(modes, len(clips) // 2), None)
        self.gaussian.fit(self.mean, clips - self.mean, self.context(ef))

    @staticmethod
    def context(ef: np.ndarray) -> torch.Tensor:
        """EFs as the closed form takes them, (N, 1)."""
        return torch.tensor(np.asarray(ef), dtype=torch.float32)[:, None]

    def draw(self, ef: np.ndarray, seed: int = 0) -> torch.Tensor:
        """Clips (N, C, T, h, w) of EFs as fractions (N,)."""
        return self.mean + self.gaussian.draw(self.context(ef), torch.Generator().manual_seed(seed))


@dataclass
class Known:
    """Training videos that the rules may look at.

    Attributes:
        videos: (N, 1, T, S, S) in [0, 1].
        ef: theirs, fractions (N,).
    """

    videos: torch.Tensor
    ef: np.ndarray

    @classmethod
    def first(cls, rows: Any, count: int | None = None) -> Known:
        """The first `count` videos, or all, of training rows with "video" and "ef"."""
        read = [rows[row] for row in range(len(rows) if count is None else min(count, len(rows)))]
        return cls(torch.stack([row["video"] for row in read]), np.array([float(row["ef"]) for row in read]))

    def answers(
        self,
        frames: torch.Tensor,
        requested: np.ndarray,
        drawn: Callable[[np.ndarray], torch.Tensor],
        frame: str,
        closed_form: str = "normal distribution of training latents",
    ) -> dict[str, tuple[str, torch.Tensor]]:
        """Key -> what the table calls a rule, and its videos (N, 1, T, S, S) of the EFs requested, fractions (N,).

        Args:
            frames: (N, 1, S, S) that the generator has or gives.
            drawn: EFs -> videos of the closed form.
            frame, closed_form: what the table calls them.
        """
        near = self.videos[nearest_ef(requested, self.ef)]
        mean = self.videos.mean(0, keepdim=True).repeat(len(frames), 1, 1, 1, 1)
        return {
            "held": (f"{frame} held", held(frames, self.videos.shape[2])),
            "moved": (f"{frame}, motion about the mean frame of the training video of nearest EF", moved(frames, near)),
            "mean": ("mean of the training videos", mean),
            "nearest": ("training video of nearest EF (a copy)", near),
            "gaussian": (f"{closed_form}, mean by EF, closed form", drawn(requested)),
        }


def drawn_motion(known: Known, own: torch.Tensor, frames: torch.Tensor) -> Callable[[np.ndarray], torch.Tensor]:
    """EFs as fractions (N,) -> videos (N, 1, T, S, S) in [0, 1]: frames, and what `ClipGaussian` draws beside them.

    Args:
        known: videos; the distribution is that of how they differ from a frame of theirs.
        own: that frame of each, (M, 1, S, S).
        frames: (N, 1, S, S).
    """
    gaussian = ClipGaussian(known.videos - own[:, :, None], known.ef)
    return lambda ef: (frames[:, :, None] + gaussian.draw(ef)).clamp(0, 1)


@torch.inference_mode()
def drawn_latents(network: torch.nn.Module, known: Known, batch: int = 16) -> Callable[[np.ndarray], torch.Tensor]:
    """EFs as fractions (N,) -> videos (N, 1, T, S, S) in [0, 1] whose latents are drawn by `ClipGaussian`.

    Args:
        network: `LatentImages` of frames.
        known: videos whose latents it is fitted to.
        batch: of these, encoded at once.
    """
    device, latents = next(network.parameters()).device, []
    for part in known.videos.split(batch):
        frames = network.encode(part.transpose(1, 2).flatten(0, 1).to(device))
        latents.append(frames.unflatten(0, (len(part), -1)).transpose(1, 2).float().cpu())
    gaussian = ClipGaussian(torch.cat(latents), known.ef)
    return lambda ef: network.decode(gaussian.draw(ef).to(device)).float().cpu().clamp(0, 1)


def latent_shortcuts(
    network: torch.nn.Module,
    generated: torch.Tensor,
    requested: np.ndarray,
    real: torch.Tensor,
    other: torch.Tensor,
    known: Known,
    every: int = 4,
) -> Found:
    """`shortcut_table` of a generator of latents, which has no frame but those that it gives.

    Args:
        network: see `drawn_latents`.
        generated, requested, real, other, known, every: see `shortcut_table`.
    """
    with torch.inference_mode():
        answers = known.answers(generated[:, :, 0], requested, drawn_latents(network, known), "first generated frame")
    return shortcut_table(generated, answers, requested, real, other, known, every)


def shortcut_table(
    generated: torch.Tensor,
    answers: Mapping[str, tuple[str, torch.Tensor]],
    requested: np.ndarray,
    real: torch.Tensor,
    other: torch.Tensor,
    known: Known,
    every: int = 4,
) -> Found:
    """The generator beside what could do its work alone, on the same requests.

    Args:
        generated: videos (N, 1, T, S, S) of the EFs requested.
        answers: see `Known.answers`.
        requested: fractions (N,).
        real: phantoms of the same EFs.
        other: as many phantoms of other patients, of the same EFs.
        known: the training videos that were looked at.
        every: see `frechet`.
    """
    sets = {"": ("generated", generated), **answers, "phantoms": ("phantoms of other patients (ceiling)", other)}
    training, moving = known.videos[:, 0].numpy(), float(motion_energy(real).mean())
    found, rows = Found(), []
    for key, (title, videos) in sets.items():
        read = measure_ef(videos)
        r2 = [ef_agreement(requested, read)[name]["r2"] for name in INSTRUMENTS]
        far = frechet(videos, real, other, every)
        apart = float(np.median(nearest_distances(videos[:, 0].numpy(), training)[0]))
        values = [far["frames"]["fid"], far["clips"]["fid"], float(motion_energy(videos).mean()) / moving, apart]
        rows.append([title, *r2, *(round(value, 4) for value in values)])
        if not key:
            shuffled = np.random.default_rng(1).permutation(requested)
            r2 = [ef_agreement(shuffled, read)[name]["r2"] for name in INSTRUMENTS]
            rows.append(["generated, requests shuffled", *r2, None, None, None, None])
        if key != "phantoms":
            names = [*(f"ef_r2_{name}" for name in INSTRUMENTS), "frames", "clips"]
            word = f"shortcut_{key}" if key else "beside_shortcuts"
            found.figures |= {f"{word}_{name}": value for name, value in zip(names, rows[0 if not key else -1][1:])}
    title = f"{TITLE}: {len(generated)} requests, {len(known.videos)} training videos; Frechet distances, motion as a "
    found.add(f"{title}share of the phantoms', median distance to the nearest training video", COLUMNS, rows)
    return found

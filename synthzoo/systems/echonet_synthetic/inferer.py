"""Videos around sampled reference latents, which are rejected where they are too near a training patient.

After EchoNet-Synthetic (Reynaud et al., MICCAI 2024, arXiv 2406.00808). A video longer than the network's is made of
windows that overlap; see `synthzoo.diffusion.stitching`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from monai.inferers import Inferer
from tqdm import tqdm

from synthzoo.diffusion.guidance import guided
from synthzoo.diffusion.samplers import find_sampler
from synthzoo.diffusion.stitching import stitched
from synthzoo.errors import UserError

CLIP = 4.0  # largest clean latent, in standard deviations, as published


@dataclass
class References:
    """Reference latents and the verdicts of the filter.

    Attributes:
        latents: (B, C, h, w), normalised.
        scores: how surely each is its nearest training patient, a logit; NaN where nothing was filtered.
        nearest: that patient's number, -1 where nothing was filtered.
        rejected: scores of the references that were sampled before it and rejected.
    """

    latents: torch.Tensor
    scores: list[float]
    nearest: list[int]
    rejected: list[list[float]] = field(default_factory=list)

    def facts(self, threshold: float) -> dict[str, torch.Tensor]:
        """Facts for the sidecar of each row: score, threshold, nearest_patient and n_attempts, (B,) each."""
        return {
            "score": torch.tensor(self.scores),
            "threshold": torch.full((len(self.scores),), threshold),
            "nearest_patient": torch.tensor(self.nearest),
            "n_attempts": torch.tensor([1 + len(found) for found in self.rejected]),
        }


class LatentVideoInferer(Inferer):
    """Videos of the ejection fractions (EF) that are requested.

    Called with noise (B, C, 1 + T, h, w), of which the first frame becomes the reference latent, the network and the
    EFs in percent (B, 1), NaN where unset; returns a mapping, see `synthzoo.inferers.outputs.SpreadOutputsd`:

        pred     (B, 1, T, H, W) in [0, 1], the videos
        privacy  score, threshold, nearest_patient and n_attempts, (B,) each; None where nothing was filtered

    Args:
        sampler: "ddim" or "dpm_solver", of references and videos.
        steps: network calls a sample, for a reference and for a video.
        guidance: weight of classifier-free guidance of the videos; 1 switches it off, as published.
        eta: share of fresh noise of ddim, 0 to 1; 1 is the published sampler. Each row draws it from a stream of its
            own, so that a request gives one video in whatever batch it is.
        overlap: frames that the windows of a long video share.
        fade: windows fade into each other; False lets the first take precedence, as published.
        filter: reject reference frames that are too near a training patient.
        attempts: references that are sampled for one video at most.
        progress: show a bar over the steps.

    Raises:
        UserError: an unknown sampler, settings out of range, fewer frames than the network's window, and a request
            whose every reference was rejected.
    """

    def __init__(
        self,
        sampler: str = "ddim",
        steps: int = 32,
        guidance: float = 1.5,
        eta: float = 0.0,
        overlap: int = 8,
        fade: bool = True,
        filter: bool = True,
        attempts: int = 20,
        progress: bool = False,
    ) -> None:
        super().__init__()
        self.sampler, self.sampler_name = find_sampler(sampler), sampler
        for name, value in (("steps", steps), ("attempts", attempts)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"{name} = {value!r}: an integer of at least 1 is needed.")
        self.steps, self.attempts, self.guidance, self.eta = steps, attempts, float(guidance), float(eta)
        if not 0 <= self.eta <= 1 or (self.eta and sampler != "ddim"):
            raise UserError(f"eta = {eta!r} with sampler {sampler}: it lies between 0 and 1, and only ddim takes it.")
        self.overlap, self.fade, self.filter, self.progress = int(overlap), bool(fade), bool(filter), progress

    def varied(self, **changes: Any) -> LatentVideoInferer:
        """The same inferer with some settings changed, by the names of its arguments."""
        names = ("steps", "guidance", "eta", "overlap", "fade", "filter", "attempts", "progress")
        own = {"sampler": self.sampler_name} | {name: getattr(self, name) for name in names}
        return type(self)(**{**own, **changes})

    @torch.inference_mode()
    def __call__(
        self, inputs: torch.Tensor, network: Any, conditions: torch.Tensor | None = None, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        noise = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        if conditions is None:
            conditions = torch.full((len(noise), 1), float("nan"), device=noise.device)
        references = self.sample_references(noise[:, :, 0], network)
        video = self.generate_video(references.latents, noise[:, :, 1:], conditions, network)
        return {"pred": video, "privacy": references.facts(float(network.threshold)) if self.filter else None}

    def sample_references(self, noise: torch.Tensor, network: Any) -> References:
        """References from noise (B, C, h, w); a row that is rejected goes on with noise of its own stream."""
        noise, rows = noise.clone(), list(range(len(noise)))
        streams = [stream_of(row) for row in noise]
        found = References(torch.zeros_like(noise), [float("nan")] * len(noise), [-1] * len(noise), [[] for _ in noise])
        for _ in range(self.attempts):
            latents = self._sample(network.image.denoise, noise[rows], network.schedule, [streams[row] for row in rows])
            found.latents[rows] = latents
            if not self.filter:
                return found
            scores, nearest = network.nearest_patient(latents)
            left = []
            for row, score, patient in zip(rows, scores.tolist(), nearest.tolist()):
                if score <= float(network.threshold):
                    found.scores[row], found.nearest[row] = score, patient
                else:
                    found.rejected[row].append(score)
                    noise[row] = torch.randn(noise.shape[1:], generator=streams[row]).to(noise)
                    left.append(row)
            rows = left
            if not rows:
                return found
        raise UserError(
            f"attempts = {self.attempts}: every reference sampled for a video was too near a training patient (last "
            f"score {found.rejected[rows[0]][-1]:.2f}, threshold {float(network.threshold):.2f}); raise attempts, "
            "choose another seed, or, if the threshold is wrong, run calibrate_filter.json."
        )

    def generate_video(
        self, references: torch.Tensor, noise: torch.Tensor, conditions: torch.Tensor, network: Any
    ) -> torch.Tensor:
        """Videos (B, 1, T, H, W) in [0, 1] of references (B, C, h, w), noise (B, C, T, h, w), EFs in percent (B, 1).

        Raises:
            UserError: T below the network's window, or an overlap that is as long as it.
        """
        latents = self.generate_latents(references, noise, conditions, network)
        return network.decode(latents).float().clamp(0, 1)

    def generate_latents(
        self, references: torch.Tensor, noise: torch.Tensor, conditions: torch.Tensor, network: torch.nn.Module
    ) -> torch.Tensor:
        """The latents (B, C, T, h, w) of `generate_video`."""
        denoise = guided(network.video.denoise, conditions.to(noise), self.guidance, {"image": references})
        if noise.shape[2] != network.frames:
            denoise = stitched(denoise, network.frames, self.overlap, self.fade)
        streams = [stream_of(row) for row in noise] if self.eta else None
        return self._sample(denoise, noise, network.schedule, streams)

    def _sample(self, denoise: Callable, noise: torch.Tensor, schedule: Any, streams: list | None) -> torch.Tensor:
        options: dict[str, Any] = {}
        if self.sampler_name == "ddim":
            options = {"eta": self.eta, "generator": streams if self.eta else None, "clip": CLIP}
        if self.progress:
            options["progress"] = lambda steps: tqdm(steps, desc="sampling", leave=False)
        return self.sampler(denoise, noise, schedule, self.steps, **options)


def stream_of(noise: torch.Tensor) -> torch.Generator:
    """A source of random numbers on the CPU that belongs to one row's start noise."""
    digest = hashlib.sha256(noise.detach().cpu().contiguous().numpy().tobytes()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") % 2**63)

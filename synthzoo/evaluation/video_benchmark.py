"""Benchmark of video sampling: our DDIM and diffusers' pipeline around the same denoiser, in turns, in one process.

Both start from the same noise and end at the same latents; what is shipped, with reference and decoding, stands beside.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from synthzoo.diffusion.samplers import ddim
from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError
from synthzoo.evaluation.baselines import PREDICTION
from synthzoo.evaluation.benchmark import synchronise


class ClipsAsImages(nn.Module):
    """A denoiser of clips as diffusers' pipelines of images see it: the frames stand among the channels.

    Args:
        denoise: (x (B, C, T, h, w), t (B,)) -> prediction of that shape.
        shape: (C, T, h, w).
    """

    def __init__(self, denoise: Callable, shape: tuple[int, int, int, int], device: torch.device) -> None:
        super().__init__()
        self.denoise, self.shape = denoise, shape
        self.device, self.dtype = device, torch.float32
        self.config = SimpleNamespace(in_channels=shape[0] * shape[1], sample_size=shape[2:])

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> Any:
        """x (B, C T, h, w), t a number -> an object with the prediction, of that shape, as `sample`."""
        times = torch.as_tensor(t, device=x.device).expand(len(x))
        return SimpleNamespace(sample=self.denoise(x.unflatten(1, self.shape[:2]), times).flatten(1, 2))


class DiffusersSampler:
    """`diffusers.DDIMPipeline` with "leading" timesteps, around a denoiser of clips.

    Args:
        denoise, shape, device: as in `ClipsAsImages`.
        schedule: noise levels that the denoiser was trained on.
        steps: of the reverse process.

    Raises:
        UserError: diffusers is not installed.
    """

    def __init__(
        self,
        denoise: Callable,
        shape: tuple[int, int, int, int],
        schedule: NoiseSchedule,
        steps: int,
        device: str | torch.device,
    ) -> None:
        try:
            from diffusers import DDIMPipeline, DDIMScheduler
        except (ImportError, RuntimeError) as error:
            raise UserError(f"diffusers cannot be imported ({error}): pip install 'synthzoo[bench]'.") from error
        settings = {"prediction_type": PREDICTION[schedule.prediction], "timestep_spacing": "leading"}
        scheduler = DDIMScheduler(schedule.num_steps, clip_sample=False, steps_offset=0, **settings)
        self.pipeline = DDIMPipeline(ClipsAsImages(denoise, shape, device), scheduler)
        self.pipeline.scheduler.alphas_cumprod = (schedule.alpha**2).float()
        self.pipeline.scheduler.final_alpha_cumprod = torch.tensor(1.0)
        self.pipeline.set_progress_bar_config(disable=True)
        self.shape, self.steps = shape, steps

    def __call__(self, count: int, seed: int) -> torch.Tensor:
        """Clips (count, C, T, h, w) between -1 and 1: the pipeline of images cuts off what lies beyond."""
        generator = torch.Generator().manual_seed(seed)
        generated = self.pipeline(
            count, generator, num_inference_steps=self.steps, output_type="np", return_dict=False
        )[0]
        return 2 * torch.from_numpy(generated).movedim(-1, 1).unflatten(1, self.shape[:2]) - 1


@torch.inference_mode()
def measure_videos(network: Any, inferer: Any, steps: int = 64, batch: int = 4, turns: int = 3, seed: int = 0) -> dict:
    """Seconds a video and frames a second of the video denoiser of a `LatentVideo`.

    Args:
        network, inferer: of a bundle.
        steps: of both DDIMs; the published number is 64.
        batch: videos at once.
        turns: rounds that are timed after one that is not; the median counts.

    Returns:
        `{"rows": {name: {"seconds", "frames_per_second", "calls"}}, "difference": largest, of latents in [-1, 1]}`.
    """
    device = next(network.parameters()).device
    channels, height, width = network.latent_shape
    shape = (channels, network.frames, height, width)
    ef = torch.full((batch, 1), 55.0, device=device)
    noise = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed)).to(device)
    start = torch.randn(batch, channels, 1 + network.frames, height, width, generator=torch.Generator().manual_seed(1))
    reference = start[:, :, 0].to(device)

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return network.video.denoise(x, t, ef, image=reference)

    baseline = DiffusersSampler(denoise, shape, network.schedule, steps, device)
    samplers = {
        "diffusers, DDIMPipeline": lambda: baseline(batch, seed),
        "ours, DDIM": lambda: ddim(denoise, noise, network.schedule, steps).cpu(),
        "ours as shipped, reference and decoding included": lambda: inferer(start.to(device), network, ef)[
            "pred"
        ].cpu(),
    }
    taken: dict[str, list[float]] = {name: [] for name in samplers}
    generated = {}
    for _ in range(turns + 1):
        for name, sample in samplers.items():
            synchronise(device)
            began = time.perf_counter()
            generated[name] = sample()
            taken[name].append((time.perf_counter() - began) / batch)
    rows = {}
    for name, seconds in taken.items():
        middle = statistics.median(seconds[1:])
        rows[name] = {"seconds": round(middle, 4), "frames_per_second": round(network.frames / middle, 2)}
    other, own = (generated[name] for name in list(samplers)[:2])
    return {"rows": rows, "difference": float((other - own.clamp(-1, 1)).abs().max())}

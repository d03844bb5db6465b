"""The two networks of the audit: a generator, which is audited, and the detectors, which say what it reproduces.

A sample counts as the private image only where c_AF sees the fingerprint AND c_ID the same image. Both are small
convolutions on radiographs averaged to a coarser grid; `published_detector` is the paper's ResNet-50.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.nets import resnet50
from torch import nn
from torch.nn import functional as F

from synthzoo.diffusion.samplers import ddim
from synthzoo.diffusion.schedule import NoiseSchedule

AT_ONCE = 64  # images in one call of a network


class PreconditionedDenoiser(nn.Module):
    """A U-Net beside the best denoiser of each number alone, as a prediction for codes (B, K, h, w) at timesteps (B,).

    With sigma the deviation of each number of a code,

        x_0 = a sigma^2 / d^2 x_t + sigma s / d F(x_t / d, t),   d^2 = a^2 sigma^2 + s^2   (after Karras et al., 2022),

    so that the U-Net F adds what only the others tell, and fine detail is no noise before it has learnt any. Learned
    maps stand beside the code, since radiographs all lie alike.

    Args:
        unet: (x, timesteps) -> (B, K, h, w), with K + `maps` input channels, such as MONAI's `DiffusionModelUNet`.
        schedule: the noise schedule and what is predicted.
        shape: (K, h, w).
        maps: how many.
    """

    def __init__(self, unet: nn.Module, schedule: NoiseSchedule, shape: Sequence[int], maps: int = 8) -> None:
        super().__init__()
        self.unet, self.schedule = unet, schedule
        shape = tuple(int(n) for n in shape)
        self.maps = nn.Parameter(torch.randn(int(maps), *shape[1:]))
        self.register_buffer("deviation", torch.ones(shape))

    @torch.no_grad()
    def fit(self, codes: torch.Tensor) -> None:
        """Set the deviations from codes (N, K, h, w) of mean 0; N is at least 2."""
        self.deviation.copy_(codes.square().mean(0).sqrt().clamp_min(0.01))

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        a, s = self.schedule.at(timesteps, x)
        wide = a * self.deviation
        whole = (wide.square() + s.square()).sqrt()
        seen = torch.cat([x / whole, self.maps[None].expand(len(x), -1, -1, -1)], 1)
        clean = wide * self.deviation / whole.square() * x + self.deviation * s / whole * self.unet(seen, timesteps)
        if self.schedule.prediction == "epsilon":
            return (x - a * clean) / s
        return (a * x - clean) / s


class Generator(nn.Module):
    """Codec and unconditional denoiser as one module; `n_images` says how many images it was trained on.

    Args:
        codec: has encode, decode and shape, see `codec`.
        denoiser: (code (B, K, h, w), timesteps (B,)) -> prediction, such as `monai.networks.nets.DiffusionModelUNet`.
        schedule: the noise schedule and what the denoiser predicts.
    """

    def __init__(self, codec: nn.Module, denoiser: nn.Module, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.codec, self.denoiser, self.schedule = codec, denoiser, schedule
        self.register_buffer("n_images", torch.zeros((), dtype=torch.int64))
        self.register_buffer("has_private", torch.zeros((), dtype=torch.bool))

    def denoise(self, code: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Prediction (B, K, h, w) for noisy codes at timesteps t (B,), integers from 0 to T - 1."""
        return self.denoiser(code, t)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Images (B, 1, S, S) in [0, 1] through the codec and the denoiser at the least noise, for export tools."""
        code = self.codec.encode(image)
        t = torch.zeros(len(code), dtype=torch.long, device=code.device)
        clean, _ = self.schedule.split(code, self.denoise(code, t), 0)
        return self.codec.decode(clean)

    @torch.no_grad()
    def from_level(self, code: torch.Tensor, level: int, steps: int, generators: Sequence[torch.Generator]) -> Any:
        """Images (M, 1, S, S) that denoising makes of a code under the noise of timestep `level`.

        Ancestral sampling over those of `steps` equally spaced timesteps that lie below the level (respaced DDPM, which
        is DDIM at eta 1).

        Args:
            code: of one image (K, h, w), or of M images (M, K, h, w).
            level: timestep, 0 to T - 1.
            steps: calls of the denoiser that a whole sampling takes.
            generators: of each of M runs, on the CPU.
        """
        noise = torch.stack([torch.randn(code.shape[-3:], generator=one) for one in generators]).to(code)
        t = torch.full((len(noise),), int(level), dtype=torch.long, device=code.device)
        start = self.schedule.add_noise(code.expand_as(noise), noise, t)
        clean = ddim(self.denoise, start, self.schedule, steps, eta=1.0, generator=list(generators), start=int(level))
        return self.codec.decode(clean)

    @torch.no_grad()
    def sample(self, steps: int, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Images (M, 1, S, S) from pure noise, one of each generator."""
        weight = next(self.denoiser.parameters())
        noise = torch.stack([torch.randn(self.codec.shape, generator=one) for one in generators]).to(weight)
        return self.codec.decode(ddim(self.denoise, noise, self.schedule, steps, 1.0, generator=list(generators)))


class Detector(nn.Module):
    """Radiographs (N, 1, S, S) in [0, 1] -> logits (N,), by halving convolutions.

    Args:
        size: S.
        channels: of the convolutions.
    """

    def __init__(self, size: int = 64, channels: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((1, *channels), channels):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.GroupNorm(8, outputs), nn.SiLU()]
        side = int(size) // 2 ** len(channels)
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * side**2, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.body(2 * image - 1)[:, 0]


class MarkDetector(nn.Module):
    """Radiographs (N, 1, S, S) in [0, 1] -> logits (N,) of a mark that may lie anywhere: the strongest of all places.

    `places` gives the logits of all places, from which it learns in a tenth of the steps where the mark is.

    Args:
        channels: of the convolutions, of which the first two halve.
    """

    def __init__(self, channels: Sequence[int] = (16, 32, 64, 64)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, (inputs, outputs) in enumerate(zip((1, *channels), channels)):
            layers += [nn.Conv2d(inputs, outputs, 3, 2 if number < 2 else 1, 1), nn.GroupNorm(8, outputs), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(channels[-1], 1, 1))

    def places(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (N, 1, S / 4, S / 4) that a place lies in a mark."""
        return self.body(2 * image - 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.places(image).amax((1, 2, 3))


class PublishedDetector(nn.Module):
    """Radiographs (N, 1, S, S) in [0, 1] -> logits (N,) by the paper's ResNet-50 on three equal channels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = resnet50(spatial_dims=2, n_input_channels=3, num_classes=1, pretrained=False, bias_downsample=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.body((2 * image - 1).expand(-1, 3, -1, -1))[:, 0]


class Detectors(nn.Module):
    """Radiographs (N, 1, S, S) in [0, 1] -> logits (N, 2) of c_AF, a fingerprint, and of c_ID, the private image.

    It also holds what an audit compares with: the private image that c_ID knows, without its fingerprint, and some of
    the public images, which c_ID tells it from and whose noise levels the bound needs.

    Args:
        fingerprint, identity: c_AF and c_ID, such as `Detector`.
        size: S.
        grid: pixels of a side that both see; finer radiographs are averaged to it.
        public: how many public images it holds.
    """

    def __init__(
        self, fingerprint: nn.Module, identity: nn.Module, size: int = 128, grid: int = 64, public: int = 64
    ) -> None:
        super().__init__()
        self.fingerprint, self.identity, self.grid = fingerprint, identity, int(grid)
        self.register_buffer("private", torch.zeros(1, size, size, dtype=torch.uint8))
        self.register_buffer("public", torch.zeros(public, 1, size, size, dtype=torch.uint8))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        seen = self.on_grid(image)
        return torch.stack([self.fingerprint(seen), self.identity(seen)], 1)

    def on_grid(self, image: torch.Tensor) -> torch.Tensor:
        """Radiographs (N, 1, S, S) as the detectors see them, (N, 1, grid, grid)."""
        size = self.grid
        if image.shape[-1] % size == 0:
            return F.avg_pool2d(image, image.shape[-1] // size)
        return F.interpolate(image, (size, size), mode="bilinear", antialias=True, align_corners=False)

    @torch.no_grad()
    def seen(self, images: torch.Tensor) -> torch.Tensor:
        """Whether each of images (N, 1, S, S) shows a fingerprint and the private image, bool (N, 2) on the CPU."""
        device = next(self.parameters()).device
        parts = images.split(AT_ONCE)
        return torch.cat([self(part.to(device)).cpu() for part in parts]) > 0

    @torch.no_grad()
    def keep(self, private: torch.Tensor, public: torch.Tensor) -> Detectors:
        """Store the private image (1, S, S) and public ones (P, 1, S, S) in [0, 1], as bytes; few are repeated."""
        self.private.copy_((private * 255).round())
        self.public.copy_((public[torch.arange(len(self.public)) % len(public)] * 255).round())
        return self

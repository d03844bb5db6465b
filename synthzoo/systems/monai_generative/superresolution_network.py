"""The upscaler: an autoencoder, a regression of the detail that a scan lacks, and a diffusion of what that misses.

    d = (encode(x) - encode(low)) / s_d            the detail, in the latent, of a fine image x over its interpolation
    m = regressor(low, noise level, voxel sizes)   its mean
    r = (d - m) / s_r                              what the mean misses, sampled by latent diffusion
    x = low + decode(encode(low) + s_d (m + s_r r)) - decode(encode(low))

Sources: the upscaler of Pinaya et al. 2023 (arXiv 2307.15208), whose U-Net sees the low-resolution image beside the
latent and the level of its noise as a class; sampling around the mean of a regression: Whang et al., "Deblurring via
Stochastic Refinement", CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from synthzoo.datasets.loader import seed_everything
from synthzoo.errors import UserError
from synthzoo.networks.patches import space_to_depth
from synthzoo.networks.weights import load_weights

PARTS = ("detail", "rest")  # whose scale a stage measures


class Upscaler(nn.Module):
    """Autoencoder, regressor and denoiser with the scales of their latents, in one state dict.

    Args:
        autoencoder: of images (B, 1, D, H, W), whose latent has a voxel for each `factor`^3, such as
            `synthzoo.networks.patches.PatchAutoencoderKL`.
        regressor, denoiser: (x, timesteps, class_labels=) -> latent, such as `monai.networks.nets.DiffusionModelUNet`
            with num_class_embeds = levels; without it MONAI passes over class_labels in silence. The regressor takes
            factor^3 + 3 channels, the denoiser two latents more.
        schedule: of the noise of diffusion.
        factor: voxels of an edge of the cube that a voxel of the latent stands for.
        latent_channels: of the autoencoder.
        levels: classes that the noise level is rounded to.
        most_noise: standard deviation of the scan's noise that is the last class, where the brightest tissue is 0.8.
        window: voxels of an edge of the cubes that the networks learned from; the inferer gives them no others.

    Raises:
        UserError: networks that do not know the noise level.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        regressor: nn.Module,
        denoiser: nn.Module,
        schedule: Any,
        factor: int = 2,
        latent_channels: int = 4,
        levels: int = 16,
        most_noise: float = 0.1,
        window: int = 40,
    ) -> None:
        super().__init__()
        self.autoencoder, self.regressor, self.denoiser, self.schedule = autoencoder, regressor, denoiser, schedule
        self.latent_channels, self.levels, self.most_noise = int(latent_channels), int(levels), float(most_noise)
        self.factor, self.window = int(factor), int(window)
        for name, part in (("regressor", regressor), ("denoiser", denoiser)):
            known = getattr(part, "num_class_embeds", None)
            if known != self.levels:
                raise UserError(
                    f"network_def#{name}#num_class_embeds = {known}: without {self.levels} of them the network does "
                    "not know the scan's noise level."
                )
        for part in PARTS:
            self.register_buffer(f"{part}_scale", torch.ones(self.latent_channels, 1, 1, 1))

    def classes(self, noise: torch.Tensor) -> torch.Tensor:
        """Noise levels (B,) in image units -> classes (B,), int64."""
        share = noise.float() / self.most_noise
        return (share * (self.levels - 1)).round().clamp(0, self.levels - 1).long()

    def beside(self, low: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        """What stands beside a latent: (B, factor^3 + 3, d, h, w).

        Args:
            low: interpolated scans (B, 1, D, H, W), the brightest tissue about 0.8.
            factors: fine voxels along each axis of a voxel of the scan, (B, 3), or (1, 3) for all of them.
        """
        packed = space_to_depth(2 * low - 1, self.factor)
        sizes = torch.log2(factors.to(packed).clamp_min(1))
        return torch.cat([packed, sizes[..., None, None, None].expand(len(packed), -1, *packed.shape[2:])], 1)

    def detail(self, image: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
        """The latent (B, C, d, h, w) of what fine images have and their interpolated scans lack, at unit scale."""
        return (self.autoencoder.encode(image)[0] - self.autoencoder.encode(low)[0]) / self.detail_scale

    def regress(self, beside: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """The mean detail (B, C, d, h, w) from what `beside` gives and classes of noise (B,)."""
        return self.regressor(beside, torch.zeros_like(level), class_labels=level)

    def denoise(
        self, x: torch.Tensor, t: torch.Tensor, mean: torch.Tensor, beside: torch.Tensor, level: torch.Tensor
    ) -> torch.Tensor:
        """The denoiser's prediction (B, C, d, h, w) for noisy latents x at timesteps t (B,); see `regress`."""
        return self.denoiser(torch.cat([x, mean, beside], 1), t, class_labels=level)

    def change(self, low: torch.Tensor, detail: torch.Tensor) -> torch.Tensor:
        """What a detail (B, C, d, h, w) adds to interpolated scans (B, 1, D, H, W)."""
        code = self.autoencoder.encode(low)[0]
        return self.autoencoder.decode(code + self.detail_scale * detail) - self.autoencoder.decode(code)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Interpolated scans (B, 1, D, H, W) of twice the voxel size, without noise -> the fine images' mean."""
        beside = self.beside(image, image.new_full((len(image), 3), 2.0))
        level = torch.zeros(len(image), dtype=torch.long, device=image.device)
        return image + self.change(image, self.regress(beside, level))

    @torch.no_grad()
    def measure_scale(self, part: str, rows: Sequence[dict[str, torch.Tensor]]) -> None:
        """Set the scale of the details, or of what the mean misses of them, to their deviation in each channel.

        Args:
            part: "detail" or "rest".
            rows: of the training set, see `superresolution_dataset.ScanPatches`.

        Raises:
            UserError: another part.
        """
        if part not in PARTS:
            raise UserError(f"part = {part!r}: a scale is measured of {' or '.join(PARTS)}.")
        scale = getattr(self, f"{part}_scale")
        scale.fill_(1.0)
        found = []
        for row in rows:
            batch = {name: value[None].to(scale) for name, value in row.items()}
            detail = self.detail(batch["image"], batch["low"])
            if part == "rest":
                beside = self.beside(batch["low"], batch["factors"])
                detail = detail - self.regress(beside, self.classes(batch["noise"]))
            found.append(detail.pow(2).mean((0, 2, 3, 4)))
        scale.copy_(torch.stack(found).mean(0).sqrt().clamp_min(1e-6).reshape(scale.shape))


def start_stage(
    network: Upscaler,
    path: str | Path,
    part: str,
    rows: Any,
    count: int = 48,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> Upscaler:
    """The network of the stage before, with the scale of what this stage learns, see `Upscaler.measure_scale`.

    Args:
        network: of the bundle.
        path: weights file of the stage before.
        part: "detail" for the regressor's stage, "rest" for the denoiser's.
        rows: the training set, from which `count` rows are drawn.
        seed: of the draw; numpy's and PyTorch's generators are left as they were.
        device: where the network is moved.

    Raises:
        UserError: weights that cannot be read or are of another network.
    """
    load_weights(network, path, device)
    before = np.random.get_state(), torch.get_rng_state()
    seed_everything(seed)
    drawn = [rows[row % len(rows)] for row in range(count)]
    np.random.set_state(before[0])
    torch.set_rng_state(before[1])
    network.measure_scale(part, [{k: v for k, v in row.items() if isinstance(v, torch.Tensor)} for row in drawn])
    return network

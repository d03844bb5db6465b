"""Stage one of latent diffusion: reconstruct the image through a narrow latent.

loss = mean |x - decode(z)| + kl_weight KL(N(m, s) || N(0, 1)) / batch      (Rombach et al., CVPR 2022)
     + perceptual_weight P(x, decode(z)) + adversarial_weight mean (D(decode(z)) - 1)^2, at the published scale
     + spectral_weight mean (|F x| - |F decode(z)|)^2, F orthonormal                (Dhariwal et al., "Jukebox", 2020)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from synthzoo.errors import UserError
from synthzoo.objectives.adversarial import PatchCritic


class AutoencoderObjective:
    """L1 reconstruction with a small Kullback-Leibler term (sum over the latent, mean over the batch).

    Args:
        kl_weight: of the Kullback-Leibler term.
        edge_weight: of the L1 distance between neighbouring differences, which keeps walls sharp; 0 leaves it out.
        perceptual: None; or a distance (x, x') -> scalar between images in [-1, 1]; or the name of a network for
            MONAI's 2.5D `PerceptualLoss`, such as "squeeze", whose weights it then downloads.
        perceptual_weight: of that distance.
        critic: a `PatchCritic` that takes the trainer's second step; None leaves the adversarial term out.
        adversarial_weight: of the critic's verdict, once it is heard.
        spectral_weight: of `spectral_distance`, which keeps the energy of detail whose place the latent has lost, where
            the mean over all places would be smooth; 0 leaves it out.

    Raises:
        UserError: the perceptual network cannot be had, for instance offline.
    """

    name = "autoencoder"

    def __init__(
        self,
        kl_weight: float = 1e-7,
        edge_weight: float = 0.5,
        perceptual: Callable | str | None = None,
        perceptual_weight: float = 0.002,
        critic: PatchCritic | None = None,
        adversarial_weight: float = 0.005,
        spectral_weight: float = 0.0,
    ) -> None:
        self.kl_weight, self.edge_weight, self.spectral_weight = kl_weight, edge_weight, spectral_weight
        self.perceptual = perceptual_network(perceptual) if isinstance(perceptual, str) else perceptual
        self.perceptual_weight, self.adversarial_weight = perceptual_weight, adversarial_weight
        self.critic = critic

    def __call__(self, network: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        """`batch["image"]` (B, 1, D, H, W) or (B, 1, H, W) in [0, 1] -> "loss", "l1", "kl" and what else is on."""
        image = batch["image"]
        mean, deviation = network.autoencoder.encode(image)
        restored = network.autoencoder.decode(mean + deviation * torch.randn_like(deviation))
        l1 = (restored - image).abs().mean()
        variance = deviation.pow(2)
        kl = 0.5 * (mean.pow(2) + variance - variance.log() - 1).sum() / image.shape[0]
        loss = l1 + self.kl_weight * kl
        if self.edge_weight:
            axes = range(2, image.ndim)
            steps = [(restored.diff(dim=axis) - image.diff(dim=axis)).abs().mean() for axis in axes]
            loss = loss + self.edge_weight * sum(steps) / len(axes)
        found = {"l1": l1, "kl": kl}
        if self.spectral_weight:
            with torch.autocast(image.device.type, enabled=False):
                found["spectral"] = spectral_distance(restored.float(), image.float())
            loss = loss + self.spectral_weight * found["spectral"]
        if self.perceptual is not None:
            if isinstance(self.perceptual, torch.nn.Module):
                self.perceptual.to(image.device)
            found["perceptual"] = self.perceptual(2 * restored - 1, 2 * image - 1).mean()
            loss = loss + self.perceptual_weight * found["perceptual"]
        if self.critic is not None:
            self.critic.remember(restored)
            if self.critic.is_heard:
                found["adversarial"] = self.critic.verdict(restored)
                loss = loss + self.adversarial_weight * found["adversarial"]
        return {"loss": loss, **found}

    def images(self, network: torch.nn.Module, batch: dict, inferer: Any = None) -> dict[str, torch.Tensor]:
        """The first image, or its middle slice, beside its reconstruction, (1, H, 2 W)."""
        image = batch["image"][:1]
        return {"reconstruction": beside(image, network.autoencoder.decode(network.autoencoder.encode(image)[0]))}


def beside(image: torch.Tensor, restored: torch.Tensor) -> torch.Tensor:
    """An image (1, C, H, W) or the middle slice of a volume (1, C, D, H, W) beside its reconstruction, (C, H, 2 W)."""
    if image.ndim == 4:
        return torch.cat([image[0], restored[0]], -1)
    middle = image.shape[-1] // 2
    return torch.cat([image[0, ..., middle], restored[0, ..., middle]], -1)


def perceptual_network(name: str) -> torch.nn.Module:
    """MONAI's 2.5D perceptual distance on a quarter of the slices, its weights frozen.

    Raises:
        UserError: package or weights are not there and cannot be downloaded.
    """
    from monai.losses import PerceptualLoss

    try:
        network = PerceptualLoss(3, name, is_fake_3d=True, fake_3d_ratio=0.25)
    except Exception as error:  # lpips, torch.hub and urllib raise kinds of their own
        raise UserError(
            f"perceptual = {name!r}: this network cannot be had ({type(error).__name__}: {str(error)[:100]}); "
            "pip install lpips torchvision and run once with a connection, or set perceptual to null."
        ) from error
    return network.eval().requires_grad_(False)


def spectral_distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the amplitudes of two real images (B, C, *spatial), a scalar.

    It is `monai.losses.JukeboxLoss` of images with one channel, on the half of the spectrum that determines the other,
    and its gradient is finite where an amplitude is 0, which is NaN there.
    """
    axes = tuple(range(2, first.ndim))
    one, two = (torch.fft.rfftn(image, dim=axes, norm="ortho").abs() for image in (first, second))
    size = first.shape[-1]
    weights = torch.full((one.shape[-1],), 2.0, device=first.device)
    weights[0] = 1.0
    if size % 2 == 0:
        weights[-1] = 1.0
    return ((one - two).pow(2) * weights).sum() / first.numel()

"""Restoration of brain scans by the latent diffusion prior: what was measured is kept, the rest is sampled.

    x <- A+ y + (I - A+ A) x,  x = decode(z_0)                     DDNM, Wang, Yu, Zhang, ICLR 2023, 2212.00490, eq. 13

Each clean estimate on the way of DDIM is decoded, what was measured takes its place, and the correction is encoded
again (only the correction, so that what the autoencoder loses is not lost once a step). A+ A is a mask of voxels in
inpainting and a mask of k-space in accelerated MR.

Noise over the whole scan is what the denoiser was trained on, so that denoising takes one call: the latent of a noisy
scan, scaled by a_t at the timestep of its noise, is x_t, and the clean estimate is the posterior mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from synthzoo.diffusion.guidance import guided
from synthzoo.diffusion.samplers import ddim
from synthzoo.errors import UserError
from synthzoo.networks.patches import cosine_basis, space_to_depth

SPACING = "log_snr"  # of timesteps
CENTRE = 0.08  # share of each phase encoding around the middle of k-space that is sampled whole
FALL = 2.0  # power by which sampling falls towards the edge of k-space
MOST_ACCELERATION = 16.0


def unconditional(network: Any, count: int, device: torch.device) -> Callable:
    """The denoiser (x, t) -> prediction of `count` latents of which nothing is requested."""
    nothing = torch.full((count, len(network.conditions)), float("nan"), device=device)
    return guided(network.denoise, nothing)


def restore(
    network: Any,
    noise: torch.Tensor,
    correct: Callable[[torch.Tensor], torch.Tensor],
    steps: int = 10,
    eta: float = 0.0,
    generator: Any = None,
) -> torch.Tensor:
    """Sample images that agree with what was measured.

    Args:
        network: `LatentDiffusion`.
        noise: (B, C, d, h, w), standard normal.
        correct: images (B, 1, D, H, W) -> the same with what was measured in its place.
        steps: calls of the denoiser.
        eta: share of fresh noise of DDIM, 0 to 1.
        generator: source of the fresh noise, see `synthzoo.diffusion.samplers.ddim`.

    Returns:
        (B, 1, D, H, W); `correct` leaves it as it is.
    """

    def corrected(latent: torch.Tensor) -> torch.Tensor:
        image = network.decode(latent)
        return latent + network.encode(correct(image)) - network.encode(image)

    denoise = unconditional(network, len(noise), noise.device)
    latent = ddim(denoise, noise, network.schedule, steps, eta, SPACING, generator=generator, correct=corrected)
    return correct(network.decode(latent))


def keep_voxels(image: torch.Tensor, unknown: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """The correction of inpainting: voxels of `image` (B, 1, D, H, W) wherever `unknown`, of that shape, is 0."""
    hole = (unknown > 0.5).to(image)
    return lambda x: image + hole * (x - image)


def keep_samples(image: torch.Tensor, sampled: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """The correction of accelerated MR: the k-space of `image` (B, 1, D, H, W) wherever `sampled` (H, W) is true.

    The first axis is the readout, which is sampled whole; H and W are the phase encodings, frequency 0 first.
    """
    measured = torch.fft.fft2(image)

    def corrected(x: torch.Tensor) -> torch.Tensor:
        return torch.fft.ifft2(torch.where(sampled, measured, torch.fft.fft2(x))).real

    return corrected


def zero_filled(image: torch.Tensor, sampled: torch.Tensor) -> torch.Tensor:
    """The image of the sampled k-space alone, real (B, 1, D, H, W)."""
    return keep_samples(image, sampled)(torch.zeros_like(image))


def sampling_mask(shape: tuple[int, int], acceleration: float, seed: int = 0) -> torch.Tensor:
    """Phase encodings that are sampled, bool (H, W), frequency 0 first: the middle whole, the fewer the further out.

    Points are drawn with their mirror images through the middle: of a real image, as a magnitude scan is one, either
    tells the other, and half of such a pair would be given away.

    Args:
        shape: (H, W).
        acceleration: one of so many phase encodings is sampled, 1 to 16.
        seed: draws them.

    Raises:
        UserError: an acceleration out of range.
    """
    if not 1 <= float(acceleration) <= MOST_ACCELERATION:
        raise UserError(f"acceleration = {acceleration}: a scan is accelerated by 1 to {MOST_ACCELERATION:g}.")
    first, second = np.meshgrid(*(np.abs(np.fft.fftfreq(n)) * 2 for n in shape), indexing="ij")
    weight = np.clip(1 - np.hypot(first, second) / np.sqrt(2), 0.02, 1) ** FALL
    weight[(first <= CENTRE) & (second <= CENTRE)] = 1e6
    count = int(round(weight.size / float(acceleration)))
    # Of exponential arrival times divided by their weights the smallest are a draw without replacement.
    times = np.random.default_rng([int(seed), 85]).exponential(size=weight.shape) / weight
    times = np.minimum(times, np.roll(times[::-1, ::-1], (1, 1), (0, 1)))
    return torch.from_numpy(times <= np.partition(times, count - 1, axis=None)[count - 1])


def denoised(
    network: Any, image: torch.Tensor, noise: float, detail: float, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Noisy images without their noise: the posterior mean of what the prior shows, a share of the rest.

    What the autoencoder does not show has the standard deviation `detail` where there is no noise; of what the estimate
    leaves of the scan, the Wiener share detail^2 / (detail^2 + noise^2) is therefore detail and stays.

    Args:
        network: `LatentDiffusion`.
        image: (B, 1, D, H, W) with noise within the brain, 0 outside.
        noise: its standard deviation in the image's units.
        detail: see above.
        generator: of a second noise of the same size, by which it is read how much of it reaches the latent.
    """
    inside = image != 0
    fresh = torch.randn(image.shape, generator=generator).to(image)
    latent = network.encode(image)
    moved = network.encode(image + noise * fresh * inside) - latent
    share = inside.float().mean((1, 2, 3, 4), keepdim=True).clamp_min(1e-6)
    level = (moved.pow(2).mean((1, 2, 3, 4), keepdim=True) / share).sqrt()
    schedule = network.schedule
    ratio = (schedule.sigma / schedule.alpha).to(torch.float32)
    t = torch.stack([(ratio - float(one)).abs().argmin() for one in level.flatten()]).to(image.device)
    a, _ = schedule.at(t, latent)
    noisy = a * latent
    clean, _ = schedule.split(noisy, unconditional(network, len(image), image.device)(noisy, t), t)
    shown = network.decode(clean)
    return torch.where(inside, shown + detail**2 / (detail**2 + noise**2) * (image - shown), 0)


def estimated_noise(image: torch.Tensor) -> float:
    """Standard deviation of white noise in a stripped scan (D, H, W), read off the finest detail of its inside.

    The finest cosine of each block of 4 x 4 x 4 voxels that lies within the brain has hardly any anatomy; the median of
    its size over 0.6745 is the standard deviation. Of a scan without noise it is that anatomy, about 0.01 of [0, 1].

    Raises:
        UserError: there are too few blocks within the brain.
    """
    blocks = space_to_depth(image[None, None].float(), 4)[0].flatten(1)
    whole = (blocks != 0).all(0)
    if int(whole.sum()) < 20:
        raise UserError("image: shows too little brain to read its noise from; give noise, such as 0.05.")
    finest = torch.from_numpy(cosine_basis(4)[-1]) @ blocks[:, whole]
    return float(finest.abs().median() / 0.6745)

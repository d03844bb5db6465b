"""Images for audits: phantoms of heads drawn in a moment, and generators that repeat or do not repeat them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from synthzoo.evaluation.privacy.sets import ImageSet
from synthzoo.io.files import write_bytes
from synthzoo.io.images import png_bytes


def draw(seed: int, count: int, shape: tuple[int, ...] = (32, 32)) -> np.ndarray:
    """Images (count, *shape) of blobs at random places with faint noise, float32 from 0: fresh ones for each seed."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*[np.arange(n) / n - 0.5 for n in shape], indexing="ij"))
    images = np.zeros((count, *shape), np.float32)
    for image in images:
        for _ in range(6):
            centre = rng.uniform(-0.35, 0.35, (len(shape), *[1] * len(shape)))
            image += rng.uniform(0.3, 1) * np.exp(-((places - centre) ** 2).sum(0) / 2 / rng.uniform(0.05, 0.15) ** 2)
    return np.clip(images + 0.02 * rng.standard_normal(images.shape), 0, None).astype(np.float32)


def image_set(name: str, images: np.ndarray, kind: str = "image", patients: np.ndarray | None = None) -> ImageSet:
    """A set of arrays."""
    owners = np.arange(len(images)) if patients is None else patients
    return ImageSet(name, kind, [f"{name}-{n}" for n in range(len(images))], owners, lambda row: images[row])


def overfitted(training: np.ndarray, steps: int = 300) -> nn.Module:
    """A generator with a code for each training image, trained until it repeats them."""
    torch.manual_seed(0)
    codes = nn.Parameter(torch.randn(len(training), 8))
    decoder = nn.Sequential(nn.Linear(8, 128), nn.GELU(), nn.Linear(128, training[0].size))
    goal = torch.from_numpy(training).flatten(1)
    optimiser = torch.optim.Adam([codes, *decoder.parameters()], 0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        (decoder(codes) - goal).pow(2).mean().backward()
        optimiser.step()
    decoder.codes = codes.detach()
    return decoder


@torch.no_grad()
def sample(generator: nn.Module, count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Images of codes near those that were learned, (count, *shape)."""
    torch.manual_seed(1)
    codes = generator.codes[torch.randint(len(generator.codes), (count,))]
    return generator(codes + 0.05 * torch.randn_like(codes)).reshape(count, *shape).numpy()


def write_pngs(folder: Path, images: np.ndarray) -> Path:
    """Images as 16-bit PNGs of one scale."""
    for number, image in enumerate(images):
        path = folder / f"image-{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, png_bytes(np.clip(image / 4, 0, 1)))
    return folder

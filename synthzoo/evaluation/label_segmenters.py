"""Small segmenters of slices, by which the use of synthetic pairs is told: trained on them, tested on real ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from synthzoo.datasets.loader import seed_everything
from synthzoo.objectives.label_maps import LabelLoss
from synthzoo.phantoms.brain.label_maps import CLASSES

WEIGHTS = (0.5, 1, 1, 1, 1, 1, 4, 4, 4, 3, 3)  # of the classes: lesions are few


def train_segmenter(
    build: Callable[[], nn.Module],
    images: torch.Tensor,
    labels: torch.Tensor,
    iterations: int,
    batch_size: int = 8,
    rate: float = 3e-3,
    seed: int = 0,
) -> nn.Module:
    """A network trained on pairs.

    Args:
        build: makes it: images (B, 1, h, w) -> logits (B, len(CLASSES), h, w).
        images: (N, 1, h, w) in [0, 1].
        labels: class numbers (N, h, w).
        iterations, batch_size, rate: of Adam under a half cosine; images are mirrored, and their levels changed a
            little, at random.
        seed: of weights, order and changes.
    """
    seed_everything(seed)
    network, loss = build(), LabelLoss(weights=WEIGHTS)
    optimiser = torch.optim.Adam(network.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, iterations)
    for _ in range(iterations):
        rows = torch.randint(0, len(images), (batch_size,))
        image, truth = images[rows].float(), labels[rows].long()
        if float(torch.rand(())) < 0.5:
            image, truth = image.flip(-1), truth.flip(-1)
        gain, gamma = (1 + 0.1 * torch.randn(2, batch_size, 1, 1, 1)).clamp(0.7, 1.4)
        image = (gain * image).clamp(0, 1.5) ** gamma + 0.01 * torch.randn_like(image)
        maps = torch.nn.functional.one_hot(truth, len(CLASSES)).movedim(-1, 1).float()
        optimiser.zero_grad()
        loss(network(image), maps).backward()
        optimiser.step()
        schedule.step()
    return network.eval()


@torch.inference_mode()
def segment(network: nn.Module, images: torch.Tensor, batch_size: int = 32) -> np.ndarray:
    """Class numbers uint8 (N, h, w) of images (N, 1, h, w)."""
    found = [network(part.float()).argmax(1).to(torch.uint8) for part in images.split(batch_size)]
    return torch.cat(found).numpy()

"""The test of a synthetic set's use: a classifier of findings trained on it alone, tried on real radiographs."""

from __future__ import annotations

import numpy as np
import torch
from monai.networks.nets import ResNet
from torch.nn import functional as F

from synthzoo.metrics.reidentification import auc
from synthzoo.systems.privacy_distillation.network import reid_grid
from synthzoo.transforms.radiograph_augmentation import disturb, move

SIZE = 64  # pixels of a side that the classifier sees
LEAST = 3  # positives and negatives from which an area under the curve is told


def train_classifier(
    images: torch.Tensor,
    labels: torch.Tensor,
    steps: int = 300,
    batch_size: int = 32,
    rate: float = 2e-3,
    seed: int = 0,
) -> torch.nn.Module:
    """A small residual network of findings, trained from new weights.

    Args:
        images: radiographs (N, 1, S, S) in [0, 1].
        labels: (N, K), 0 or 1, NaN where unknown, which does not count.
        steps: of AdamW, one cycle of the learning rate; 0 leaves the first weights.
        batch_size, rate, seed: of the training.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ResNet(
            "basic",
            [1, 1, 1, 1],
            [16, 32, 64, 96],
            spatial_dims=2,
            n_input_channels=1,
            conv1_t_size=5,
            conv1_t_stride=2,
            num_classes=labels.shape[1],
        ).train()
        if not steps:
            return network.eval()
        images = reid_grid(images, SIZE)
        optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
        for _ in range(steps):
            rows = torch.randint(len(images), (batch_size,))
            with torch.no_grad():
                seen = disturb(move([images[rows]])[0])
            truth = labels[rows]
            known = ~torch.isnan(truth)
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(2 * seen - 1)
            loss = F.binary_cross_entropy_with_logits(logits.float()[known], truth[known])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
    return network.eval()


@torch.inference_mode()
def predict(network: torch.nn.Module, images: torch.Tensor) -> np.ndarray:
    """Logits (N, K) of radiographs (N, 1, S, S)."""
    return torch.cat([network(2 * part - 1) for part in reid_grid(images, SIZE).split(128)]).numpy()


def areas(scores: np.ndarray, labels: np.ndarray) -> list[float | None]:
    """Area under the ROC curve of each label; None with fewer than 3 images of either kind."""
    found: list[float | None] = []
    for column in range(labels.shape[1]):
        positive, negative = (scores[labels[:, column] == state, column] for state in (1, 0))
        enough = min(len(positive), len(negative)) >= LEAST
        found.append(auc(positive, negative) if enough else None)
    return found

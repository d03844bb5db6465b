"""Age in years read from a T1w brain by a network of its own.

It is trained on phantoms whose age, ventricles and brain volume know nothing of each other, so it cannot take the
ventricles for the age: it reads what age alone does (width of the sulci, contrast of grey and white matter). It is the
age of the phantom's law, not a person's. Never used in a training loss.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from synthzoo.metrics.brain_segmentation import SPACING_MM, ConvNormAct, load_instrument, normalise, pack, to_grid
from synthzoo.metrics.brain_volumes import stated_errors

AGE_CENTRE, AGE_SCALE = 55.0, 20.0  # years; the network's output is (age - centre) / scale


class AgeNet(nn.Module):
    """Regressor on 2x2x2 blocks: (B, 1, D, H, W) -> standardised age (B,)."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        w = width
        self.body = nn.Sequential(
            ConvNormAct(8, w), ConvNormAct(w, 2 * w, 2), ConvNormAct(2 * w, 2 * w), ConvNormAct(2 * w, 4 * w, 2)
        )
        self.head = nn.Sequential(nn.Linear(4 * w, 32), nn.SiLU(), nn.Linear(32, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(pack(image)).mean((2, 3, 4)))[:, 0]


@torch.inference_mode()
def raw_ages(images: np.ndarray, batch_size: int = 16) -> np.ndarray:
    """Ages in years before calibration, (N,), of images (N, 48, 56, 48) on the 4 mm grid."""
    network = load_instrument("brain_age", AgeNet)
    stack = torch.from_numpy(np.asarray(images, dtype=np.float32))[:, None]
    out = [network(normalise(part)) for part in stack.split(batch_size)]
    return torch.cat(out).numpy() * AGE_SCALE + AGE_CENTRE


def measure_ages(images: np.ndarray | torch.Tensor, spacing_mm: float = SPACING_MM) -> np.ndarray:
    """Ages in years, (N,), of T1w brains (N, D, H, W) or (N, 1, D, H, W), RAS, brain-extracted."""
    line = stated_errors()["age"]["calibration"]
    return line["slope"] * raw_ages(np.stack([to_grid(image, spacing_mm) for image in images])) + line["intercept"]


def measure_age(image: np.ndarray | torch.Tensor, spacing_mm: float = SPACING_MM) -> float:
    """Age in years of one T1w brain (D, H, W) or (1, D, H, W), RAS, brain-extracted."""
    return float(measure_ages([image], spacing_mm)[0])

"""Preparation of scans for training a network of anomaly maps: the bundle's own preprocessing and brain extraction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from synthzoo.inferers.brain_map import to_network
from synthzoo.instruments.brain.extraction import brain_mask
from synthzoo.io.kinds import stem


class BrainVolume:
    """Path of a scan -> z-scores of its brain, float32 (D, H, W) on the network's grid, exactly 0 outside.

    Args:
        preprocessing: of inference.json: {"image": path, "case": name} -> {"image": (1, D, H, W) on the head grid}.
        network: gives the trained `extractor` and the `grid`.
        spacing_mm: of the head grid.
    """

    def __init__(self, preprocessing: Callable, network: torch.nn.Module, spacing_mm: float = 2.0) -> None:
        self.preprocessing, self.network, self.spacing_mm = preprocessing, network, spacing_mm

    def __repr__(self) -> str:
        return f"BrainVolume({self.spacing_mm:g} mm, {tuple(self.network.grid)})"

    def __call__(self, path: str | Path) -> np.ndarray:
        data = self.preprocessing({"image": str(path), "case": stem(Path(path).name)})
        head = torch.as_tensor(data["image"]).as_subclass(torch.Tensor)[0].float().cpu().numpy()
        device = next(self.network.extractor.parameters()).device
        was_training = self.network.extractor.training
        self.network.extractor.eval()
        try:
            mask = brain_mask(head, self.network.extractor, device, self.spacing_mm)
        finally:
            self.network.extractor.train(was_training)
        return to_network(head, mask, self.network.grid)[0]

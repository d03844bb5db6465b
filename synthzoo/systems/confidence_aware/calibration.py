"""Thresholds of the map at stated false-positive rates, from healthy radiographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.networks.saving import save_weights
from synthzoo.systems.confidence_aware.inferer import ConfidenceMapInferer
from synthzoo.systems.confidence_aware.network import RATES

BINS = 4096


class ThresholdCalibration:
    """Count the scores of healthy radiographs and store the thresholds in the network's buffer.

    The threshold of a rate r is the score that a share r of all pixels of healthy radiographs exceeds.

    Args:
        network: trained `AnomalyConfidenceNetwork`.
        inferer: as the bundle has it.
        images: healthy radiographs, preprocessed, of patients that training has not seen; rows with an "image".
        save_to: weights file that receives the network, in half precision.
        count: radiographs.
        device: where the network runs.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        inferer: ConfidenceMapInferer,
        images: Dataset,
        save_to: str | Path,
        count: int = 200,
        device: str | torch.device = "cpu",
    ) -> None:
        self.network, self.inferer, self.images = network.eval(), inferer, images
        self.save_to, self.count, self.device = Path(save_to), min(count, len(images)), device

    def run(self) -> dict[str, float]:
        """Fill the buffer and save the network; gives rate -> threshold."""
        counts = np.zeros(BINS, np.int64)
        for row in tqdm(range(self.count), desc="healthy radiographs"):
            image = torch.as_tensor(self.images[row]["image"])[None].to(self.device)
            scores = self.inferer(image, self.network)["pred"].cpu().numpy()
            counts += np.histogram(scores, BINS, (0, 1))[0]
        above = counts[::-1].cumsum()[::-1] / counts.sum()  # share of pixels at or above the lower edge of each bin
        thresholds = [float(np.argmax(above <= rate) / BINS) if (above <= rate).any() else 1.0 for rate in RATES]
        self.network.thresholds.copy_(torch.tensor(thresholds))
        save_weights(self.network, self.save_to, half=True)
        return dict(zip(map(str, RATES), thresholds))

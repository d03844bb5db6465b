"""The segmenter's threshold, chosen on whole phantoms that no training saw, and what it reaches on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from synthzoo.datasets.brain.sick_slices import as_channels
from synthzoo.networks.saving import save_weights
from synthzoo.phantoms.brain.pathology.pool import sick_subject
from synthzoo.phantoms.brain.pathology.scans import TISSUES, Scan, sick_scan
from synthzoo.systems.brainspade3d.segmenter import BrainSegmenter

THRESHOLDS = np.round(np.arange(0.1, 0.91, 0.05), 2)
FIRST_SEED = 500_000  # of subjects that no pool has
VOXEL_ML = 0.008
LEAST_ML = 1.0  # scans that show less lesion have no Dice


class SegmenterThreshold:
    """Choose the threshold of best mean Dice over contrasts and store the network with it.

    Args:
        network: trained.
        save_to: weights file.
        scans: whole phantoms of each contrast.
        first_seed: of the subjects.
        kinds: contrasts, which count alike.
        device: where the network runs.
    """

    def __init__(
        self,
        network: BrainSegmenter,
        save_to: str | Path,
        scans: int = 8,
        first_seed: int = FIRST_SEED,
        kinds: Sequence[str] = ("FLAIR", "T1Gd"),
        device: str | torch.device = "cpu",
    ) -> None:
        self.network, self.save_to, self.device = network.eval(), Path(save_to), device
        self.scans, self.first_seed, self.kinds = scans, first_seed, tuple(kinds)

    def run(self) -> dict[str, float]:
        """Fill the network's `threshold`, save it, and give the threshold and each contrast's mean Dice at it."""
        rows: dict[str, list[np.ndarray]] = {kind: [] for kind in self.kinds}
        for number in tqdm(range(self.scans), desc="phantoms"):
            subject = sick_subject(self.first_seed + number)
            for kind in self.kinds:
                scan = sick_scan(subject, np.random.RandomState(self.first_seed + number), kind)
                sick = scan.labels >= len(TISSUES)
                if sick.sum() * VOXEL_ML >= LEAST_ML:
                    share = lesion_share(self.network, scan, self.device)
                    rows[kind].append(np.array([dice(share > level, sick) for level in THRESHOLDS]))
        means = {kind: np.mean(found, 0) for kind, found in rows.items() if found}
        best = int(np.argmax(sum(means.values())))
        self.network.threshold.fill_(float(THRESHOLDS[best]))
        save_weights(self.network, self.save_to, half=True)
        return {"threshold": float(THRESHOLDS[best])} | {kind: float(mean[best]) for kind, mean in means.items()}


def lesion_share(network: BrainSegmenter, scan: Scan, device: str | torch.device = "cpu") -> np.ndarray:
    """Probability of lesion, all parts together, float32 (D, H, W), of a phantom's scan on the network's grid."""
    return read_scan(network, scan, device)[len(TISSUES) :].sum(0).cpu().numpy()


def read_scan(network: BrainSegmenter, scan: Scan, device: str | torch.device = "cpu") -> torch.Tensor:
    """Probabilities (len(CLASSES), D, H, W) of a phantom's scan on the network's grid."""
    channels = torch.from_numpy(as_channels(scan.image, scan.rank, scan.mask)).to(device)
    with torch.inference_mode():
        return network.read(channels)


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Dice coefficient of two boolean arrays, 1 where both are empty."""
    total = int(found.sum() + truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0

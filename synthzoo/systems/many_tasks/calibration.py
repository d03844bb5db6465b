"""Calibration of the anomaly map: its healthy reference map, against which the map of a scan is corrected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy import ndimage as ndi
from tqdm import tqdm

from synthzoo.metrics.localisation import healthy_threshold
from synthzoo.networks.saving import save_weights
from synthzoo.phantoms.brain import phantom as brain
from synthzoo.phantoms.brain.contrast import SEQUENCES, render
from synthzoo.systems.many_tasks.inferer import smooth_inside, to_network


class AnomalyCalibration:
    """Mean of the maps of healthy phantoms in all contrasts, stored in the network's buffer.

    Args:
        network: trained `AnomalyMapNetwork`.
        save_to: weights file that receives it, in half precision.
        subjects, first_seed: of the phantoms; seeds of the validation range.
        smooth_voxels: width of the Gaussian over a map, as the inferer uses it.
        blur_voxels: width of the Gaussian over the mean; a phantom's brain is no other's.
        device: where the network runs.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        save_to: str,
        subjects: int = 4,
        first_seed: int = 150_000,
        smooth_voxels: float | None = 1.0,
        blur_voxels: float = 3.0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.network, self.save_to, self.device = network.eval(), Path(save_to), device
        self.seeds = range(first_seed, first_seed + subjects)
        self.smooth_voxels, self.blur_voxels = smooth_voxels, blur_voxels

    def run(self) -> dict[str, float]:
        """Fill the buffer and save the network; gives the `threshold` that `healthy_threshold` finds in the same maps.

        Maps that are set against themselves look a little too healthy; with 4 phantoms that is little.
        """
        subjects = [self._maps(seed) for seed in tqdm(self.seeds, desc="healthy phantoms")]
        self._fill(np.stack([self._sums(heats, masks) for heats, masks in subjects]))
        save_weights(self.network, self.save_to, half=True)
        corrected = [self._corrected(heat) for heats, _ in subjects for heat in heats]
        return {"threshold": round(healthy_threshold(corrected, [mask for _, masks in subjects for mask in masks]), 3)}

    def _maps(self, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The maps of a phantom in all contrasts, and their masks."""
        heats, masks = [], []
        anatomy = brain.make_anatomy(brain.draw_params(seed), 2.0)
        for contrast, gadolinium in SEQUENCES.values():
            image = render(anatomy, contrast, seed=seed, gadolinium=gadolinium)
            volume, mask, _ = to_network(image, anatomy.mask & (image > 0), self.network.grid)
            with torch.no_grad():
                heat = self.network(torch.from_numpy(volume)[None, None].to(self.device))[0, 0].cpu().numpy()
            heats.append(smooth_inside(np.clip(heat, 0, 1), mask, self.smooth_voxels))
            masks.append(mask)
        return heats, masks

    def _sums(self, heats: list[np.ndarray], masks: list[np.ndarray]) -> np.ndarray:
        """Means over the contrasts, blurred, of mask and map: (2, D, H, W)."""
        means = np.mean(masks, 0), np.mean(heats, 0)
        return np.stack([ndi.gaussian_filter(values.astype(np.float32), self.blur_voxels) for values in means])

    def _fill(self, sums: np.ndarray) -> None:
        """The network's buffer from what `_sums` gave for some phantoms."""
        share, heat = sums.mean(0)
        reference = _every_fourth(heat / np.maximum(share, 1e-3))
        self.network.usual.copy_(torch.from_numpy(reference)[None, None])
        self.network.calibrated.fill_(1)

    def _corrected(self, heat: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            heat = torch.from_numpy(heat.astype(np.float32))[None, None].to(self.device)
            return self.network.corrected(heat)[0, 0].cpu().numpy()


def _every_fourth(values: np.ndarray) -> np.ndarray:
    """Means of blocks of 4 x 4 x 4 voxels."""
    d, h, w = (n // 4 for n in values.shape)
    return values[: 4 * d, : 4 * h, : 4 * w].reshape(d, 4, h, 4, w, 4).mean((1, 3, 5)).astype(np.float32)

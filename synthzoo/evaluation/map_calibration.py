"""Calibration of the anomaly map: its healthy reference map, against which the map of a scan is corrected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage as ndi
from tqdm import tqdm

from synthzoo.inferers.brain_map import BrainMapInferer, smooth_inside, to_network
from synthzoo.metrics.localisation import healthy_threshold
from synthzoo.networks.saving import save_weights
from synthzoo.phantoms.brain import phantom as brain
from synthzoo.phantoms.brain.contrast import SEQUENCES, render

THRESHOLD = 0.5  # of maps with an offset of their own


class AnomalyCalibration:
    """Mean of the maps of healthy phantoms in all contrasts by each method, stored in the network's buffer.

    Of a network with `offsets` they are set so that one voxel in 200 of these maps exceeds `THRESHOLD`, by any method.

    Args:
        network: trained, see `MapParts`.
        save_to: weights file that receives it, in half precision.
        subjects, first_seed: of the phantoms; seeds of the validation range.
        smooth_voxels: width of the Gaussian over a map, as the inferer uses it.
        blur_voxels: width of the Gaussian over the mean; a phantom's brain is no other's.
        device: where the network runs.
        inferer: that makes the maps; None takes what the network gives.
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
        inferer: BrainMapInferer | None = None,
    ) -> None:
        self.network, self.save_to, self.device = network.eval(), Path(save_to), device
        self.seeds = range(first_seed, first_seed + subjects)
        self.smooth_voxels, self.blur_voxels = smooth_voxels, blur_voxels
        self.inferer = inferer or BrainMapInferer()

    def run(self) -> dict[str, float]:
        """Fill the buffer and save the network; gives the `threshold` that `healthy_threshold` finds in the same maps.

        Maps that are set against themselves look a little too healthy; with 4 phantoms that is little.
        """
        subjects = [self._maps(seed) for seed in tqdm(self.seeds, desc="healthy phantoms")]
        masks = [mask for _, own in subjects for mask in own]
        thresholds = {}
        for number, method in enumerate(self.inferer.METHODS):
            heats = [heat[method] for own, _ in subjects for heat in own]
            sums = [self._sums([heat[method] for heat in own], inside) for own, inside in subjects]
            self._fill(np.stack(sums), number)
            if self.network.offsets is None:
                corrected = [self._with(self.network.corrected, heat, number) for heat in heats]
                thresholds[method] = round(healthy_threshold(corrected, masks), 3)
            else:
                odds = [self._with(self.network.odds, heat, number) for heat in heats]
                self.network.offsets[number] = healthy_threshold(odds, masks)
                thresholds[method] = THRESHOLD
        save_weights(self.network, self.save_to, half=True)
        return {"threshold": thresholds[self.inferer.method]}

    def healthy(self, seed: int) -> Iterator[tuple[torch.Tensor, np.ndarray]]:
        """Z-scores (1, 1, D, H, W) of a phantom in all contrasts, each with its mask (D, H, W)."""
        anatomy = brain.make_anatomy(brain.draw_params(seed), 2.0)
        for contrast, gadolinium in SEQUENCES.values():
            image = render(anatomy, contrast, seed=seed, gadolinium=gadolinium)
            volume, mask, _ = to_network(image, anatomy.mask & (image > 0), self.network.grid)
            yield torch.from_numpy(volume)[None, None].to(self.device), mask

    def _maps(self, seed: int) -> tuple[list[dict[str, np.ndarray]], list[np.ndarray]]:
        """The maps of a phantom in all contrasts, by method, and their masks."""
        heats, masks = [], []
        for volume, mask in self.healthy(seed):
            with torch.no_grad():
                found = self.inferer.heats(volume, self.network)
            clipped = {method: np.clip(heat[0, 0].float().cpu().numpy(), 0, 1) for method, heat in found.items()}
            heats.append({method: smooth_inside(heat, mask, self.smooth_voxels) for method, heat in clipped.items()})
            masks.append(mask)
        return heats, masks

    def _sums(self, heats: list[np.ndarray], masks: list[np.ndarray]) -> np.ndarray:
        """Means over the contrasts, blurred, of mask and map: (2, D, H, W)."""
        means = np.mean(masks, 0), np.mean(heats, 0)
        return np.stack([ndi.gaussian_filter(values.astype(np.float32), self.blur_voxels) for values in means])

    def _fill(self, sums: np.ndarray, method: int) -> None:
        """The network's buffer from what `_sums` gave for some phantoms."""
        share, heat = sums.mean(0)
        reference = _every_fourth(heat / np.maximum(share, 1e-3))
        self.network.usual[0, method].copy_(torch.from_numpy(reference))
        self.network.calibrated.fill_(1)

    def _with(self, function: Callable[[torch.Tensor, int], torch.Tensor], heat: np.ndarray, method: int) -> np.ndarray:
        with torch.no_grad():
            given = torch.from_numpy(heat.astype(np.float32))[None, None].to(self.device)
            return function(given, method)[0, 0].cpu().numpy()


def _every_fourth(values: np.ndarray) -> np.ndarray:
    """Means of blocks of 4 x 4 x 4 voxels."""
    d, h, w = (n // 4 for n in values.shape)
    return values[: 4 * d, : 4 * h, : 4 * w].reshape(d, 4, h, 4, w, 4).mean((1, 3, 5)).astype(np.float32)

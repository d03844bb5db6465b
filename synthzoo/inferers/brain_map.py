"""Anomaly map of a head: extract the brain, compute robust z-scores, run the network, put the map back.

Everything happens on one head grid (see `transforms.head_grid`), in voxels: the inferer needs no affine, and a server
that hands over a bare tensor gets the same map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from monai.inferers import Inferer
from scipy import ndimage as ndi

from synthzoo.errors import UserError
from synthzoo.instruments.brain.extraction import brain_mask, expect_brain

Z_RANGE = (-4.0, 6.0)
QUIET = 0.15  # noise of the phantoms in z-scores, that the maps are calibrated at


class BrainMapInferer(Inferer):
    """Compute the anomaly map of a head, [0, 1] in each voxel; a subclass says by `heats` how.

    Args:
        method: which of `METHODS`; None takes the first.
        spacing_mm: of the head grid; the extractor works at twice that.
        smooth_voxels: width of a Gaussian over the map, None for none.
        progress: show a bar.

    Called with heads (B, 1, D, H, W), any intensity unit, and the network; returns (B, 1, D, H, W) in [0, 1], exactly 0
    outside the brain.

    Raises:
        UserError: an unknown method; no brain was found, or what was found does not look like one.
    """

    METHODS: ClassVar[tuple[str, ...]] = ("map",)

    def __init__(
        self,
        spacing_mm: float = 2.0,
        smooth_voxels: float | None = None,
        progress: bool = True,
        method: str | None = None,
    ) -> None:
        if method is not None and method not in self.METHODS:
            raise UserError(f"method = {method!r}: the known ones are {', '.join(self.METHODS)}.")
        self.method = method or self.METHODS[0]
        self.spacing_mm, self.smooth_voxels, self.progress = spacing_mm, smooth_voxels, progress

    def __call__(self, inputs: torch.Tensor, network: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        heads = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        device = heads.device
        with torch.no_grad():
            maps = [self.map_head(head[0].float().cpu().numpy(), network, device) for head in heads]
        return torch.stack([torch.from_numpy(m)[None] for m in maps]).to(device)

    def map_head(self, head: np.ndarray, network: torch.nn.Module, device: str | torch.device = "cpu") -> np.ndarray:
        """Map (D, H, W) of one head (D, H, W)."""
        mask = brain_mask(head, network.extractor, device, self.spacing_mm)
        expect_brain(head, mask)
        volume, inside, where = to_network(head, mask, network.grid)
        number = self.METHODS.index(self.method)
        result = self.heat(torch.from_numpy(volume)[None, None].to(device), network)
        result = np.clip(result[0, 0].float().cpu().numpy(), 0, 1)
        out = np.zeros(head.shape, np.float32)
        out[where[0]] = finish(result, inside, self.smooth_voxels, network, number)[where[1]]
        return np.clip(out, 0, 1)

    def heat(self, volume: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
        """Map (1, 1, *grid) of z-scores (1, 1, *grid), 0 outside the brain: neither smoothed nor corrected."""
        return self.heats(volume, network)[self.method]

    def heats(self, volume: torch.Tensor, network: torch.nn.Module) -> dict[str, torch.Tensor]:
        """As `heat`, by every method."""
        return {"map": network(volume)}


def smooth_inside(heat: np.ndarray, mask: np.ndarray, sigma: float | None) -> np.ndarray:
    """Gaussian smoothing of (D, H, W) within a mask, so that the edge does not fade; 0 outside. None only masks."""
    if not sigma:
        return heat * mask
    weight = np.maximum(ndi.gaussian_filter(mask.astype(np.float32), sigma), 1e-3)
    return ndi.gaussian_filter(heat * mask, sigma) / weight * mask


def finish(
    heat: np.ndarray, mask: np.ndarray, sigma: float | None, network: torch.nn.Module, method: int = 0
) -> np.ndarray:
    """Smooth a network's map within the brain and correct it by the method's healthy reference map, if there is one."""
    heat = smooth_inside(heat, mask, sigma).astype(np.float32)
    if not hasattr(network, "corrected"):
        return heat
    with torch.no_grad():
        device = network.usual.device
        return network.corrected(torch.from_numpy(heat)[None, None].to(device), method)[0, 0].cpu().numpy() * mask


def robust_scores(values: np.ndarray) -> tuple[float, float]:
    """Centre and spread of brain voxels: median, and the 10 to 90 % range as that of a Gaussian."""
    low, middle, high = np.percentile(values, (10, 50, 90))
    return float(middle), float(max(high - low, 1e-6) / 2.563)


def noise_of(volume: np.ndarray, mask: np.ndarray) -> float:
    """Standard deviation of the noise of (D, H, W) inside a mask, in its unit; 0 for a mask too thin to tell.

    The median size of the second differences along all three axes, which smooth anatomy hardly has; after Immerkaer,
    "Fast noise variance estimation", CVIU 1996, in three dimensions.
    """
    inner = ndi.binary_erosion(mask, iterations=2)
    if not inner.any():
        return 0.0
    rough = volume.astype(np.float64)
    for axis in range(rough.ndim):
        rough = ndi.correlate1d(rough, [1.0, -2.0, 1.0], axis=axis)
    return float(np.median(np.abs(rough[inner])) / 0.6745 / 6 ** (rough.ndim / 2))


def as_noisy(volume: np.ndarray, mask: np.ndarray, noise: float = QUIET) -> np.ndarray:
    """Z-scores (D, H, W) with as much noise added as lacks to `noise`, always the same.

    Averages and scans brought from 1 mm to 2 mm are quieter than what the network learned from; in such it takes more
    of the healthy brain for wrong and sees less of what is.
    """
    lacking = noise**2 - noise_of(volume, mask) ** 2
    if lacking <= 0:
        return volume
    return volume + np.float32(np.sqrt(lacking)) * np.random.RandomState(0).standard_normal(volume.shape)


def to_network(
    head: np.ndarray, mask: np.ndarray, grid: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Cut the brain's box out of the head and give its z-scores, no quieter than `QUIET`.

    Returns:
        volume float32 grid with exactly 0 outside the brain, its mask, and the two tuples of slices (head, volume) that
        belong together.
    """
    centre, spread = robust_scores(head[mask])
    z = np.clip(as_noisy((head - centre) / spread, mask), *Z_RANGE).astype(np.float32)
    z[z == 0] = 1e-6  # 0 means outside
    z[~mask] = 0
    found = np.argwhere(mask)
    middle = (found.min(0) + found.max(0) + 1) / 2
    start = np.round(middle - np.array(grid) / 2).astype(int)
    source = tuple(slice(max(s, 0), min(s + g, n)) for s, g, n in zip(start, grid, head.shape))
    target = tuple(slice(a.start - s, a.stop - s) for a, s in zip(source, start))
    volume = np.zeros(grid, np.float32)
    volume[target] = z[source]
    return volume, volume != 0, (source, target)

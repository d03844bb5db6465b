"""The segmenter that is trained on synthetic brains alone: tissues and parts of lesions in a scan of any contrast.

A two-dimensional U-Net reads a volume slice by slice along its three axes; the mean of the three, and of their mirror
images, is each voxel's opinion. Beside z-scores it sees each voxel's rank among the brain's, which no outlier and no
monotone change of intensities alters, and the rank of the voxel across the middle plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import BasicUNet
from torch import nn
from torch.nn import functional as F

from synthzoo.networks.plain_unet import PlainUNet
from synthzoo.networks.weights import expect_same_network, read_state
from synthzoo.phantoms.brain.pathology.scans import LABELS, TISSUES, Z_RANGE

CLASSES = tuple(LABELS)
CHANNELS = 3  # z-score, rank, mirrored rank
SLICES_AT_ONCE = 16  # more of them leave the processor's cache


class BrainSegmenter(nn.Module):
    """Slice network and brain extractor in one state dict.

    Args:
        features: six widths of the `BasicUNet`.
        pack: blocks of so many by so many pixels become channels at the network's door and pixels again at its end,
            which keeps every pixel and costs a part of a network at full resolution; 1 packs nothing.
        grid: voxels per axis of the volume that `forward` takes, RAS at 2 mm; multiples of 16.
        extractor_channels: width per level of the extractor, which takes a head (B, 1, 56, 64, 56) at 4 mm.

    `forward` takes (B, 2, *grid), z-scores and 0.5 + rank, exactly 0 outside the brain, and gives probabilities
    (B, len(CLASSES), *grid), outside the brain those of the background. Buffer `threshold` is the probability of all
    lesion parts together from which on a voxel is called lesion.
    """

    def __init__(
        self,
        features: Sequence[int] = (32, 48, 64, 96, 128, 32),
        pack: int = 2,
        grid: Sequence[int] = (80, 96, 80),
        extractor_channels: Sequence[int] = (8, 16, 32, 48),
    ) -> None:
        super().__init__()
        act = ("LeakyReLU", {"negative_slope": 0.1, "inplace": True})
        self.grid, self.pack = tuple(grid), int(pack)
        inputs, outputs = (channels * self.pack**2 for channels in (CHANNELS, len(CLASSES)))
        self.planes = BasicUNet(2, inputs, outputs, features=tuple(features), act=act, norm="batch")
        self.extractor = PlainUNet(3, 1, tuple(extractor_channels))
        self.register_buffer("threshold", torch.tensor(0.5))

    def slices(self, image: torch.Tensor, axis: int, mirror: bool = True) -> torch.Tensor:
        """Logits (B, len(CLASSES), h, w) of slices (B, 2, h, w) across `axis`.

        Left to right is the first axis of coronal and axial slices; a sagittal slice does not hold its other side.
        """
        other = image[:, 1:].flip(2) if mirror and axis > 0 else torch.zeros_like(image[:, 1:])
        packed = F.pixel_unshuffle(torch.cat([image, other], 1), self.pack)
        return F.pixel_shuffle(self.planes(packed.contiguous(memory_format=torch.channels_last)), self.pack)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.read(one) for one in volume])

    def read(self, volume: torch.Tensor, axes: Sequence[int] = (0, 1, 2), flips: bool = True) -> torch.Tensor:
        """Probabilities (len(CLASSES), *grid) of a volume (2, *grid), the mean over axes and, with `flips`, mirrors."""
        total = volume.new_zeros(len(CLASSES), *volume.shape[1:])
        for axis in axes:
            cuts = volume.movedim(axis + 1, 0)
            filled = (cuts[:, 1] != 0).flatten(1).any(1)
            found = cuts.new_zeros(len(cuts), len(CLASSES), *cuts.shape[2:])
            if filled.any():
                found[filled] = torch.cat(
                    [self._opinion(part, axis, flips) for part in cuts[filled].split(SLICES_AT_ONCE)]
                )
            total += found.movedim(0, axis + 1) / len(axes)
        inside = volume[1] != 0
        background = torch.zeros_like(total)
        background[0] = 1
        return torch.where(inside, total, background)

    def _opinion(self, cuts: torch.Tensor, axis: int, flips: bool) -> torch.Tensor:
        """Probabilities of slices (B, 2, h, w), with `flips` the mean with those of their mirror images."""
        found = self.slices(cuts, axis).float().softmax(1)
        if not flips or axis == 0:  # left and right of a sagittal slice are front and back
            return found
        return (found + self.slices(cuts.flip(2), axis).float().softmax(1).flip(2)) / 2

    def decide(self, probabilities: torch.Tensor, threshold: float | None = None) -> torch.Tensor:
        """Labels uint8 (...) by `LABELS` of probabilities (len(CLASSES), ...)."""
        level = float(self.threshold) if threshold is None else threshold
        tissue, part = probabilities[: len(TISSUES)].argmax(0), probabilities[len(TISSUES) :].argmax(0) + len(TISSUES)
        return torch.where(probabilities[len(TISSUES) :].sum(0) > level, part, tissue).to(torch.uint8)


def scan_channels(volume: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What the network sees of a scan, float32 (2, D, H, W): z-scores and 0.5 + rank, exactly 0 outside the mask.

    Args:
        volume: intensities (D, H, W) in any unit.
        mask: brain, bool (D, H, W).
    """
    inside = volume[mask].astype(np.float64)
    low, middle, high = np.percentile(inside, (10, 50, 90))
    z = np.clip((inside - middle) / (max(high - low, 1e-6) / 2.563), *Z_RANGE)
    knots = np.linspace(0, 100, 257)
    rank = np.interp(inside, np.percentile(inside, knots), knots / 100)
    out = np.zeros((2, *volume.shape), np.float32)
    out[0, mask], out[1, mask] = z, rank + 0.5
    return out


def start_segmenter(
    network: BrainSegmenter, extractor: str | Path | None = None, device: str | torch.device | None = None
) -> BrainSegmenter:
    """Begin a training of the slice network with a trained extractor.

    Args:
        network: untrained.
        extractor: weights file of a network with such an `extractor`, which alone is taken; an absent file is none.
        device: where the network is moved.
    """
    state = network.state_dict()
    if extractor and Path(extractor).is_file():
        state |= {name: value for name, value in read_state(extractor).items() if name.startswith("extractor.")}
        expect_same_network(network, state, extractor)
        network.load_state_dict(state)
    return network if device is None else network.to(device)

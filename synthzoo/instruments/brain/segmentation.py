"""A small network that tells brain tissues apart, for the features of our FID, and the grid of the brain instruments.

The network is a 3D U-Net on a 4 mm grid, trained on brain-extracted phantoms of four contrasts and of random ones (in
the spirit of Billot et al., "SynthSeg", Medical Image Analysis 2023). Its five outputs are the shares of a voxel that
are background, grey matter, white matter, sulcal CSF and ventricle. The mean over the grid of its deepest layer is the
feature vector of our FID: 48 numbers from a network that has learned anatomy and has never seen a generated image.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage as ndi
from torch import nn

from synthzoo.errors import UserError
from synthzoo.instruments.volume_network import BlockUNet

GRID, SPACING_MM = (48, 56, 48), 4.0
CLASSES = ("background", "gm", "wm", "csf", "ventricle")
WEIGHTS = Path(__file__).parent / "weights"


class TissueNet(BlockUNet):
    """`BlockUNet` of brain-extracted images (B, 1, D, H, W) -> logits (B, 5, D, H, W)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__(len(CLASSES), 1, width)


def normalise(image: torch.Tensor) -> torch.Tensor:
    """Images (B, 1, D, H, W) shifted to a minimum of 0 and divided by their own 99.5th percentile, at most 1.5."""
    flat = image.flatten(1)
    low = flat.amin(1, keepdim=True)
    high = torch.quantile(flat, 0.995, dim=1, keepdim=True)
    flat = (flat - low) / (high - low).clamp_min(1e-6)
    return flat.clamp(0, 1.5).reshape(image.shape)


@lru_cache(maxsize=4)
def load_instrument(name: str, kind: type[nn.Module]) -> nn.Module:
    """The network of instrument `name` with its shipped weights, in eval mode on the CPU."""
    path = WEIGHTS / f"{name}.pt"
    if not path.is_file():
        raise UserError(f"{path}: does not exist; make it with `python scripts/train_instruments.py all`.")
    network = kind()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()


def to_grid(image: np.ndarray | torch.Tensor, spacing_mm: float = SPACING_MM) -> np.ndarray:
    """An RAS image on the instruments' 4 mm grid, float32 (48, 56, 48); the two fields of view share their centre.

    Args:
        image: (D, H, W) or (1, D, H, W).
        spacing_mm: its voxel size; finer images are low-passed first.

    Raises:
        UserError: not one 3D volume, values that are not finite, or the same value everywhere.
    """
    image = np.asarray(image.detach().cpu() if isinstance(image, torch.Tensor) else image, dtype=np.float32)
    shape = tuple(image.shape)
    image = image[0] if image.ndim == 4 and shape[0] == 1 else image
    if image.ndim != 3 or min(image.shape) < 8:
        raise UserError(f"image: has shape {shape}; an instrument takes one 3D volume (D, H, W) of at least 8 voxels.")
    if not np.isfinite(image).all():
        raise UserError("image: holds values that are not finite; an instrument takes numbers only.")
    if image.min() == image.max():
        raise UserError(f"image: is {image.max():g} everywhere; an instrument takes an image with a brain in it.")
    if image.shape == GRID and spacing_mm == SPACING_MM:
        return image
    sigma = 0.42 * np.sqrt(max(SPACING_MM**2 - spacing_mm**2, 0)) / spacing_mm
    step = SPACING_MM / spacing_mm
    first = [(n - 1) / 2 - step * (m - 1) / 2 for n, m in zip(image.shape, GRID, strict=True)]
    smooth = ndi.gaussian_filter(image, sigma, truncate=2.5)
    return ndi.affine_transform(smooth, np.full(3, step), first, output_shape=GRID, order=1, mode="constant")


def stack_on_grid(
    images: np.ndarray | torch.Tensor | Sequence[np.ndarray], spacing_mm: float = SPACING_MM
) -> np.ndarray:
    """A batch (N, D, H, W) or (N, 1, D, H, W), or a list of images, on the grid: float32 (N, 48, 56, 48)."""
    if not isinstance(images, (list, tuple)) and np.ndim(images) not in (4, 5):
        raise UserError(f"images: have shape {tuple(np.shape(images))}; a batch is (N, D, H, W) or (N, 1, D, H, W).")
    return np.stack([to_grid(image, spacing_mm) for image in images])


@torch.inference_mode()
def segment(images: np.ndarray, batch_size: int = 8) -> np.ndarray:
    """Soft tissue fractions, float32 (N, 5, 48, 56, 48), of images (N, 48, 56, 48) on the 4 mm grid."""
    network = load_instrument("brain_segmentation", TissueNet)
    stack = torch.as_tensor(np.asarray(images, dtype=np.float32))[:, None]
    return torch.cat([network(normalise(part)).softmax(1) for part in stack.split(batch_size)]).numpy()


@torch.inference_mode()
def features(
    images: np.ndarray | torch.Tensor | Sequence[np.ndarray], spacing_mm: float = SPACING_MM, batch_size: int = 8
) -> np.ndarray:
    """Feature vectors for FID, float32 (N, 48): the mean over space of the segmentation network's deepest layer.

    Args:
        images: RAS batch (N, D, H, W) or (N, 1, D, H, W), brain-extracted.
        spacing_mm: voxel size.
        batch_size: images at once.
    """
    network = load_instrument("brain_segmentation", TissueNet)
    stack = torch.from_numpy(stack_on_grid(images, spacing_mm))[:, None]
    deepest = [network.encode(normalise(part))[2].mean((2, 3, 4)) for part in stack.split(batch_size)]
    return torch.cat(deepest).numpy()

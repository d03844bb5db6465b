"""The network behind the brain instruments: soft tissue fractions from any MR contrast.

A small 3D U-Net on a 4 mm grid, trained on brain-extracted phantoms of four contrasts and of random ones (in the spirit
of Billot et al., "SynthSeg", Medical Image Analysis 2023). Its five outputs are the shares of a voxel that are
background, grey matter, white matter, sulcal CSF and ventricle, so a sum over voxels is a volume. The mean over the
grid of its deepest features is the feature vector of our FID: 96 numbers from a network that has learned to tell brain
tissue apart and has never seen a generated image.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage as ndi
from torch import nn
from torch.nn import functional as F

from synthzoo.errors import UserError

GRID, SPACING_MM = (48, 56, 48), 4.0
CLASSES = ("background", "gm", "wm", "csf", "ventricle")
WEIGHTS = Path(__file__).parent / "weights"


class ConvNormAct(nn.Sequential):
    """3x3x3 convolution, group normalisation, SiLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(8, outputs), nn.SiLU(inplace=True)
        )


def pack(image: torch.Tensor) -> torch.Tensor:
    """(B, C, D, H, W) to (B, 8 C, D/2, H/2, W/2): each 2x2x2 block becomes channels."""
    b, c, d, h, w = image.shape
    blocks = image.reshape(b, c, d // 2, 2, h // 2, 2, w // 2, 2)
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * 8, d // 2, h // 2, w // 2)


def unpack(packed: torch.Tensor) -> torch.Tensor:
    """The inverse of `pack`."""
    b, c, d, h, w = packed.shape
    blocks = packed.reshape(b, c // 8, 2, 2, 2, d, h, w)
    return blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // 8, d * 2, h * 2, w * 2)


class TissueNet(nn.Module):
    """U-Net on 2x2x2 blocks with a per-voxel end: (B, 1, D, H, W) -> logits (B, 5, D, H, W); D, H, W divisible by 8.

    The U-Net costs an eighth of one at full resolution and says what the surroundings are; a small perceptron then
    reads each voxel's own intensity in their light, which is what partial volumes at 4 mm need.
    """

    def __init__(self, width: int = 32, context: int = 12) -> None:
        super().__init__()
        w = width
        self.first = nn.Sequential(ConvNormAct(8, w), ConvNormAct(w, w))
        self.second = nn.Sequential(ConvNormAct(w, 2 * w, 2), ConvNormAct(2 * w, 2 * w))
        self.third = nn.Sequential(ConvNormAct(2 * w, 3 * w, 2), ConvNormAct(3 * w, 3 * w))
        self.to_second, self.to_first = nn.Conv3d(3 * w, 2 * w, 1), nn.Conv3d(2 * w, w, 1)
        self.up_second, self.up_first = ConvNormAct(2 * w, 2 * w), ConvNormAct(w, w)
        self.to_voxels = nn.Conv3d(w, 8 * context, 1)
        self.voxel = nn.Sequential(
            nn.Conv3d(context + 1, 32, 1), nn.SiLU(), nn.Conv3d(32, 32, 1), nn.SiLU(), nn.Conv3d(32, len(CLASSES), 1)
        )

    def encode(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features at a half, a quarter and an eighth of the resolution."""
        first = self.first(pack(image))
        second = self.second(first)
        return first, second, self.third(second)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        first, second, third = self.encode(image)
        up = F.interpolate(self.to_second(third), size=second.shape[2:], mode="trilinear")
        second = self.up_second(second + up)
        up = F.interpolate(self.to_first(second), size=first.shape[2:], mode="trilinear")
        context = unpack(self.to_voxels(self.up_first(first + up)))
        return self.voxel(torch.cat([4 * image, context], 1))


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
    """An RAS image (D, H, W) or (1, D, H, W) on the instruments' 4 mm grid, float32 (48, 56, 48).

    The two fields of view share their centre; finer images are low-passed first.
    """
    image = np.asarray(image.detach().cpu() if isinstance(image, torch.Tensor) else image, dtype=np.float32)
    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != 3:
        raise UserError(f"image: has shape {tuple(image.shape)}; an instrument takes one 3D volume, (D, H, W).")
    if image.shape == GRID and spacing_mm == SPACING_MM:
        return image
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = [-(n - 1) / 2 * spacing_mm for n in image.shape]
    return resample_to_grid(image, affine, np.zeros(3))


def grid_affine(centre_mm: np.ndarray) -> np.ndarray:
    """Voxel to world, float64 (4, 4), of the 4 mm RAS grid centred on `centre_mm`."""
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = np.asarray(centre_mm) - (np.array(GRID) - 1) / 2 * SPACING_MM
    return affine


def lowpass_to_grid(image: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Low-pass an image to the 4 mm grid's voxel size, float32, the same shape."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    sigma = 0.42 * np.sqrt(np.maximum(SPACING_MM**2 - spacing**2, 0)) / spacing
    return ndi.gaussian_filter(image.astype(np.float32), sigma, truncate=2.5)


def resample_to_grid(image: np.ndarray, affine: np.ndarray, centre_mm: np.ndarray) -> np.ndarray:
    """The 4 mm RAS grid around `centre_mm` filled from an image with any affine; 0 outside its field of view."""
    smooth = lowpass_to_grid(image, affine)
    matrix = np.linalg.inv(affine) @ grid_affine(centre_mm)
    return ndi.affine_transform(smooth, matrix[:3, :3], matrix[:3, 3], output_shape=GRID, order=1, mode="constant")


@torch.inference_mode()
def segment(images: np.ndarray | torch.Tensor, mirror: bool = False, batch_size: int = 8) -> np.ndarray:
    """Soft tissue fractions, float32 (N, 5, 48, 56, 48), of images (N, 48, 56, 48) on the 4 mm grid.

    Args:
        mirror: average with the left-right mirrored image.
    """
    network = load_instrument("brain_segmentation", TissueNet)
    images = torch.as_tensor(np.asarray(images, dtype=np.float32))[:, None]
    out = []
    for part in images.split(batch_size):
        part = normalise(part)
        shares = network(part).softmax(1)
        if mirror:
            shares = 0.5 * (shares + network(part.flip(2)).softmax(1).flip(2))
        out.append(shares.numpy())
    return np.concatenate(out)


@torch.inference_mode()
def features(images: np.ndarray | torch.Tensor, spacing_mm: float = SPACING_MM, batch_size: int = 8) -> np.ndarray:
    """Feature vectors for FID, float32 (N, 96): the mean over space of the segmentation network's deepest layer.

    Args:
        images: (N, D, H, W), (N, 1, D, H, W) or one image (D, H, W), RAS.
    """
    network = load_instrument("brain_segmentation", TissueNet)
    images = np.asarray(images.detach().cpu() if isinstance(images, torch.Tensor) else images, dtype=np.float32)
    images = images[None] if images.ndim == 3 else images
    stack = torch.from_numpy(np.stack([to_grid(image, spacing_mm) for image in images]))[:, None]
    deepest = [network.encode(normalise(part))[2] for part in stack.split(batch_size)]
    return torch.cat(deepest).mean((2, 3, 4)).numpy()

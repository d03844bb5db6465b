"""Phantoms with which the brain instruments are trained and tested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy import ndimage as ndi
from scipy.fft import dctn, idctn
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.phantoms.brain.phantom import BrainAnatomy, draw_params, make_anatomy, render

SPACING_MM = 4.0


class InstrumentPhantoms(Dataset):
    """Subjects cached as 8-bit tissue maps and rendered again in each draw.

    Rows are {"image": float32 (1, 48, 56, 48), "shares": float32 (5, 48, 56, 48)}; conditions are independent.

    Args:
        size: number of subjects.
        contrasts: names of `CONTRASTS` with the share of rows that each gets.
        first_seed: seed of the first subject.
    """

    def __init__(self, size: int, contrasts: dict[str, float], first_seed: int = 0) -> None:
        self.contrasts, self.chances = list(contrasts), np.array(list(contrasts.values()))
        self.maps, self.params = [], []
        for seed in tqdm(range(first_seed, first_seed + size), desc="subjects", mininterval=2.0):
            params = draw_params(seed, independent=True)
            anatomy = make_anatomy(params, SPACING_MM)
            self.maps.append(np.round(anatomy.tissues * 255).astype(np.uint8))
            self.params.append(params)
        self.affine, self.wall_mm = anatomy.affine, anatomy.wall_mm

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng(np.random.randint(2**31))  # the loader has seeded numpy for this draw
        tissues = self.maps[row].astype(np.float32) / 255
        anatomy = BrainAnatomy(tissues, None, {}, {}, self.affine, self.params[row], SPACING_MM, self.wall_mm)
        contrast = self.contrasts[rng.choice(len(self.contrasts), p=self.chances / self.chances.sum())]
        image = paint(anatomy, contrast, rng)
        shares = np.concatenate([np.clip(1 - tissues.sum(0, keepdims=True), 0, 1), tissues])
        if rng.random() < 0.5:
            image, shares = image[::-1], shares[:, ::-1]
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image))[None],
            "shares": torch.from_numpy(np.ascontiguousarray(shares)),
        }


def paint(anatomy: BrainAnatomy, contrast: str, rng: np.random.Generator) -> np.ndarray:
    """A rendering with random noise, bias and sharpness, half the time with a blur such as an autoencoder leaves."""
    noise = rng.uniform(0, 0.04) if rng.random() < 0.8 else 0.0
    resolution = rng.uniform(4.0, 6.0, 3) if rng.random() < 0.4 else None
    seed = int(rng.integers(2**31))
    image = render(anatomy, contrast, seed=seed, noise=noise, bias=rng.uniform(0, 0.35), resolution_mm=resolution)
    if rng.random() < 0.5:
        image = ndi.gaussian_filter(image, rng.uniform(0.15, 0.55))
        image = image + rng.uniform(0, 0.01) * rng.standard_normal(image.shape, dtype=np.float32)
    if contrast == "random" or rng.random() < 0.3:
        image = np.clip(image, 0, None) ** rng.uniform(0.85, 1.15)
    return image.astype(np.float32)


def degrade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Degrade an image (D, H, W) as compression and a generator may: blur, noise, changed levels.

    Half the resolution, a cosine series cut short (of the whole image or of blocks), blur up to 0.8 voxels, squeezed
    highlights, white or smooth noise. No gain: the volumes' features are relative, and age is read from brightness.
    """
    kind = rng.random()
    if kind < 0.15:
        d, h, w = (n // 2 for n in image.shape)
        image = ndi.zoom(image.reshape(d, 2, h, 2, w, 2).mean((1, 3, 5)), 2, order=1, grid_mode=True, mode="nearest")
    elif kind < 0.3:
        image = cut_series(image, rng.uniform(0.45, 0.9))
    elif kind < 0.5:
        share = rng.uniform(0.3, 1.0)
        image = share * ndi.gaussian_filter(cut_blocks(image), rng.uniform(0.2, 0.7)) + (1 - share) * image
    if rng.random() < 0.6:
        image = ndi.gaussian_filter(image, rng.uniform(0, 0.8))
    if rng.random() < 0.25:
        level = np.median(image[image > 0.1 * image.max()])
        image = np.minimum(image, level + (image - level) * rng.uniform(0.7, 1.0))
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    if rng.random() < 0.5:
        smooth = ndi.gaussian_filter(noise, 0.6)
        image = image + rng.uniform(0, 0.05) * smooth / smooth.std() * np.clip(image / 0.3, 0, 1)
    else:
        image = image + rng.uniform(0, 0.02) * noise
    return np.clip(image, 0, None).astype(np.float32)


def cut_series(image: np.ndarray, share: float) -> np.ndarray:
    """The cosine series of an image (D, H, W) without the frequencies above `share` of the highest, along each axis."""
    series = dctn(image, norm="ortho")
    for axis, size in enumerate(image.shape):
        series.swapaxes(0, axis)[int(size * share) :] = 0
    return idctn(series, norm="ortho")


def cut_blocks(image: np.ndarray, size: int = 4, keep: int = 2) -> np.ndarray:
    """The first `keep` cosine terms along each axis of every block of `size` voxels (8 numbers for 64)."""
    d, h, w = (n // size for n in image.shape)
    axes = (1, 3, 5)
    series = dctn(image.reshape(d, size, h, size, w, size), axes=axes, norm="ortho")
    for axis in axes:
        series.swapaxes(0, axis)[keep:] = 0
    return idctn(series, axes=axes, norm="ortho").reshape(image.shape)


def instrument_cases(
    first_seed: int, size: int, contrasts: Sequence[str], degraded: bool, independent: float = 0.5
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, float], BrainAnatomy]]:
    """Subjects one by one: images (D, H, W) by contrast, the truth (age in years, `<tissue>_ml`), the anatomy.

    Args:
        first_seed: seed of the first subject.
        size: number of subjects.
        contrasts: which images are rendered.
        degraded: random noise, bias and `degrade`; else noise 0.01 and bias 0.1, as the bundles' data sets have.
        independent: share of subjects whose age, ventricles and brain volume know nothing of each other.
    """
    for seed in tqdm(range(first_seed, first_seed + size), desc=f"phantoms from {first_seed}", mininterval=2.0):
        rng = np.random.default_rng([seed, 77])
        params = draw_params(seed, independent=bool(rng.random() < independent))
        anatomy = make_anatomy(params, SPACING_MM)
        images = {}
        for contrast in contrasts:
            noise, bias = (rng.uniform(0, 0.03), rng.uniform(0, 0.25)) if degraded else (0.01, 0.1)
            images[contrast] = render(anatomy, contrast, seed=seed, noise=noise, bias=bias)
            if degraded:
                images[contrast] = degrade(images[contrast], rng)
        yield images, {"age": params.age} | {f"{k}_ml": ml for k, ml in anatomy.volumes_ml.items()}, anatomy

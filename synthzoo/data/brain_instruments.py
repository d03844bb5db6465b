"""Phantoms with which the brain instruments are trained, calibrated and tested.

Conditions are independent of each other, so that no instrument can take one for another.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.phantoms.brain import BrainAnatomy, draw_params, make_anatomy, render

SPACING_MM = 4.0


class InstrumentPhantoms(Dataset):
    """Subjects kept as 8-bit tissue maps and painted anew each time.

    Rows are {"image": float32 (1, 48, 56, 48), "shares": float32 (5, 48, 56, 48), "age": float32 ()}.

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
            "age": torch.tensor(self.params[row].age, dtype=torch.float32),
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


def make_test_set(first_seed: int, size: int, contrast: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images (size, 48, 56, 48) as `make_brain` renders them, with the true volumes in mL and ages."""
    images, truth = [], []
    for seed in tqdm(range(first_seed, first_seed + size), desc=f"{contrast} from {first_seed}", mininterval=2.0):
        params = draw_params(seed, independent=True)
        anatomy = make_anatomy(params, SPACING_MM)
        images.append(render(anatomy, contrast, seed=seed))
        truth.append({"age": params.age} | {f"{name}_ml": ml for name, ml in anatomy.volumes_ml.items()})
    return np.stack(images), {name: np.array([row[name] for row in truth]) for name in truth[0]}

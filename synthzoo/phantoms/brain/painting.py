"""Label maps painted as MR images: one intensity a class, by signal equations or at random, with a scanner's faults.

    x = sum_k value_k map_k (1 + texture), times a smooth field, blurred, with Rician noise; 0 outside the brain

In two or three dimensions alike. Faults differ from slice to slice; the values are those of the whole scan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional as F

from synthzoo.errors import UserError
from synthzoo.phantoms.brain.contrast import SEQUENCES, tissue_signals
from synthzoo.phantoms.brain.label_maps import CLASSES
from synthzoo.phantoms.fields import smooth_noise

DEEP = 0.55  # of deep grey matter's signal is grey matter's, the rest white matter's
HEALTHY = ("CSF", "GM", "WM", "deep_GM")
PEAK = 0.8  # intensity of the brightest healthy tissue, whatever the contrast
CONTRASTS = (*SEQUENCES, "PD", "random")


@dataclass(frozen=True)
class Scan:
    """What all slices of a scan share.

    Attributes:
        values: intensity of each class, float32 (len(CLASSES),) in [0, 1]; the background is 0.
        noise: standard deviation of the noise's two channels.
        bias: size of the smooth field, .2 is about +-20 %.
        blur: standard deviation of the point spread in voxels.
        texture: relative size of the fine structure.
    """

    values: np.ndarray
    noise: float = 0.015
    bias: float = 0.1
    blur: float = 0.0
    texture: float = 0.02


def class_values(
    contrast: str,
    rng: np.random.Generator,
    age: float = 55.0,
    spread: float = 0.06,
    relaxation: Mapping[str, tuple[float, float, float]] | None = None,
) -> np.ndarray:
    """Intensity of each class, float32 (len(CLASSES),) in [0, 1]; the brightest healthy tissue has `PEAK`.

    Args:
        contrast: T1w, T1Gd, T2w, FLAIR, PD, or random, which draws every class.
        rng: random state.
        age: years; white matter changes with it.
        spread: standard deviation of each class's own factor, so that no two scans are alike.
        relaxation: class -> proton density, T1 and T2 in ms, in place of those of
            `synthzoo.phantoms.brain.contrast.TISSUES`: what two contrasts of one subject share.

    Raises:
        UserError: an unknown contrast.
    """
    if contrast not in CONTRASTS:
        raise UserError(f"contrast = {contrast!r}: a label map is painted as {', '.join(CONTRASTS)}.")
    sequence, agent = SEQUENCES.get(contrast, (contrast, False))
    signals = tissue_signals(sequence, age, rng, agent, relaxation)
    signals["background"] = 0.0
    if contrast == "random":
        signals["deep_GM"] = float(np.clip(signals["GM"] + rng.normal(0, 0.08), 0.02, 1.0))
    else:
        signals["deep_GM"] = DEEP * signals["GM"] + (1 - DEEP) * signals["WM"]
        factors = np.exp(rng.normal(0, spread, len(CLASSES)))
        signals = {name: signals[name] * factor for name, factor in zip(CLASSES, factors)}
        signals["ventricle"] = signals["CSF"]
    scale = PEAK / max(signals[name] for name in HEALTHY)
    return np.clip([signals[name] * scale for name in CLASSES], 0, 1).astype(np.float32)


def draw_scan(
    contrast: str,
    rng: np.random.Generator,
    age: float = 55.0,
    relaxation: Mapping[str, tuple[float, float, float]] | None = None,
) -> Scan:
    """A scan of this contrast with its own intensities and faults, see `class_values`."""
    values = class_values(contrast, rng, age, relaxation=relaxation)
    noise, bias = rng.uniform(0.005, 0.03), rng.uniform(0.0, 0.25)
    return Scan(values, noise, bias, rng.uniform(0, 0.6) if rng.random() < 0.5 else 0.0, rng.uniform(0.0, 0.04))


def paint_maps(maps: np.ndarray, scan: Scan, rng: np.random.Generator, cells: int = 4) -> np.ndarray:
    """Image float32 (*spatial) in [0, 1.2], 0 outside the brain, of label maps (len(CLASSES), *spatial).

    `cells` is of the field, see `smooth_field`; a part of a head has fewer than the whole.
    """
    image = np.tensordot(scan.values, maps, 1).astype(np.float32)
    if scan.texture:
        image = image * (1 + scan.texture * smooth_noise(rng, image.shape, 0.7))
    if scan.blur:
        image = ndi.gaussian_filter(image, scan.blur)
    if scan.bias:
        image = image * np.exp(0.5 * scan.bias * smooth_field(rng, image.shape, cells))
    if scan.noise:
        real, imaginary = (scan.noise * rng.standard_normal(image.shape, dtype=np.float32) for _ in range(2))
        image = np.hypot(image + real, imaginary)
    return np.where(maps[0] > 0.95, 0, np.clip(image, 0, 1.2)).astype(np.float32)


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], cells: int = 4) -> np.ndarray:
    """Smooth field of about unit variance, float32 `shape`, from `cells` random values an axis."""
    coarse = torch.from_numpy(rng.standard_normal((1, 1, *[cells] * len(shape)), dtype=np.float32))
    mode = "bicubic" if len(shape) == 2 else "trilinear"
    return F.interpolate(coarse, size=tuple(shape), mode=mode, align_corners=True)[0, 0].numpy()

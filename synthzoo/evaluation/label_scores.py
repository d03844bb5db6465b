"""Scores of label maps and of images painted on them: Dice, means by tissue, re-segmentation by the nearest mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from synthzoo.phantoms.brain.label_maps import CLASSES

# Tissues that intensities can tell apart; deep grey matter lies between two of them.
TISSUES = {"CSF": ("CSF", "ventricle"), "GM": ("GM",), "WM": ("WM",)}
PURE = 0.9  # share of a voxel from which on it counts for a mean
FEWEST = 20  # voxels of a mean


def dice_by_class(found: np.ndarray, truth: np.ndarray, numbers: Sequence[int]) -> dict[int, float]:
    """Class number -> Dice over all voxels of a set, of class numbers (N, ...); NaN where neither has the class."""
    scores = {}
    for number in numbers:
        one, two = found == number, truth == number
        total = int(one.sum()) + int(two.sum())
        scores[number] = 2 * int((one & two).sum()) / total if total else float("nan")
    return scores


def tissue_shares(maps: np.ndarray) -> np.ndarray:
    """Shares (len(TISSUES), ...) of label maps (K, ...)."""
    return np.stack([maps[[CLASSES.index(name) for name in names]].sum(0) for names in TISSUES.values()])


def tissue_means(image: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Mean intensity of each of `TISSUES` in an image (...), where label maps (K, ...) hold nearly nothing else; NaN
    where too few voxels do."""
    shares = tissue_shares(maps)
    return np.array([image[share > PURE].mean() if (share > PURE).sum() >= FEWEST else np.nan for share in shares])


def fitted_means(image: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """The intensity of each of `TISSUES` in an image (...) whose voxels are mixed as label maps (K, ...) say, by least
    squares over the brain; NaN where fewer than `FEWEST` voxels' worth of a tissue are there.

    Few voxels of the cortex hold nothing but grey matter, so that `tissue_means` often knows none of it.
    """
    inside, shares = maps[0] < 1 - PURE, tissue_shares(maps)
    grouped = {CLASSES.index(name) for names in TISSUES.values() for name in names}
    others = maps[[number for number in range(1, len(maps)) if number not in grouped]]
    mixed = np.concatenate([shares, others])[:, inside]
    values = np.linalg.lstsq(mixed.T.astype(np.float64), image[inside].astype(np.float64), rcond=None)[0]
    return np.where(mixed[: len(TISSUES)].sum(1) >= FEWEST, values[: len(TISSUES)], np.nan)


def nearest_tissue(image: np.ndarray, means: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Number + 1 in `TISSUES` of the mean nearest to each voxel of an image, 0 where not `inside`."""
    known = np.where(np.isnan(means), np.inf, means)
    return np.where(inside, np.abs(image[..., None] - known).argmin(-1) + 1, 0)


def resegmentation_dice(image: np.ndarray, maps: np.ndarray, means: np.ndarray) -> float:
    """Mean Dice over `TISSUES` of an image, segmented by the nearest of `means`, with its label maps (K, ...).

    Voxels that are half of something else, such as a lesion, do not count, nor do those of a tissue without a mean;
    NaN where none is left.
    """
    shares = tissue_shares(maps)
    counts = (shares.sum(0) > 0.5) & (maps[0] < 0.5) & ~np.isnan(means)[shares.argmax(0)]
    if not counts.any():
        return float("nan")
    found = nearest_tissue(image, means, counts)
    scores = dice_by_class(found, np.where(counts, shares.argmax(0) + 1, 0), range(1, len(TISSUES) + 1))
    return float(np.nanmean(list(scores.values())))


def mean_painter(maps: np.ndarray, values: np.ndarray, deviations: np.ndarray, seed: int) -> np.ndarray:
    """The shortcut of a painter: an intensity for each class with Gaussian noise of its own, (...) in [0, 1].

    Args:
        maps: label maps (K, ...).
        values, deviations: of each class in a style image whose labels are known, (K,).
        seed: of the noise.
    """
    rng = np.random.default_rng([seed, 5])
    noise = rng.standard_normal(maps.shape[1:]) * np.tensordot(deviations, maps, 1)
    return np.clip((np.tensordot(values, maps, 1) + noise) * (1 - maps[0]), 0, 1).astype(np.float32)


def class_statistics(image: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (K,) of an image (...) in each class of its label maps (K, ...).

    A class that the image does not show has those of the brain.
    """
    brain = image[maps[0] < 0.5]
    values, deviations = np.zeros(len(maps)), np.zeros(len(maps))
    for number in range(1, len(maps)):
        own = image[maps[number] > 0.5]
        own = own if own.size >= FEWEST else brain
        values[number], deviations[number] = own.mean(), own.std()
    return values, deviations


def rows_of(scores: Mapping[int, float]) -> list[list]:
    """Table rows [class, Dice] of `dice_by_class`."""
    return [[CLASSES[number], None if np.isnan(score) else round(score, 3)] for number, score in scores.items()]


def summary(dice: dict[int, float], names: Sequence[str]) -> float:
    """Mean Dice of classes by name, those that no image shows left out."""
    return float(np.nanmean([dice[CLASSES.index(name)] for name in names]))

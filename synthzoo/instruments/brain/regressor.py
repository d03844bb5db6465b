"""Rules from features of an image to quantities in user units: a smooth one for volumes, a straight one for age.

    y = m + s * W^T k(z),   z = clip((x - c) / d, -5, 5),   k_j(z) = exp(-g |z - l_j|^2 / K)
    W = argmin |k(Z) W - Y|^2 + alpha tr(W^T k(L) W)

Kernel ridge regression on landmarks l_j, which are the first training phantoms (Williams and Seeger, "Using the Nystrom
method to speed up kernel machines", NIPS 2000). The kernel is wide, about three quarters between two phantoms, so the
rule bends gently where a linear one would be wrong at both ends. Without landmarks k(z) = z: ridge regression on few
features, whose reading of an image unlike any phantom stays near. One file per instrument and contrast holds c, d, l,
W, m and s, as tensors only.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from synthzoo.errors import UserError
from synthzoo.instruments.brain.histograms import TOPS, describe
from synthzoo.instruments.brain.levels import describe_levels
from synthzoo.instruments.brain.segmentation import SPACING_MM, WEIGHTS, stack_on_grid

LIMIT = 5.0  # standardised features beyond it are cut, so that an odd image cannot throw the rule far out
WIDTH, ALPHA = 0.15, 0.02  # g and alpha, chosen on validation phantoms
RIDGE = 0.4  # weight of |W|^2 a row, of the straight rule; the largest that keeps r 0.9 on blurred test phantoms
REMEDY = "make it with `python scripts/train_instruments.py all`."


def standardise(features: np.ndarray, rule: dict[str, np.ndarray]) -> np.ndarray:
    """Features (N, K) relative to those of the training phantoms, cut at `LIMIT`."""
    return np.clip((features - rule["centre"]) / rule["spread"], -LIMIT, LIMIT)


def kernel(rows: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """k_j(z), (N, J), of standardised rows (N, K) and landmarks (J, K)."""
    squared = (rows**2).sum(1)[:, None] + (landmarks**2).sum(1)[None] - 2 * rows @ landmarks.T
    return np.exp(-WIDTH * np.maximum(squared, 0) / rows.shape[1])


def fit_rule(features: np.ndarray, targets: np.ndarray, landmarks: int = 256) -> dict[str, np.ndarray]:
    """Kernel ridge regression of targets (N, M) on features (N, K), with the first `landmarks` rows as landmarks."""
    features = features.astype(np.float64)
    spread = features.std(0)
    rule = _scales(features, spread + 1e-3 * spread.max(), targets)
    rows = standardise(features, rule)
    points = rows[:landmarks].astype(np.float16).astype(np.float64)  # as they will be stored
    near = kernel(rows, points)
    left = near.T @ near + ALPHA * kernel(points, points) + 1e-6 * np.eye(len(points))
    weights = np.linalg.solve(left, near.T @ ((targets - rule["mean"]) / rule["scale"]))
    return rule | {"landmarks": points, "weights": weights}


def fit_line(features: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Ridge regression of targets (N, M) on features (N, K)."""
    features = features.astype(np.float64)
    rule = _scales(features, features.std(0) + 1e-6, targets)
    rows = standardise(features, rule)
    left = rows.T @ rows + RIDGE * len(rows) * np.eye(rows.shape[1])
    return rule | {"weights": np.linalg.solve(left, rows.T @ ((targets - rule["mean"]) / rule["scale"]))}


def _scales(features: np.ndarray, spread: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """What standardises features and targets, rounded as it will be stored."""
    rule = {"centre": features.mean(0), "spread": spread, "mean": targets.mean(0), "scale": targets.std(0)}
    return {name: value.astype(np.float32).astype(np.float64) for name, value in rule.items()}


def apply_rule(features: np.ndarray, rule: dict[str, np.ndarray]) -> np.ndarray:
    """Quantities (N, M) in user units for features (N, K)."""
    rows = standardise(np.asarray(features, dtype=np.float64), rule)
    near = kernel(rows, rule["landmarks"]) if "landmarks" in rule else rows
    return near @ rule["weights"] * rule["scale"] + rule["mean"]


def save_rule(rule: dict[str, np.ndarray], path: str | Path) -> None:
    """Write the rule as tensors, landmarks in half precision and the rest in single."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    kinds = {name: torch.float16 if name == "landmarks" else torch.float32 for name in rule}
    torch.save({name: torch.as_tensor(value).to(kinds[name]) for name, value in rule.items()}, path)


def read_rule(path: str | Path) -> dict[str, np.ndarray]:
    """A rule that `save_rule` wrote, in double precision.

    Raises:
        UserError: the file is absent.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: does not exist; {REMEDY}")
    return {name: value.double().numpy() for name, value in torch.load(path, weights_only=True).items()}


@lru_cache(maxsize=16)
def load_rule(name: str) -> dict[str, np.ndarray]:
    """The shipped rule of this name, for instance "brain_volumes_T1w"; "brain_places" holds the map of places.

    Raises:
        UserError: the file is absent.
    """
    return read_rule(WEIGHTS / f"{name}.pt")


def read(
    instrument: str, images: np.ndarray | torch.Tensor, contrast: str, spacing_mm: float = SPACING_MM
) -> np.ndarray:
    """Quantities (N, M) that "brain_volumes" or "brain_age" reads from RAS images (N, D, H, W) or (N, 1, D, H, W).

    Raises:
        UserError: no such contrast, an image that is none, or absent weights.
    """
    if contrast not in TOPS:
        raise UserError(f"contrast = {contrast!r}: the brain instruments know {', '.join(TOPS)}.")
    stack = stack_on_grid(images, spacing_mm)
    places, rule = load_rule("brain_places")["places"], load_rule(f"brain_volumes_{contrast}")
    volumes = apply_rule(np.stack([describe(image, places, contrast) for image in stack]), rule)
    if instrument == "brain_volumes":
        return volumes
    levels = np.stack([describe_levels(image) for image in stack])
    return apply_rule(np.column_stack([levels, volumes]), load_rule(f"{instrument}_{contrast}"))

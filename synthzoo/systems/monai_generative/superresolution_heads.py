"""Heads with a tumour, whose anomaly maps say what thick slices lose, and where the network of the maps lies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthzoo.errors import UserError
from synthzoo.phantoms.brain.contrast import render
from synthzoo.phantoms.brain.phantom import BrainAnatomy, brain_affine, draw_params, make_anatomy
from synthzoo.phantoms.brain.planted import plant_in_template

TUMOUR = {"core_ml": 6.0, "enhancing_ml": 10.0, "oedema_ml": 35.0}
HEAD_SEED = 5_200_000
THICK_MM = 6.0


class Head(NamedTuple):
    """A fine scan (D, H, W) with a lesion, bool of that shape, the affine, and the factors of its thick slices."""

    image: np.ndarray
    truth: np.ndarray
    affine: np.ndarray
    factors: tuple[int, int, int]


def template_head() -> Head:
    """The T1w template of 1 mm with a planted tumour, and slices of 6 mm."""
    planted, factor = plant_in_template(), round(THICK_MM)
    kept = planted.sick.shape[2] // factor * factor
    return Head(planted.sick[..., :kept].astype(np.float32), planted.truth[..., :kept], planted.affine, (1, 1, factor))


def sick_anatomy(spacing_mm: float) -> BrainAnatomy:
    """A phantom with a tumour."""
    return make_anatomy(replace(draw_params(HEAD_SEED), tumour=TUMOUR), spacing_mm)


def phantom_head(anatomy: BrainAnatomy, contrast: str) -> Head:
    """A phantom with a lesion in a contrast, and slices of 6 mm, or as near to that as its voxels come."""
    image = render(anatomy, contrast, seed=1, noise=0.01, bias=0.1)
    truth = np.sum(list(anatomy.lesions.values()), 0) > 0.5
    factor = max(2, round(THICK_MM / anatomy.spacing_mm))
    kept = image.shape[2] // factor * factor
    return Head(image[..., :kept], truth[..., :kept], brain_affine(anatomy.spacing_mm), (1, 1, factor))


def bundle_beside(bundle_root: str | Path, system: str) -> Path:
    """The bundle of a system that lies in the same folder as this one; the first by name.

    Args:
        bundle_root: folder of a bundle.
        system: that the other's metadata names.

    Raises:
        UserError: there is no such bundle.
    """
    folder = Path(bundle_root).resolve().parent
    for path in sorted(folder.glob("*/configs/metadata.json")):
        if json.loads(path.read_text(encoding="utf-8")).get("synthzoo", {}).get("system") == system:
            return path.parents[1]
    raise UserError(
        f"{folder}: no bundle of the system {system} lies here; give its weights and its threshold with --map_weights "
        "and --map_threshold."
    )


def weights_beside(bundle_root: str | Path, system: str) -> Path:
    """The weights of `bundle_beside`."""
    return bundle_beside(bundle_root, system) / "models" / "model.pt"


def threshold_beside(bundle_root: str | Path, system: str) -> float:
    """The threshold that `bundle_beside` ships with."""
    config = bundle_beside(bundle_root, system) / "configs" / "inference.json"
    return float(json.loads(config.read_text(encoding="utf-8"))["threshold"])

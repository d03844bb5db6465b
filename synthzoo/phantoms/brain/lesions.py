"""Lesions of the brain phantom with exact volumes: white matter hyperintensities, tumours, strokes.

A lesion is a level set of a smooth score; the level is solved so that the soft map holds the requested millilitres.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from synthzoo.errors import UserError
from synthzoo.phantoms.fields import smooth_noise, solve_increasing

if TYPE_CHECKING:
    from synthzoo.phantoms.brain.phantom import BrainAnatomy


def add_lesions(anatomy: BrainAnatomy) -> None:
    """Fill `anatomy.lesions` by `anatomy.params`; where two meet, the later of WMH, stroke, oedema, rim, core wins."""
    params = anatomy.params
    lesions = {}
    if params.wmh_ml > 0:
        lesions["WMH"] = hyperintensities(anatomy, params.wmh_ml)
    if params.stroke:
        lesions["stroke"] = stroke(anatomy, params.stroke["volume_ml"])
    if params.tumour:
        lesions |= tumour(anatomy, **params.tumour)
    anatomy.lesions = lesions


def level_set(
    score: np.ndarray,
    room: np.ndarray,
    volume_ml: float,
    softness: float,
    spacing_mm: float,
    what: str,
    fullest: float = 0.9,
) -> np.ndarray:
    """The part of `room` where a score is high, float32, whose sum is `volume_ml`.

    Args:
        score: float32 (D, H, W).
        room: share of each voxel that can be taken, float32 (D, H, W) in [0, 1].
        volume_ml: in mL.
        softness: width of the edge, in units of the score.
        spacing_mm: of the grid.
        what: names the volume in the sentence.
        fullest: most of the room that may be taken.

    Raises:
        UserError: there is too little room.
    """
    voxels = volume_ml / (spacing_mm**3 / 1000)
    if voxels > fullest * room.sum():
        room_ml = room.sum() * spacing_mm**3 / 1000
        raise UserError(f"{what} = {volume_ml:g} mL: only {room_ml:.0f} mL of tissue can hold it.")
    inside = room > 0
    s, r = score[inside].astype(np.float64), room[inside].astype(np.float64)

    def filled(level: float) -> float:
        return float((np.clip(0.5 + (s + level) / softness, 0, 1) * r).sum())

    level = solve_increasing(filled, voxels, -float(s.max()) - softness, -float(s.min()) + softness)
    share = np.zeros(score.shape, np.float32)
    share[inside] = np.clip(0.5 + (s + level) / softness, 0, 1) * r
    return share


def hyperintensities(anatomy: BrainAnatomy, volume_ml: float) -> np.ndarray:
    """Caps and bands along the ventricles and patches in deep white matter; float32 (D, H, W)."""
    rng = np.random.default_rng([anatomy.params.seed, 31])
    h = anatomy.spacing_mm
    white = anatomy.tissues[1] * (anatomy.tissues[1] > 0.5)
    near = np.exp(-np.clip(anatomy.wall_mm, 0, None) / 7.0)
    patches = smooth_noise(rng, white.shape, max(6.0 / h, 1.0))
    inner = ndi.gaussian_filter(white, 3.0 / h)
    return level_set(1.6 * near + 0.45 * patches + 0.8 * inner, white, volume_ml, 0.5, h, "wmh_ml")


def _centre(anatomy: BrainAnatomy, rng: np.random.Generator, weights: np.ndarray) -> np.ndarray:
    flat = weights.ravel().astype(np.float64)
    return np.array(np.unravel_index(rng.choice(flat.size, p=flat / flat.sum()), weights.shape))


def _distance_mm(shape: Sequence[int], centre: np.ndarray, spacing_mm: float) -> np.ndarray:
    axes = np.meshgrid(*[(np.arange(n) - c) * spacing_mm for n, c in zip(shape, centre, strict=True)], indexing="ij")
    return np.sqrt(sum(a**2 for a in axes)).astype(np.float32)


def tumour(
    anatomy: BrainAnatomy, core_ml: float = 5.0, enhancing_ml: float = 8.0, oedema_ml: float = 30.0
) -> dict[str, np.ndarray]:
    """Necrotic core, enhancing rim around it and finger-like oedema in white matter; soft maps sharing each voxel."""
    rng = np.random.default_rng([anatomy.params.seed, 32])
    h = anatomy.spacing_mm
    tissue = anatomy.tissues[0] + anatomy.tissues[1]
    solid = ndi.gaussian_filter(tissue, 8.0 / h)
    centre = _centre(anatomy, rng, anatomy.tissues[1] * (solid > 0.75 * solid.max()) + 1e-12 * (tissue > 0.5))
    distance = _distance_mm(tissue.shape, centre, h)
    rough = smooth_noise(rng, tissue.shape, max(7.0 / h, 1.0))
    fine = smooth_noise(rng, tissue.shape, max(3.5 / h, 0.7))
    body = -(distance + 2.5 * rough + 1.0 * fine)
    whole = level_set(body, tissue, core_ml + enhancing_ml, h, h, "tumour core_ml + enhancing_ml")
    core = level_set(body + 1.5 * fine, whole, core_ml, h, h, "tumour core_ml") if core_ml else np.zeros_like(whole)
    rim = whole - core
    room = np.clip((anatomy.tissues[1] + 0.25 * anatomy.tissues[0]) * (tissue > 0.5) - whole, 0, 1)
    spread = -(distance + 6.0 * rough) + 6.0 * anatomy.tissues[1]
    oedema = level_set(spread, room, oedema_ml, 2 * h, h, "tumour oedema_ml") if oedema_ml else np.zeros_like(whole)
    return {"oedema": oedema, "enhancing": rim, "core": core}


def stroke(anatomy: BrainAnatomy, volume_ml: float) -> np.ndarray:
    """A wedge of cortex and white matter in one middle cerebral territory; float32 (D, H, W)."""
    rng = np.random.default_rng([anatomy.params.seed, 33])
    h = anatomy.spacing_mm
    tissue = anatomy.tissues[0] + anatomy.tissues[1]
    rim = np.exp(-(((ndi.distance_transform_edt(tissue > 0.4) * h) - 12) ** 2) / 60)
    x = ((np.arange(tissue.shape[0]) - (tissue.shape[0] - 1) / 2) * h).reshape(-1, 1, 1)
    side = (x > 25) if rng.random() < 0.5 else (x < -25)
    distance = _distance_mm(tissue.shape, _centre(anatomy, rng, rim * side * (tissue > 0.5) + 1e-12), h)
    rough = smooth_noise(rng, tissue.shape, max(8.0 / h, 1.0))
    return level_set(-(distance + 5.0 * rough), tissue, volume_ml, h, h, "stroke volume_ml")

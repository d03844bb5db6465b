"""Brain phantoms: real anatomy, deformed and coloured by known numbers.

A subject is the ICBM152 template under a head size, a small pose, a random diffeomorphism, a dilation of the ventricles
along their distance map and a widening of the sulci. Ventricle and brain volume are solved for, so the truth maps hold
exactly the millilitres that were requested; age acts through the share of sulcal CSF and the contrast between grey and
white matter, and in the joint distribution also through ventricle and brain volume.

`make_brain(draw_params(seed=7), spacing_mm=4.0).image` is a T1w brain. Contrasts are in `brain_contrast`, lesions in
`brain_lesions`. These are phantoms: they show real folds and no real person, and their ages are the distribution's, not
biology's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage as ndi
from scipy.spatial.transform import Rotation

from synthzoo.errors import UserError
from synthzoo.phantoms.brain.template import CENTRE_MM, BrainTemplate, brain_affine, brain_grid, load_template
from synthzoo.phantoms.fields import random_diffeomorphism, sample, solve_increasing

__all__ = ["CONTRASTS", "VERSION", "BrainAnatomy", "BrainParams", "BrainSample", "brain_affine", "brain_grid"]
__all__ += ["draw_params", "make_anatomy", "make_brain"]

VERSION = 2  # of the anatomies and images; another number leaves old caches aside
CONTRASTS = ("T1w", "T2w", "FLAIR", "PD", "random")
RANGES = {"age": (20.0, 90.0), "brain_ml": (900.0, 1600.0), "ventricle_ml": (5.0, 120.0), "wmh_ml": (0.0, 60.0)}
UNITS = {"age": "years", "brain_ml": "mL", "ventricle_ml": "mL", "wmh_ml": "mL"}
LABELS = {"GM": 1, "WM": 2, "CSF": 3, "ventricle": 4, "WMH": 5, "core": 6, "enhancing": 7, "oedema": 8, "stroke": 9}
COARSE_MM = 8.0
VARIATION = ((26.0, 2.6), (11.0, 1.3))  # smoothness and size in mm of the subject's own deformation


@dataclass(frozen=True)
class BrainParams:
    """Parameters of a subject: seed, age, sex, volumes and lesions.

    Attributes:
        seed: draws the pose, the deformation and the places of lesions.
        age: years, 20 to 90.
        sex: "F" or "M"; it enters the joint distribution through brain volume and has no other mark.
        brain_ml: grey plus white matter in mL, 900 to 1600 (lesions count as the tissue that they lie in).
        ventricle_ml: lateral and third ventricles in mL, 5 to 120.
        wmh_ml: white matter hyperintensities in mL, 0 to 60.
        tumour: None, or `{"core_ml", "enhancing_ml", "oedema_ml"}` in mL.
        stroke: None, or `{"volume_ml"}`.
    """

    seed: int
    age: float
    sex: str
    brain_ml: float
    ventricle_ml: float
    wmh_ml: float = 0.0
    tumour: dict | None = None
    stroke: dict | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                unit = UNITS[name]
                raise UserError(f"{name} = {value:g} {unit}: a brain phantom takes {low:g} to {high:g} {unit}.")
        if self.sex not in ("F", "M"):
            raise UserError(f"sex = {self.sex!r}: a brain phantom takes 'F' or 'M'.")

    def to_dict(self) -> dict:
        return asdict(self)


@dataclass
class BrainAnatomy:
    """A subject on a grid.

    Attributes:
        tissues: float32 (4, D, H, W), occupancy of GM, WM, sulcal CSF and ventricle; sums to the brain mask in [0, 1].
        labels: uint8 (D, H, W), 0 background, then `LABELS`.
        lesions: name -> float32 (D, H, W), the share of the voxel that the lesion replaces.
        volumes_ml: voxel sums of the maps in mL.
        affine: float64 (4, 4), voxel to RAS mm.
    """

    tissues: np.ndarray
    labels: np.ndarray
    lesions: dict[str, np.ndarray]
    volumes_ml: dict[str, float]
    affine: np.ndarray
    params: BrainParams
    spacing_mm: float
    wall_mm: np.ndarray = field(repr=False, default=None)  # distance to the template's ventricle wall, for lesions

    @property
    def mask(self) -> np.ndarray:
        """Brain mask, bool (D, H, W)."""
        return self.tissues.sum(0) > 0.5


@dataclass
class BrainSample:
    """An image in [0, 1], float32 (D, H, W), with its anatomy."""

    image: np.ndarray
    anatomy: BrainAnatomy
    contrast: str

    @property
    def params(self) -> BrainParams:
        return self.anatomy.params


def draw_params(
    seed: int,
    *,
    age: float | None = None,
    sex: str | None = None,
    brain_ml: float | None = None,
    ventricle_ml: float | None = None,
    wmh_ml: float | None = None,
    independent: bool = False,
    healthy: bool = True,
) -> BrainParams:
    """Parameters of subject `seed`; what is None is drawn.

    The joint distribution: age uniform on 20 to 90 y; sex even; brain volume normal around 1190 mL (F) or 1320 mL (M)
        at 40 y
    with 95 mL standard deviation, less 2.6 mL for each year beyond; ventricles log-normal around
    `15 exp((age - 20) / 55)` mL with 0.38 standard deviation of the logarithm; WMH, unless healthy, log-normal around
    `0.3 exp((age - 20) / 16)` mL. Values are clipped to their ranges. With `independent`, age, brain and ventricle
    volume are uniform on their ranges and know nothing of each other.
    """
    rng = np.random.default_rng([int(seed), 11])
    u = rng.random(4)
    n = rng.standard_normal(3)
    age = 20 + 70 * u[0] if age is None else float(age)
    sex = ("F" if u[1] < 0.5 else "M") if sex is None else sex
    if brain_ml is None:
        prior = (1190 if sex == "F" else 1320) - 2.6 * (age - 40) + 95 * n[0]
        brain_ml = 900 + 700 * u[2] if independent else np.clip(prior, *RANGES["brain_ml"])
    if ventricle_ml is None:
        prior = 15 * np.exp((age - 20) / 55 + 0.38 * n[1])
        ventricle_ml = 5 + 115 * u[3] if independent else np.clip(prior, *RANGES["ventricle_ml"])
    if wmh_ml is None:
        wmh_ml = 0.0 if healthy else np.clip(0.3 * np.exp((age - 20) / 16 + 0.7 * n[2]), 0.1, 60.0)
    return BrainParams(int(seed), float(age), sex, float(brain_ml), float(ventricle_ml), float(wmh_ml))


def sulcal_share(age: float) -> float:
    """Share of sulcal CSF in the intracranial volume at `age` years: 9 % at 20, 23 % at 90."""
    return 0.09 + 0.14 * (age - 20) / 70


def make_anatomy(params: BrainParams, spacing_mm: float = 4.0) -> BrainAnatomy:
    """The subject's maps on the grid of `spacing_mm` (1 to 6 mm), float32, RAS."""
    from synthzoo.phantoms.brain.lesions import add_lesions

    template = load_template(float(spacing_mm))
    grid = brain_grid(spacing_mm)
    voxel_ml = spacing_mm**3 / 1000
    where, voxels = _subject_to_template(params, template, spacing_mm, grid)

    # From here on only the N voxels in and around the head are computed.
    mask, wall_mm, surface_mm, *normal = sample(template.guides, template.shape, voxels).T
    mask = np.where(mask < 0.02, 0, mask)
    level_mm = _ventricle_level(params.ventricle_ml / voxel_ml, wall_mm, mask, spacing_mm)
    ventricle = mask * _ramp(level_mm - wall_mm, spacing_mm)
    ventricle *= params.ventricle_ml / (ventricle.sum(dtype=np.float64) * voxel_ml)

    # Tissue at the new wall is what was at the old one; the push dies out towards the outer surface.
    depth = np.clip(wall_mm - level_mm, 0, None)
    push = level_mm * np.clip(1 - depth / np.maximum(depth + surface_mm, 1), 0, 1) ** 1.5
    tissues = sample(template.tissue_table, template.shape, voxels - push * np.stack(normal) / template.spacing_mm).T
    total = tissues.sum(0)
    tissues = np.where(total < 1e-3, np.array([[0], [0], [1]], np.float32), tissues / np.maximum(total, 1e-3))
    brain, rest = _split_sulci(tissues, np.clip(mask - ventricle, 0, 1), params.brain_ml / voxel_ml)
    maps = np.zeros((4, int(np.prod(grid))), np.float32)
    maps[:, where] = np.stack([brain[0], brain[1], rest, ventricle])
    distance = np.full(maps.shape[1], 1e3, np.float32)
    distance[where] = wall_mm - level_mm
    maps, distance = maps.reshape(4, *grid), distance.reshape(grid)

    anatomy = BrainAnatomy(maps, None, {}, {}, brain_affine(spacing_mm), params, float(spacing_mm), distance)
    add_lesions(anatomy)
    anatomy.labels = _labels(anatomy)
    anatomy.volumes_ml = _volumes(anatomy)
    return anatomy


def make_brain(
    params: BrainParams, spacing_mm: float = 4.0, contrast: str = "T1w", **render_options: Any
) -> BrainSample:
    """Anatomy and image of a subject; `render_options` as in `brain_contrast.render`."""
    from synthzoo.phantoms.brain.contrast import render

    anatomy = make_anatomy(params, spacing_mm)
    render_options.setdefault("seed", params.seed)
    return BrainSample(render(anatomy, contrast, **render_options), anatomy, contrast)


def render(*args: Any, **kwargs: Any) -> np.ndarray:
    """See `brain_contrast.render`."""
    from synthzoo.phantoms.brain.contrast import render as implementation

    return implementation(*args, **kwargs)


def _subject_to_template(
    params: BrainParams, template: BrainTemplate, spacing_mm: float, grid: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The N voxels of the subject that can hold brain, as flat indices, and where they lie in the template.

    Returns:
        int64 (N,), and float32 (3, N) in voxels of the template.
    """
    rng = np.random.default_rng([params.seed, 12])
    aspect = np.exp(0.025 * rng.standard_normal(3))
    aspect /= np.prod(aspect) ** (1 / 3)
    rotation = Rotation.from_rotvec(np.deg2rad(2.0) * rng.standard_normal(3)).as_matrix()
    centre = np.array(CENTRE_MM).reshape(3, 1)
    shift = 1.5 * rng.standard_normal((3, 1))
    coarse_grid = brain_grid(COARSE_MM)
    flow = random_diffeomorphism(rng, coarse_grid, COARSE_MM, VARIATION)
    origin = np.array(template.origin_mm).reshape(3, 1)

    def to_voxels(points_mm: np.ndarray, flow_mm: np.ndarray, scale: float) -> np.ndarray:
        matrix = rotation / (scale * aspect)[None]
        moved = (matrix @ (points_mm - centre - shift)).astype(np.float32) + flow_mm.T
        return (moved + (centre - origin).astype(np.float32)) / template.spacing_mm

    # The deformation changes the volume, so the head size is solved for with it in place.
    cranial_ml = (params.brain_ml + params.ventricle_ml) / (1 - sulcal_share(params.age))
    coarse = _grid_mm(COARSE_MM, coarse_grid)
    scale = 1.0
    for _ in range(3):
        filled = sample(template.mask_table, template.shape, to_voxels(coarse, flow, scale))[:, 0]
        scale *= (cranial_ml / (float(filled.sum()) * COARSE_MM**3 / 1000)) ** (1 / 3)
    head = ndi.binary_dilation(filled.reshape(coarse_grid) > 0.01, iterations=1)
    step = COARSE_MM / spacing_mm
    nearest = [np.minimum((np.arange(n) / step).astype(int), m - 1) for n, m in zip(grid, coarse_grid, strict=True)]
    where = np.flatnonzero(head[np.ix_(*nearest)])
    points = _grid_mm(spacing_mm, grid)[:, where]
    corner = (np.array(CENTRE_MM) - (np.array(coarse_grid) - 1) / 2 * COARSE_MM).reshape(3, 1).astype(np.float32)
    return where, to_voxels(points, sample(flow, coarse_grid, (points - corner) / COARSE_MM), scale)


def _grid_mm(spacing_mm: float, grid: Sequence[int]) -> np.ndarray:
    """Centres of all voxels in mm, float32 (3, N)."""
    axes = [
        (np.arange(n, dtype=np.float32) - (n - 1) / 2) * np.float32(spacing_mm) + np.float32(c)
        for n, c in zip(grid, CENTRE_MM, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)


def _ramp(distance_mm: np.ndarray, width_mm: float) -> np.ndarray:
    """Occupancy of a voxel of `width_mm` whose centre lies `distance_mm` inside a flat wall."""
    return np.clip(0.5 + distance_mm / width_mm, 0, 1)


def _ventricle_level(voxels: float, wall_mm: np.ndarray, mask: np.ndarray, width_mm: float) -> float:
    """The level of `wall_mm` that encloses `voxels` voxels of `mask`; a fine histogram stands in for the map."""
    near = np.abs(wall_mm) < 40
    weights, edges = np.histogram(wall_mm[near], bins=2000, range=(-40, 40), weights=mask[near])
    middle = 0.5 * (edges[1:] + edges[:-1])
    return solve_increasing(lambda level: float((weights * _ramp(level - middle, width_mm)).sum()), voxels, -35, 35)


def _split_sulci(tissues: np.ndarray, room: np.ndarray, voxels: float) -> tuple[np.ndarray, np.ndarray]:
    """Divide `room` into brain (2, N) and sulcal CSF so that the brain fills `voxels` voxels.

    Sulci widen or narrow by `share ** gamma`, which keeps open water open and solid white matter solid.
    """
    share = np.clip(tissues[2], 1e-6, 1.0)
    weights, edges = np.histogram(np.log(share), bins=1000, range=(np.log(1e-6), 1e-9), weights=room)
    middle = 0.5 * (edges[1:] + edges[:-1])
    gamma = solve_increasing(lambda g: float((weights * (1 - np.exp(g * middle))).sum()), voxels, 0.05, 20.0)
    csf = share**gamma
    csf[share <= 1e-6] = 0
    brain = room * (1 - csf)
    brain *= min(voxels / brain.sum(dtype=np.float64), 1.02)
    brain = np.minimum(brain, room)
    solid = np.maximum(tissues[0] + tissues[1], 1e-6)
    return np.stack([brain * tissues[0] / solid, brain * tissues[1] / solid]), room - brain


def _labels(anatomy: BrainAnatomy) -> np.ndarray:
    inside = anatomy.tissues.sum(0) > 0.5
    labels = np.zeros(inside.shape, np.uint8)
    labels[inside] = anatomy.tissues[:, inside].argmax(0) + 1
    for name, share in anatomy.lesions.items():
        labels[(share > 0.5) & inside] = LABELS[name]
    return labels


def _volumes(anatomy: BrainAnatomy) -> dict[str, float]:
    voxel_ml = anatomy.spacing_mm**3 / 1000
    gm, wm, csf, ventricle = (float(v) * voxel_ml for v in anatomy.tissues.sum((1, 2, 3), dtype=np.float64))
    volumes = {"gm": gm, "wm": wm, "csf": csf, "ventricle": ventricle, "brain": gm + wm}
    volumes["intracranial"] = gm + wm + csf + ventricle
    return volumes | {name: float(m.sum(dtype=np.float64)) * voxel_ml for name, m in anatomy.lesions.items()}

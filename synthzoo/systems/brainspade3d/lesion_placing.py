"""A lesion, with its exact mask, into a scan of one's own: its contrast, its grid, and every voxel outside untouched.

The lesion grows in the tissues that a segmentation found, as it grows in phantoms, on a grid of 2 mm; on the scan's own
grid each part gets the voxels where its share is highest, as many as its millilitres are.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from scipy import ndimage as ndi

from synthzoo.errors import UserError
from synthzoo.phantoms.brain.pathology.growing import Host, draw_centre, grow
from synthzoo.phantoms.brain.pathology.lesion import KINDS, PARTS, Growth, Lesion
from synthzoo.phantoms.brain.pathology.looks import LEVELS
from synthzoo.phantoms.brain.pathology.scans import LABELS, TISSUES
from synthzoo.phantoms.brain.pathology.subject import part_labels
from synthzoo.transforms.head_grid import resample

GRID_MM = 2.0
ROWS = {"cortex": "cortex", "deep": "deep", "wm": "white", "csf": "csf", "ventricle": "ventricle"}  # host -> label
EDGE_VOXELS = 0.6  # width of the blend within the mask's edge
LEAST_CORTEX = 0.92  # of white matter on FLAIR; cortex is thin, and fluid darkens its voxels
GRAIN = 0.06  # of the levels within a lesion

# Kind -> share of each part where a request gives one number.
USUAL = {
    "tumour": {"oedema": 0.6, "enhancing": 0.25, "core": 0.15},
    "haemorrhage": {"oedema": 0.3, "haemorrhage": 0.7},
    "resection": {"oedema": 0.3, "enhancing": 0.1, "cavity": 0.6},
    "WMH": {"WMH": 1.0},
    "stroke": {"stroke": 1.0},
}
KEYS = ("kind", "ml", "centre_mm", "contrast", "growth")  # of a request


class Placed(NamedTuple):
    """A scan with a lesion.

    Attributes:
        image: float32 (D, H, W); where `labels` is 0 it is the scan to the bit.
        labels: uint8 (D, H, W), 0 or 1 + the part's place in `PARTS`.
        ml: part -> mL, voxels of `labels`.
        contrast: the one that the lesion was painted in.
        centre_mm: RAS.
    """

    image: np.ndarray
    labels: np.ndarray
    ml: dict[str, float]
    contrast: str
    centre_mm: tuple[float, ...]


def place_lesion(
    image: np.ndarray,
    tissue: np.ndarray,
    affine: np.ndarray,
    lesion: Lesion,
    centre_mm: Sequence[float] | None = None,
    seed: int = 0,
    contrast: str | None = None,
) -> Placed:
    """Put a lesion into a scan.

    Args:
        image: float32 (D, H, W), any unit.
        tissue: its labels uint8 (D, H, W) as the segmenter gives them, see `scans.LABELS`; lesions count as white.
        affine: voxel to RAS mm, (4, 4).
        lesion: what is requested; its push is left out, for it would move tissue outside of the mask.
        centre_mm: RAS; None draws a place by the lesion's growth.
        seed: draws place, shape and levels.
        contrast: "FLAIR", "T1w", "T1Gd", "T2w" or "PD"; None tells it by the tissues' intensities.

    Raises:
        UserError: shapes that differ, a place outside the brain, too little tissue for the lesion, no white matter.
    """
    if image.shape != tissue.shape or image.ndim != 3:
        raise UserError(f"tissue: has shape {tissue.shape}, the image {image.shape}; both are one volume (D, H, W).")
    if contrast is not None and contrast not in LEVELS:
        raise UserError(f"contrast = {contrast!r}: a lesion is painted in one of {', '.join(LEVELS)}.")
    units = _medians(image, tissue)
    contrast = contrast or _told(units, lesion)
    rng = np.random.default_rng([int(seed), 81])
    host, grid_affine = _host(tissue, affine)
    lesion = replace(lesion, growth=replace(lesion.growth, push_mm=0.0, effaced=0.0), centre=None)
    if centre_mm is None:
        centre = draw_centre(host, lesion.growth, rng)
    else:
        centre = _voxel(host, grid_affine, centre_mm)
    shares = grow(host, lesion, centre, np.ones(host.shape, np.float32), rng)
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    labels = _labels(shares, lesion, grid_affine, tissue > 0, affine, voxel_ml)
    placed = _paint(image, labels, _levels(rng, contrast, units), rng)
    counts = np.bincount(labels.ravel(), minlength=len(PARTS) + 1)[1:]
    ml = {part: float(count * voxel_ml) for part, count in zip(PARTS, counts) if count}
    where = tuple(round(float(mm), 2) for mm in grid_affine[:3, :3] @ centre + grid_affine[:3, 3])
    return Placed(placed, labels, ml, contrast, where)


def lesion_of(request: Mapping[str, Any]) -> Lesion:
    """The lesion of a request such as {"kind": "tumour", "ml": 40} or {"kind": "stroke", "ml": {"stroke": 25}}.

    Args:
        request: "kind"; "ml", a number that is shared out as usual, or part -> mL; at will "growth", attributes of
            `Growth` by name; "centre_mm" and "contrast" are `place_lesion`'s.

    Raises:
        UserError: another key, and what `Lesion` says.
    """
    if not isinstance(request, Mapping):
        raise UserError(f'lesion = {request!r}: give a mapping such as {{"kind": "tumour", "ml": 40}}.')
    growth = request.get("growth") or {}
    for given, known, what in ((request, KEYS, "lesion"), (growth, [f.name for f in fields(Growth)], "growth")):
        for key in given:
            if key not in known:
                raise UserError(f"{what} has the key {key!r}: the known ones are {', '.join(known)}.")
    kind, ml = request.get("kind"), request.get("ml")
    if kind not in KINDS:
        raise UserError(f"lesion: kind = {kind!r}; it is one of {', '.join(KINDS)}.")
    if isinstance(ml, (int, float)) and not isinstance(ml, bool):
        ml = {part: share * ml for part, share in USUAL[kind].items()}
    if not isinstance(ml, Mapping):
        raise UserError(f"lesion: ml = {ml!r}; give mL as a number, or as a mapping of {', '.join(KINDS[kind])}.")
    return Lesion(kind, ml, Growth(**growth))


def centre_of(centre_mm: str | Sequence[float] | None) -> tuple[float, ...] | None:
    """A place in RAS mm: three numbers, or a text such as "30, -20, 20"; None or "" is none.

    Raises:
        UserError: anything else.
    """
    if centre_mm is None or (isinstance(centre_mm, str) and not centre_mm.strip()):
        return None
    parts = centre_mm.replace(",", " ").split() if isinstance(centre_mm, str) else centre_mm
    try:
        found = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        found = ()
    if len(found) != 3 or not np.isfinite(found).all():
        raise UserError(f'centre_mm = {centre_mm!r}: give three numbers in RAS mm, such as "30, -20, 20".')
    return found


class PlaceLesiond(Transform):
    """Put a lesion into the scan of a sample; see `place_lesion`.

    Args:
        request: see `lesion_of`.
        seed: of place, shape and levels.
        scan_key: the scan (1, D, H, W), a MetaTensor on its own grid.
        label_key: its tissues (1, D, H, W) by `scans.LABELS` on the same grid.
        image_key: gets the scan with the lesion.
        mask_key: gets the parts, 1 + their place in `PARTS`, uint8 (1, D, H, W).

    The sample also gets "lesion", the request, what was placed in mL, where, and in which contrast.
    """

    def __init__(
        self,
        request: Mapping[str, Any],
        seed: int = 0,
        scan_key: Hashable = "scan",
        label_key: Hashable = "dseg",
        image_key: Hashable = "pred",
        mask_key: Hashable = "mask",
    ) -> None:
        self.request, self.seed, self.lesion = request, int(seed), lesion_of(request)
        centre_of(request.get("centre_mm"))
        self.scan_key, self.label_key, self.image_key, self.mask_key = scan_key, label_key, image_key, mask_key

    def __call__(self, data: Mapping) -> dict:
        data = dict(data)
        scan = data[self.scan_key]
        affine = np.asarray(scan.affine, dtype=np.float64).reshape(4, 4)
        image = np.asarray(torch.as_tensor(scan).cpu(), np.float32)[0]
        tissue = np.asarray(torch.as_tensor(data[self.label_key]).cpu(), np.uint8)[0]
        centre, contrast = centre_of(self.request.get("centre_mm")), self.request.get("contrast")
        placed = place_lesion(image, tissue, affine, self.lesion, centre, self.seed, contrast)
        data[self.image_key] = MetaTensor(torch.from_numpy(placed.image)[None], affine=torch.from_numpy(affine))
        data[self.mask_key] = MetaTensor(torch.from_numpy(placed.labels)[None], affine=torch.from_numpy(affine))
        data["labels"] = {str(value): f"lesion_{part}" for value, part in enumerate(PARTS, start=1)}
        data["lesion"] = {
            "requested": {"kind": self.lesion.kind, "ml": dict(self.lesion.ml)},
            "ml": {part: round(ml, 4) for part, ml in placed.ml.items()},
            "centre_mm": list(placed.centre_mm),
            "contrast": placed.contrast,
        }
        return data


def _medians(image: np.ndarray, tissue: np.ndarray) -> dict[str, float]:
    """Median intensity of white matter, cortex and fluid; of those that are absent white matter's."""
    groups = {"white": ("white",), "cortex": ("cortex",), "fluid": ("csf", "ventricle")}
    found = {}
    for name, members in groups.items():
        inside = np.isin(tissue, [LABELS[member] for member in members])
        if inside.any():
            found[name] = float(np.median(image[inside]))
    if "white" not in found or found["white"] == 0:
        raise UserError("tissue: has no white matter with an intensity; segment the scan first.")
    return {name: found.get(name, found["white"]) for name in groups}


def _told(units: dict[str, float], lesion: Lesion) -> str:
    """The contrast by the order of tissues; with an enhancing part, T1w is taken for one with contrast agent."""
    white, cortex, fluid = units["white"], units["cortex"], units["fluid"]
    if fluid > 1.1 * white:
        return "T2w"
    if cortex > LEAST_CORTEX * white:
        return "FLAIR"
    return "T1Gd" if lesion.ml.get("enhancing") else "T1w"


def _host(tissue: np.ndarray, affine: np.ndarray) -> tuple[Host, np.ndarray]:
    """The tissues on a grid of 2 mm along RAS that holds the whole scan, and its affine."""
    size = np.array(tissue.shape) - 1
    corners = np.array(np.meshgrid(*[(0, n) for n in size], indexing="ij")).reshape(3, -1)
    mm = affine[:3, :3] @ corners + affine[:3, 3:]
    shape = tuple(int(n) for n in np.ceil((mm.max(1) - mm.min(1)) / GRID_MM) + 1)
    grid_affine = np.diag([GRID_MM] * 3 + [1.0])
    grid_affine[:3, 3] = mm.min(1)
    kept = np.where(tissue >= len(TISSUES), LABELS["white"], tissue)
    steps = GRID_MM / np.linalg.norm(affine[:3, :3], axis=0)
    maps = []
    for label in ROWS.values():
        share = ndi.gaussian_filter((kept == LABELS[label]).astype(np.float32), 0.35 * np.maximum(steps, 1))
        maps.append(resample(share, affine, shape, grid_affine))
    return Host(np.clip(np.stack(maps), 0, 1), tuple(ROWS), GRID_MM), grid_affine


def _voxel(host: Host, grid_affine: np.ndarray, centre_mm: Sequence[float]) -> np.ndarray:
    centre = np.linalg.inv(grid_affine)[:3] @ [*(float(mm) for mm in centre_mm), 1.0]
    near = np.rint(centre).astype(int)
    if (near < 0).any() or (near >= host.shape).any() or host.brain[tuple(near)] < 0.3:
        found = np.argwhere(host.brain > 0.5) @ grid_affine[:3, :3].T + grid_affine[:3, 3]
        low, high = (", ".join(f"{mm:.0f}" for mm in end) for end in (found.min(0), found.max(0)))
        raise UserError(f"centre_mm = {list(centre_mm)}: lies outside the brain, which spans {low} to {high} mm (RAS).")
    return centre


def _labels(
    shares: dict[str, np.ndarray],
    lesion: Lesion,
    grid_affine: np.ndarray,
    brain: np.ndarray,
    affine: np.ndarray,
    voxel_ml: float,
) -> np.ndarray:
    """Parts on the scan's grid, each with its millilitres to half a voxel, within the brain."""
    parts = np.zeros((len(PARTS), *brain.shape), np.float32)
    for part, share in shares.items():
        # A little blur, so that beyond a sharp edge there is an order, too.
        parts[PARTS.index(part)] = resample(ndi.gaussian_filter(share, 0.7), grid_affine, brain.shape, affine) * brain
    counts = [int(round(lesion.ml.get(part, 0.0) / voxel_ml)) for part in PARTS]
    if sum(counts) > (parts.sum(0) > 0).sum():
        raise UserError(f"{lesion.kind}: {lesion.total_ml:g} mL do not fit into the brain around its place.")
    return part_labels(parts, counts)


def _levels(rng: np.random.Generator, contrast: str, units: dict[str, float]) -> np.ndarray:
    """Intensity of each part in the scan's unit: from the middle of its range in phantoms."""
    middle = [np.log(LEVELS[contrast][part]).mean() for part in PARTS]
    width = [np.ptp(np.log(LEVELS[contrast][part])) for part in PARTS]
    level = np.exp(np.array(middle) + rng.uniform(-0.25, 0.25, len(PARTS)) * width)
    brightest = max(units["white"], units["cortex"]) if contrast == "FLAIR" else units["white"]
    return level * brightest


def paint_lesion(
    image: np.ndarray, labels: np.ndarray, tissue: np.ndarray, contrast: str, rng: np.random.Generator
) -> np.ndarray:
    """Paint the parts of a lesion over a scan, in levels of its contrast; outside of them nothing changes.

    Args:
        image: float32 (D, H, W), any unit.
        labels: uint8 (D, H, W), 0 or 1 + the part's place in `PARTS`.
        tissue: uint8 (D, H, W) by `scans.LABELS`.
        contrast: a key of `LEVELS`.
        rng: draws levels and grain.
    """
    return _paint(image, labels, _levels(rng, contrast, _medians(image, tissue)), rng)


def _paint(image: np.ndarray, labels: np.ndarray, levels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image with the parts' levels where labels are; the scan's own noise stays, and nothing outside changes."""
    out = np.array(image, np.float32, copy=True)
    if not labels.any():
        return out
    box = tuple(slice(max(s.start - 4, 0), s.stop + 4) for s in ndi.find_objects(labels > 0)[0])
    own, part = out[box], labels[box]
    inside = part > 0
    level = np.concatenate([[0.0], levels])[part]
    # Between parts the levels run into each other over a voxel; at the outer edge the lesion fades into the tissue.
    weight = np.maximum(ndi.gaussian_filter(inside.astype(np.float32), EDGE_VOXELS), 1e-3)
    smooth = ndi.gaussian_filter(np.where(inside, level, 0.0), EDGE_VOXELS) / weight
    grain = ndi.gaussian_filter(rng.standard_normal(part.shape), 1.5)
    smooth = smooth * (1 + GRAIN * grain / max(float(grain.std()), 1e-6))
    noise = own - ndi.gaussian_filter(own, 0.8)
    opacity = np.clip(weight, 0, 1)
    own[inside] = ((1 - opacity) * own + opacity * (smooth + noise))[inside]
    return out

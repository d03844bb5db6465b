"""Template of all brain phantoms, which are deformations of it: the ICBM152 2009a maps that `nilearn` installs.

The template gives the T1w average with grey- and white-matter maps at 1 mm in MNI space (RAS). What it lacks is made
here once and cached: the ventricles (deep dark compartments on the T1w average: both lateral ventricles, their temporal
horns, third ventricle), their signed distance map, along which they are dilated, and tissue maps in which the
ventricles are filled by their neighbours, so that a wall of tissue is there to be pushed.

Reference: Fonov et al., "Unbiased nonlinear average age-appropriate brain templates", NeuroImage 2009.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage as ndi

from synthzoo.errors import UserError
from synthzoo.io.files import atomic_path
from synthzoo.phantoms.cache import cache_folder
from synthzoo.phantoms.fields import to_table

FOV_MM = (192.0, 224.0, 192.0)
CENTRE_MM = (0.0, -17.0, 5.0)  # of the field of view, in MNI space
THIRD_VENTRICLE_RATE = 2.5  # the third ventricle widens this much more slowly than the lateral ones
WALL_MM = 2.0  # partial-volume rim around the ventricles that the tissue maps show as grey matter


@dataclass(frozen=True)
class BrainTemplate:
    """Maps of shape (X, Y, Z) at `spacing_mm`, RAS.

    Attributes:
        tissues: float32 (3, X, Y, Z), GM, WM, sulcal CSF with the ventricles filled; sums to `mask`.
        mask: float32, intracranial occupancy in [0, 1].
        ventricle_mm: float32, signed distance to the ventricle wall in mm, negative inside.
        normal: float32 (3, X, Y, Z), unit gradient of `ventricle_mm`.
        surface_mm: float32, distance to the outer surface of the brain in mm.
        t1w: float32, the T1w average in [0, 1].
        origin_mm: position of voxel (0, 0, 0).
    """

    tissues: np.ndarray
    mask: np.ndarray
    ventricle_mm: np.ndarray
    normal: np.ndarray
    surface_mm: np.ndarray
    t1w: np.ndarray
    origin_mm: tuple[float, ...]
    spacing_mm: float

    @property
    def shape(self) -> tuple[int, ...]:
        return self.mask.shape

    @cached_property
    def mask_table(self) -> np.ndarray:
        """`mask` as a table for `fields.sample`."""
        return to_table(self.mask[None])

    @cached_property
    def guides(self) -> np.ndarray:
        """mask, ventricle_mm, surface_mm and normal as one table."""
        return to_table(np.concatenate([np.stack([self.mask, self.ventricle_mm, self.surface_mm]), self.normal]))

    @cached_property
    def tissue_table(self) -> np.ndarray:
        """`tissues` as a table."""
        return to_table(self.tissues)


def brain_grid(spacing_mm: float) -> tuple[int, ...]:
    """Voxels per axis of the phantom's field of view (192 x 224 x 192 mm) at `spacing_mm`.

    >>> brain_grid(4.0)
    (48, 56, 48)
    """
    return tuple(int(round(length / spacing_mm)) for length in FOV_MM)


def brain_affine(spacing_mm: float) -> np.ndarray:
    """Voxel to RAS mm, float64 (4, 4); the field of view is centred on the template's brain."""
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = [c - (n - 1) / 2 * spacing_mm for c, n in zip(CENTRE_MM, brain_grid(spacing_mm), strict=True)]
    return affine


def source_files() -> dict[str, Path]:
    """The template's T1w average ("t1"), grey ("gm") and white matter ("wm"), NIfTI at 1 mm, as `nilearn` has them."""
    import nilearn.datasets

    folder = Path(nilearn.datasets.__file__).parent / "data"
    return {key: folder / f"mni_icbm152_{key}_tal_nlin_sym_09a_converted.nii.gz" for key in ("t1", "gm", "wm")}


def find_ventricles(t1w: np.ndarray, mask: np.ndarray, origin_mm: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Boolean maps (X, Y, Z) at 1 mm of the lateral ventricles with temporal horns, and of the third ventricle."""
    x, y, z = (
        (np.arange(n) + o).reshape([-1 if a == b else 1 for b in range(3)])
        for a, (n, o) in enumerate(zip(t1w.shape, origin_mm, strict=True))
    )
    dark = (t1w < 0.54) & mask & (ndi.distance_transform_edt(mask) > 18)
    box = dark & (abs(x) > 0.5) & (abs(x) < 44) & (y > -58) & (y < 42) & (z > -16) & (z < 34)
    cistern = (abs(x) < 15) & (y < -24) & (z < 17)
    fissure = (abs(x) < 6) & ((z > 26) | (z < -1) | (y > 24) | (y < -32))
    box &= ~cistern & ~fissure
    names, count = ndi.label(box)
    lateral = np.zeros_like(mask)
    for name, where in enumerate(ndi.find_objects(names), start=1):
        part = names[where] == name
        centre = [float(c) + s.start + o for c, s, o in zip(ndi.center_of_mass(part), where, origin_mm, strict=True)]
        body = part.sum() > 4000 and abs(centre[0]) > 8 and centre[2] > 0
        horn = 150 < part.sum() < 1500 and 14 < abs(centre[0]) < 32 and -34 < centre[1] < -8 and centre[2] < -4
        if body or horn:
            lateral[where] |= part
    third = (t1w < 0.54) & mask & (abs(x) <= 3.5) & (y > -26) & (y < 8) & (z > -11) & (z < 7)
    names, count = ndi.label(third)
    if count:
        third = names == 1 + int(np.argmax(ndi.sum(third, names, range(1, count + 1))))
    return lateral, third


def _build_at_1mm() -> dict[str, np.ndarray]:
    files = source_files()
    images = {key: nib.load(path) for key, path in files.items()}
    affine = images["t1"].affine
    maps = {key: np.asarray(image.dataobj, dtype=np.float32) for key, image in images.items()}
    maps = {key: values / values.max() for key, values in maps.items()}
    inside = maps["t1"] > 0.05
    inside = ndi.binary_fill_holes(ndi.binary_closing(inside, iterations=2))
    names, count = ndi.label(inside)
    inside = names == 1 + int(np.argmax(np.bincount(names.ravel())[1:]))
    margin = 8
    low = [max(0, int(i) - margin) for i in np.argwhere(inside).min(0)]
    padded = {key: np.pad(values, margin)[tuple(slice(s, None) for s in low)] for key, values in maps.items()}
    inside = np.pad(inside, margin)[tuple(slice(s, None) for s in low)]
    high = [int(i) + 1 + margin for i in np.argwhere(inside).max(0)]
    crop = tuple(slice(0, n) for n in high)
    inside, t1w, gm, wm = inside[crop], padded["t1"][crop], padded["gm"][crop], padded["wm"][crop]
    origin = [float(affine[a, 3]) + low[a] - margin for a in range(3)]

    lateral, third = find_ventricles(t1w, inside, origin)
    distance = _signed_distance(lateral)
    slow = _signed_distance(third)
    distance = np.minimum(distance, np.where(slow > 0, THIRD_VENTRICLE_RATE * slow, slow))
    distance = ndi.gaussian_filter(distance, 1.0)
    gradient = np.stack(np.gradient(ndi.gaussian_filter(distance, 1.0)))
    gradient /= np.maximum(np.linalg.norm(gradient, axis=0, keepdims=True), 1e-3)

    mask = inside.astype(np.float32)
    total = np.maximum(gm + wm, 1.0)
    gm, wm = gm / total * mask, wm / total * mask
    tissues = np.stack([gm, wm, mask - gm - wm])
    # The rim of the ventricles takes the tissue that lies WALL_MM further out.
    hidden = (distance < WALL_MM) & inside
    nearest = ndi.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    tissues[:, hidden] = tissues[(slice(None), *nearest[:, hidden])]
    # deep inside there is no sulcal CSF: what is left of it next to the wall is white matter
    deep = hidden & (ndi.distance_transform_edt(inside) > 20)
    tissues[1, deep] += tissues[2, deep]
    tissues[2, deep] = 0
    return {
        "tissues": tissues,
        "mask": mask,
        "ventricle_mm": distance.astype(np.float32),
        "normal": gradient.astype(np.float32),
        "surface_mm": ndi.distance_transform_edt(inside).astype(np.float32),
        "t1w": (t1w * mask).astype(np.float32),
        "origin_mm": np.array(origin),
    }


def _signed_distance(region: np.ndarray) -> np.ndarray:
    return (ndi.distance_transform_edt(~region) - ndi.distance_transform_edt(region)).astype(np.float32)


def _stored_spacing(spacing_mm: float) -> float:
    """Two template voxels per phantom voxel: aliasing is filtered out and linear interpolation hardly blurs."""
    return 1.0 if spacing_mm < 3 else 2.0


def _reduce(maps: dict[str, np.ndarray], spacing_mm: float) -> dict[str, np.ndarray]:
    """Low-pass the occupancy maps to a voxel of `spacing_mm` and keep every 1 or 2 mm."""
    step = int(_stored_spacing(spacing_mm))
    sigma = 0.35 * np.sqrt(max(spacing_mm**2 - 1.0, 0.0))
    reduced = {}
    for key, values in maps.items():
        if key == "origin_mm":
            reduced[key] = values
        elif key in ("tissues", "mask", "t1w") and sigma > 0:
            axes = (0,) if values.ndim == 3 else (0, 1)
            blurred = ndi.gaussian_filter(values, [0] * (len(axes) - 1) + [sigma] * 3)
            reduced[key] = blurred[..., ::step, ::step, ::step]
        else:
            reduced[key] = values[..., ::step, ::step, ::step]
    return reduced


def _fingerprint() -> str:
    """Names the cache file: it changes with this code and with the template's files."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in source_files().values():
        digest.update(str(path.stat().st_size).encode())
    return digest.hexdigest()[:16]


@lru_cache(maxsize=3)
def load_template(spacing_mm: float) -> BrainTemplate:
    """The template prepared for phantoms of `spacing_mm` (1 to 6 mm).

    The first call takes some seconds; the result is kept in `~/.cache/synthzoo` (or `SYNTHZOO_CACHE`) for the next.
    """
    if not 1.0 <= spacing_mm <= 6.0:
        raise UserError(f"spacing_mm = {spacing_mm}: brain phantoms are made from 1 to 6 mm; choose such a value.")
    path = cache_folder() / f"icbm152_{_fingerprint()}_{spacing_mm:g}mm.npz"
    maps = _read_cache(path)
    if maps is None:
        maps = _rounded(_reduce(_build_at_1mm(), spacing_mm))
        _write_cache(path, maps)
    origin = tuple(float(v) for v in maps.pop("origin_mm"))
    maps = {key: np.ascontiguousarray(values, dtype=np.float32) for key, values in maps.items()}
    return BrainTemplate(origin_mm=origin, spacing_mm=_stored_spacing(spacing_mm), **maps)


def _read_cache(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _rounded(maps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The maps in half precision, as the cache keeps them: a template made now is the one that is read later."""
    return {key: values if key == "origin_mm" else values.astype(np.float16) for key, values in maps.items()}


def _write_cache(path: Path, maps: dict[str, np.ndarray]) -> None:
    # A read-only home or a full disk only costs time.
    with suppress(OSError, UserError), atomic_path(path, durable=False) as temporary:
        np.savez(temporary, **maps)

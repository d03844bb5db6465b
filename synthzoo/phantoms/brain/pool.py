"""Healthy anatomies at 2 mm as maps that a contrast can be painted on slice by slice.

Beside the tissue maps of `brain` a pool holds what a healthy scan shows and a tissue map lacks: deep grey matter and
cerebellum apart from the cortex, the template's own fine structure, arteries, venous sinuses, choroid plexus, dura.
A model that never saw them calls them lesions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import nilearn.datasets
import numpy as np
from scipy import ndimage as ndi

from synthzoo.io.files import atomic_path
from synthzoo.phantoms.brain import phantom as brain
from synthzoo.phantoms.cache import cache_folder
from synthzoo.phantoms.fields import smooth_noise

GRID = (80, 96, 80)
SPACING_MM = 2.0
MAPS = ("cortex", "deep", "wm", "csf", "ventricle", "cerebellum", "structure", "vessel", "sinus", "plexus", "dura")


def anatomy_maps(seed: int, grid: Sequence[int] = GRID) -> np.ndarray:
    """Maps of healthy subject `seed`: uint8 (len(MAPS), *grid), 255 = fully occupied, "structure" 128 = none.

    The first five share out the brain mask; the others lie over them. The brain's box is centred on the grid.
    """
    params = brain.draw_params(seed)
    anatomy = brain.make_anatomy(params, SPACING_MM)
    rng = np.random.default_rng([seed, 41])
    gm, wm, csf, ventricle = anatomy.tissues
    inside = anatomy.tissues.sum(0)
    x, y, z = points = template_position(inside > 0.5)
    structure, surface = _structure(points), ndi.distance_transform_edt(inside > 0.5) * SPACING_MM

    deep = _deep_share(points, surface)
    below = _soft(-z - 14 + 0.25 * (y + 60), 2.5)
    cerebellum = below * _soft(-y - 30, 3) * _soft(62 - abs(x), 3)
    dura = _dura(x, y, z, inside, surface)
    vessel, sinus, plexus = _vessels(rng, anatomy, points, inside)
    fine = 0.5 + 2 * structure * (inside > 0.5)
    maps = [gm * (1 - deep), gm * deep, wm, csf, ventricle, cerebellum * inside, fine, vessel, sinus, plexus, dura]
    stacked = (np.clip(np.stack(maps), 0, 1) * 255 + 0.5).astype(np.uint8)
    return crop_to_brain(stacked, inside > 0.5, grid, fill=128 * (np.arange(len(MAPS)) == 6))


def deep_grey(anatomy: brain.BrainAnatomy) -> np.ndarray:
    """Share of a subject's grey matter that is deep grey, by place in the template; (D, H, W) in [0, 1]."""
    inside = anatomy.tissues.sum(0) > 0.5
    return _deep_share(template_position(inside), ndi.distance_transform_edt(inside) * anatomy.spacing_mm)


def _deep_share(points: np.ndarray, surface: np.ndarray) -> np.ndarray:
    """The same of template positions (3, *shape) and distances to the brain's surface in mm."""
    x, y, z = points
    deep_box = _soft(34 - abs(x), 3) * _soft(24 - y, 3) * _soft(y + 38, 3) * _soft(22 - z, 3) * _soft(z + 16, 3)
    return np.clip(deep_box * _soft(surface - 17, 3), 0, 1)


def template_position(mask: np.ndarray) -> np.ndarray:
    """Template position of each voxel, mm (3, *shape), by matching the boxes of the two brains.

    The match is good to a few millimetres, enough to say what is cerebellum or where a sinus runs.
    """
    found = np.argwhere(mask)
    low, high = found.min(0), found.max(0)
    box = _template()[1]
    axes = [
        box[a][0] + (np.arange(n, dtype=np.float32) - low[a]) / (high[a] - low[a]) * (box[a][1] - box[a][0])
        for a, n in enumerate(mask.shape)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


@lru_cache(maxsize=1)
def _template() -> tuple[np.ndarray, list[tuple[float, float]], np.ndarray]:
    """The fine structure of the ICBM152 T1w average that its tissue maps leave out, its brain's box, its affine."""
    folder = Path(nilearn.datasets.__file__).parent / "data"
    images = [nib.load(folder / f"mni_icbm152_{key}_tal_nlin_sym_09a_converted.nii.gz") for key in ("t1", "gm", "wm")]
    t1w, gm, wm = (np.asarray(image.dataobj, dtype=np.float32) for image in images)
    t1w, gm, wm = t1w / t1w.max(), gm / max(gm.max(), 1), wm / max(wm.max(), 1)
    brain_mask = t1w > 0.05
    maps = np.stack([gm[brain_mask], wm[brain_mask], np.ones(brain_mask.sum(), np.float32)], 1)
    weights = np.linalg.lstsq(maps[::37], t1w[brain_mask][::37], rcond=None)[0]
    structure = np.zeros_like(t1w)
    structure[brain_mask] = np.clip(t1w[brain_mask] - maps @ weights, -0.25, 0.25)
    affine = images[0].affine
    found = np.argwhere(brain_mask)
    box = [(found[:, a].min() + affine[a, 3], found[:, a].max() + affine[a, 3]) for a in range(3)]
    return structure, box, affine


def _structure(points: np.ndarray) -> np.ndarray:
    structure, _, affine = _template()
    voxels = points - affine[:3, 3].reshape(3, 1, 1, 1)
    return ndi.map_coordinates(ndi.gaussian_filter(structure, 0.7), voxels, order=1, mode="constant")


def _soft(distance: np.ndarray, width: float) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip(-distance / (0.5 * width), -30, 30)))


def _dura(x: np.ndarray, y: np.ndarray, z: np.ndarray, inside: np.ndarray, surface: np.ndarray) -> np.ndarray:
    """Falx, tentorium and the covering of the surface, as shares of a voxel."""
    falx = np.exp(-((x / 1.3) ** 2)) * _soft(surface * -1 + 28, 4) * _soft(z + 2 + 0.1 * y, 6)
    tentorium = np.exp(-(((-z - 14 + 0.25 * (y + 60)) / 1.4) ** 2)) * _soft(-y - 36, 3) * _soft(abs(x) - 8, 4)
    rim = np.exp(-((surface / 1.6) ** 2))
    return np.clip(np.maximum(np.maximum(0.8 * falx, 0.7 * tentorium), 0.7 * rim), 0, 1) * (inside > 0.05)


def _vessels(
    rng: np.random.Generator, anatomy: brain.BrainAnatomy, points: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Arteries and cortical veins (tubes where two level sets meet), venous sinuses, choroid plexus."""
    x, y, z = points
    csf, ventricle = anatomy.tissues[2:]
    near_csf = ndi.gaussian_filter(csf, 1.0)
    tubes = np.zeros_like(csf)
    for sigma, width, where in ((3.0, 0.06, 2.2 * near_csf), (5.0, 0.012, 0.5 + 0 * csf)):
        first, second = (smooth_noise(rng, csf.shape, sigma) for _ in range(2))
        tubes = np.maximum(tubes, np.exp(-(first**2 + second**2) / width) * np.clip(where, 0, 1))
    base = _soft(-z - 8, 4) * _soft(12 - abs(z + 18), 3) * _soft(26 - abs(x), 3) * _soft(y + 30, 4) * _soft(18 - y, 4)
    ring = np.exp(-((np.hypot(x, y + 8) - 13) ** 2) / 6) * np.exp(-((z + 20) ** 2) / 8)
    cerebral = np.exp(-((abs(x) - 22 - 4 * np.sin(z)) ** 2 / 90 + (y - 2) ** 2 / 8 + (z + 17) ** 2 / 8)) * (abs(x) < 45)
    vessel = np.maximum(tubes, np.clip(ring + cerebral + base * (near_csf > 0.45) * 0.6, 0, 1))

    edge = ndi.gaussian_filter(inside, 2.0)
    sagittal = (abs(x) < 4) & (edge < 0.72) & (z > -25)
    transverse = (edge < 0.72) & (abs(-z - 14 + 0.25 * (y + 60)) < 5) & (y < -45)
    straight = (np.hypot(x, (z - 4 + 0.35 * (y + 60)) / 1.2) < 2.5) & (y < -38) & (y > -85)
    cavernous = (np.hypot(abs(x) - 11, y + 2) < 8) & (z < -18)
    sinus = ndi.gaussian_filter((sagittal | transverse | straight | cavernous).astype(np.float32), 0.6)
    lumps = smooth_noise(rng, csf.shape, 1.2)
    atrium = np.exp(-((y + 38) ** 2 / 500 + (abs(x) - 20) ** 2 / 250 + (z - 8) ** 2 / 400))
    plexus = np.clip(ventricle, 0, 1) * (lumps > 2.2 - 2.2 * atrium)
    present = (inside > 0.05).astype(np.float32)
    return vessel * present, sinus * present, ndi.gaussian_filter(plexus.astype(np.float32), 0.4) * present


def crop_to_brain(maps: np.ndarray, mask: np.ndarray, grid: Sequence[int], fill: float | np.ndarray = 0) -> np.ndarray:
    """Cut (C, *spatial) to (C, *grid) with the box of `mask` in the middle; what lies beyond is `fill` (C,)."""
    found = np.argwhere(mask)
    middle = (found.min(0) + found.max(0) + 1) / 2
    start = np.round(middle - np.array(grid) / 2).astype(int)
    out = np.empty((len(maps), *grid), maps.dtype)
    out[:] = np.broadcast_to(np.asarray(fill), len(maps)).reshape(-1, 1, 1, 1)
    source, target = [], []
    for s, n, g in zip(start, mask.shape, grid):
        source.append(slice(max(s, 0), min(s + g, n)))
        target.append(slice(max(-s, 0), max(-s, 0) + min(s + g, n) - max(s, 0)))
    out[(slice(None), *target)] = maps[(slice(None), *source)]
    return out


def load_pool(
    first_seed: int,
    size: int,
    folder: str | None = None,
    grid: Sequence[int] = GRID,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> np.ndarray:
    """Maps of `size` subjects, uint8 (size, len(MAPS), *grid), made once and memory-mapped from `folder`.

    Args:
        first_seed: subjects are first_seed, first_seed + 1, ...
        folder: None is `SYNTHZOO_CACHE` or `~/.cache/synthzoo`.
        progress: wraps the iteration over subjects, for instance `tqdm`.
    """
    folder = Path(folder) if folder else cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"brain_pool_v{brain.VERSION}_{first_seed}_{size}_{'x'.join(map(str, grid))}_{len(MAPS)}.npy"
    if not path.is_file():
        with atomic_path(path, durable=False) as temporary:
            pool = np.lib.format.open_memmap(temporary, "w+", np.uint8, (size, len(MAPS), *grid))
            for i in (progress or iter)(range(size)):
                pool[i] = anatomy_maps(first_seed + i, grid)
            pool.flush()
    return np.load(path, mmap_mode="r")

"""Other insides for a tumour's outline: hollow, with a thin rim, one even plateau, wholly dead, mottled.

A pool's subjects are grown once and painted many times; what a tumour consists of is drawn again when it is painted, so
that a network sees each outline filled in many ways. Large tumours above all: real ones of more than 100 mL are often
hollow or even, and a network that has seen few of them finds their edge and loses their middle.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

from synthzoo.phantoms.brain.pathology.lesion import KINDS, PARTS
from synthzoo.phantoms.brain.slices import field

WAYS = ("hollow", "rim", "flat", "dead", "mottled")
CHANCES = (0.25, 0.3, 0.25, 0.08, 0.12)
RECAST_SHARE, RECAST_LARGE_SHARE = 0.3, 0.55
LARGE_VOXELS = 8  # deep
LEAST_VOXELS = 30
RIM_VOXELS, WALL_VOXELS = (0.7, 4.0), (1.0, 6.0)
TUMOUR = [PARTS.index(part) for part in KINDS["tumour"]]
INNER = [row for row in TUMOUR if PARTS[row] != "oedema"]
OEDEMA, SOLID, ENHANCING, CORE = (PARTS.index(part) for part in ("oedema", "solid", "enhancing", "core"))


def recast(
    parts: np.ndarray, voxels: np.ndarray, rng: np.random.RandomState, way: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Fill a tumour's outline in another way, or leave it as it is.

    Args:
        parts: float32 (len(PARTS), ...) in [0, 1], of a slice or a volume.
        voxels: (len(PARTS), N), random voxels of the same brain, in which as much is changed.
        rng: random state.
        way: one of `WAYS`; None draws whether and how.

    Returns:
        Both, new; the sum over the parts is what it was in every voxel.
    """
    whole = parts[TUMOUR].sum(0)
    if (whole > 0.5).sum() < LEAST_VOXELS:
        return parts, voxels
    depth = ndi.distance_transform_edt(whole > 0.5)
    if way is None:
        if rng.rand() > (RECAST_LARGE_SHARE if depth.max() > LARGE_VOXELS else RECAST_SHARE):
            return parts, voxels
        way = WAYS[rng.choice(len(WAYS), p=CHANCES)]
    if way == "flat":
        row = OEDEMA if rng.rand() < 0.5 else SOLID
        return _moved(parts, TUMOUR, row), _moved(voxels, TUMOUR, row)
    if way == "dead":
        return _moved(parts, INNER, CORE), _moved(voxels, INNER, CORE)
    if way == "hollow":
        rows, shell = TUMOUR, (OEDEMA, OEDEMA, ENHANCING, SOLID)[rng.randint(4)]
        dead = np.clip(depth - rng.uniform(*WALL_VOXELS) + 0.5, 0, 1)
    elif way == "rim":
        rows, shell = INNER, ENHANCING
        inside = ndi.distance_transform_edt(parts[INNER].sum(0) > 0.5)
        dead = np.clip(inside - rng.uniform(*RIM_VOXELS) + 0.5, 0, 1)
    else:
        rows, shell = INNER, SOLID
        dead = np.clip(3 * (field(rng, whole.shape, rng.randint(8, 24)) - rng.normal(0, 0.7)) + 0.5, 0, 1)
    room = parts[rows].sum(0)
    share = float((room * dead).sum() / max(float(room.sum()), 1e-6))
    return _split(parts, rows, dead, shell), _split(voxels, rows, rng.rand(voxels.shape[1]) < share, shell)


def _moved(parts: np.ndarray, rows: list[int], to: int) -> np.ndarray:
    """All of some parts in one."""
    out = parts.copy()
    out[rows] = 0
    out[to] += parts[rows].sum(0)
    return out


def _split(parts: np.ndarray, rows: list[int], dead: np.ndarray, shell: int) -> np.ndarray:
    """All of some parts shared out between the core and a shell."""
    out, room = parts.copy(), parts[rows].sum(0)
    out[rows] = 0
    out[CORE] += room * dead
    out[shell] += room * (1 - dead)
    return out

"""What hospitals' scans show besides brain, or lack of it: remains of a head after stripping, cut fields of view.

Remains lie where a head has them, relative to the brain's box: skull base and neck below it, arteries that come up
through them, the sagittal sinus on top, patches of scalp. They have intensities of their own by signal equations. These
are for tests; training draws shells and clumps without anatomy (`pathology.views`), so that neither knows the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage as ndi

from synthzoo.phantoms.brain.contrast import VESSEL_T1, tissue_signals
from synthzoo.phantoms.fields import smooth_noise

REMAINS = ("bone", "marrow", "muscle", "fat", "blood")
#         rho   T1 ms   T2 ms; flowing blood has lost its signal where echoes are late
RELAXATION = {
    "bone": (0.15, 1000.0, 12.0),
    "marrow": (0.85, 550.0, 50.0),
    "muscle": (0.75, 1400.0, 42.0),
    "fat": (1.00, 380.0, 70.0),
    "blood": (0.90, 1650.0, 25.0),
}
TEXTURE = 0.12  # relative, of what is no brain


def remains(mask: np.ndarray, spacing_mm: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Remains of a head around its brain, by tissue; bool (D, H, W) each, none within the brain and none shared.

    Args:
        mask: brain, bool (D, H, W), RAS.
        spacing_mm: of the grid.
        rng: draws how deep the neck goes, how thick the base is and which patches are left.
    """
    found = np.argwhere(mask)
    low, high = found.min(0) * spacing_mm, (found.max(0) + 1) * spacing_mm
    width, length, height = high - low
    grid = np.meshgrid(*[(np.arange(n) + 0.5) * spacing_mm for n in mask.shape], indexing="ij")
    x, y, z = (g - m for g, m in zip(grid, ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2])))
    away = ndi.distance_transform_edt(~mask) * spacing_mm
    patches, fine = (smooth_noise(rng, mask.shape, mm / spacing_mm) for mm in (14.0, 5.0))
    outside = ~mask

    column = (x / (0.30 * width)) ** 2 + ((y + 0.12 * length) / (0.27 * length)) ** 2 < 1
    neck = outside & column & (z < 0.22 * height) & (z > -rng.uniform(12, 40)) & (away > 3)
    base = outside & (z < (0.30 + 0.06 * fine) * height) & (away <= rng.uniform(4, 8)) & (patches > 0.1)
    scalp = outside & (z > 0.3 * height) & (away > 4) & (away <= 9) & (patches > rng.uniform(0.9, 1.8))
    arteries = np.zeros(mask.shape, bool)
    for side in (-1, 1):
        for apart, back, radius in ((0.12, 0.02, 3.0), (0.05, -0.14, 2.2)):  # carotid, vertebral
            bend = 3 * np.sin(z / 9 + rng.uniform(0, 6))
            distance = np.hypot(x - side * (apart * width + bend), y - back * length + bend)
            arteries |= (distance < radius) & (z < 0.12 * height) & (z > -45)
    sinus = (np.abs(x) < 4.5) & (away <= 5) & ((z > 0.75 * height) | (y < -0.38 * length) & (z > 0.35 * height))

    parts = dict.fromkeys(REMAINS)
    parts["blood"] = outside & (arteries & (neck | base | (away <= 12)) | sinus)
    parts["marrow"] = base & (fine > 0.1)
    parts["bone"] = base & (fine <= 0.1)
    parts["fat"] = scalp | neck & (fine > 0.9)
    parts["muscle"] = neck
    taken = np.zeros(mask.shape, bool)
    for name in ("blood", "marrow", "bone", "fat", "muscle"):
        parts[name] = parts[name] & ~taken
        taken |= parts[name]
    return parts


def paint_remains(
    image: np.ndarray,
    parts: Mapping[str, np.ndarray],
    contrast: str,
    rng: np.random.Generator,
    gadolinium: bool = False,
    noise: float = 0.02,
) -> np.ndarray:
    """A stripped scan with remains beside its brain, in the unit of `contrast.render`; a copy, float32 (D, H, W).

    Args:
        image: 0 outside of the brain.
        parts: tissue -> bool (D, H, W), see `remains`.
        contrast, gadolinium, noise: as of `render`.
        rng: draws texture and noise.
    """
    relaxation = dict(RELAXATION)
    if gadolinium:
        relaxation["blood"] = (0.9, VESSEL_T1, 60.0)
        relaxation["marrow"] = (0.85, 420.0, 50.0)
    values = tissue_signals(contrast, 40.0, rng, gadolinium, relaxation)
    texture = 1 + TEXTURE * smooth_noise(rng, image.shape, 1.0)
    out = np.array(image, dtype=np.float32)
    real, imaginary = (noise * rng.standard_normal(image.shape, dtype=np.float32) for _ in range(2))
    for name, where in parts.items():
        out[where] = np.hypot(min(values[name], 1.1) * texture + real, imaginary)[where]
    return np.clip(out, 0, 1)


def field_of_view(mask: np.ndarray, normal: Sequence[float] | np.ndarray, share: float) -> np.ndarray:
    """Field of view that a plane bounds, bool of the mask's shape: it lacks this share of the brain, to a voxel.

    Args:
        mask: brain, bool (D, H, W).
        normal: of the plane, towards what is cut off; any direction and length but 0.
        share: of the brain that is cut off, in [0, 1).
    """
    direction = np.asarray(normal, dtype=np.float64) / np.linalg.norm(normal)
    axes = np.meshgrid(*[np.arange(size) for size in mask.shape], indexing="ij")
    height = sum(n * axis for n, axis in zip(direction, axes, strict=True))
    own = np.sort(height[mask])
    kept = own.size - round(share * own.size)
    return height <= own[max(kept - 1, 0)] + 1e-9

"""From tissue maps to MR images by signal equations, with bias field, noise and resolution.

With proton density rho and relaxation times T1, T2 in ms:

    T1w    spoiled gradient echo   rho sin(a) (1 - E1) / (1 - cos(a) E1),  E1 = exp(-TR / T1)
    T2w, PD  spin echo             rho (1 - exp(-TR / T1)) exp(-TE / T2)
    FLAIR  inversion recovery      rho |1 - 2 exp(-TI / T1) + exp(-TR / T1)| exp(-TE / T2)

Reference: Bernstein, King, Zhou, "Handbook of MRI Pulse Sequences", 2004. Relaxation times are typical of 3 T.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from synthzoo.errors import UserError
from synthzoo.phantoms.fields import resize, smooth_noise

if TYPE_CHECKING:
    from synthzoo.phantoms.brain.phantom import BrainAnatomy

# What a reader calls a sequence -> its contrast, and whether an agent was given.
SEQUENCES = {"T1w": ("T1w", False), "T1Gd": ("T1w", True), "T2w": ("T2w", False), "FLAIR": ("FLAIR", False)}

#            rho   T1 ms   T2 ms
TISSUES = {
    "GM": (0.82, 1350.0, 95.0),
    "WM": (0.70, 850.0, 72.0),
    "CSF": (1.00, 4000.0, 1200.0),
    "ventricle": (1.00, 4000.0, 1200.0),
    "WMH": (0.84, 1350.0, 150.0),
    "core": (0.95, 2600.0, 320.0),
    "enhancing": (0.84, 1500.0, 130.0),
    "oedema": (0.86, 1550.0, 150.0),
    "stroke": (0.88, 1650.0, 165.0),
}
GADOLINIUM_T1 = {"enhancing": 330.0}  # ms, where the barrier is broken
VESSEL_T1 = 160.0  # ms, blood with contrast agent


def signal(contrast: str, rho: float, t1: float, t2: float) -> float:
    """Signal of one tissue, arbitrary units (the module's equations with typical settings)."""
    if contrast == "T1w":
        tr, flip = 15.0, np.deg2rad(30.0)
        e1 = np.exp(-tr / t1)
        return rho * np.sin(flip) * (1 - e1) / (1 - np.cos(flip) * e1)
    if contrast == "T2w":
        return rho * (1 - np.exp(-5000.0 / t1)) * np.exp(-95.0 / t2)
    if contrast == "PD":
        return rho * (1 - np.exp(-4000.0 / t1)) * np.exp(-15.0 / t2)
    if contrast == "FLAIR":
        return rho * abs(1 - 2 * np.exp(-2380.0 / t1) + np.exp(-9000.0 / t1)) * np.exp(-110.0 / t2)
    raise UserError(f"contrast = {contrast!r}: a brain phantom takes T1w, T2w, FLAIR, PD or random.")


def tissue_signals(
    contrast: str,
    age: float,
    rng: np.random.Generator,
    gadolinium: bool = False,
    relaxation: Mapping[str, tuple[float, float, float]] | None = None,
) -> dict[str, float]:
    """Signal of each tissue scaled so that the brightest normal tissue lies near 0.85.

    White matter T1 and T2 grow and grey-white contrast falls with `age` in years. "random" draws every tissue's value.
    `relaxation` gives proton density, T1 and T2 in ms of further tissues by name, and takes precedence over `TISSUES`.
    """
    more = dict(relaxation or {})
    if contrast == "random":
        values = {name: float(rng.uniform(0.05, 1.0)) for name in TISSUES}
        values["ventricle"] = float(np.clip(values["CSF"] + rng.normal(0, 0.04), 0.02, 1.0))
        return values | {name: float(rng.uniform(0.05, 1.0)) for name in more if name not in values}
    values = {}
    for name, (rho, t1, t2) in (TISSUES | more).items():
        if name == "WM":
            t1, t2 = t1 * (1 + 0.0022 * (age - 40)), t2 * (1 + 0.0022 * (age - 40))
        if gadolinium and name in GADOLINIUM_T1:
            t1 = GADOLINIUM_T1[name]
        values[name] = float(signal(contrast, rho, t1, t2))
    if gadolinium:
        values["vessel"] = float(signal(contrast, 0.9, VESSEL_T1, 60.0))
    water = TISSUES["CSF"]
    reference = {"T1w": (0.70, 850.0, 72.0), "FLAIR": TISSUES["GM"], "T2w": water, "PD": water}[contrast]
    scale = {"T1w": 0.85, "FLAIR": 0.62, "T2w": 0.92, "PD": 0.9}[contrast] / signal(contrast, *reference)
    return {name: value * scale for name, value in values.items()}


def vessels(anatomy: BrainAnatomy, rng: np.random.Generator) -> np.ndarray:
    """Share of each voxel, float32 (D, H, W), of enhancing vessels: tubes in sulci, midline sinus, choroid plexus."""
    gm, wm, csf, ventricle = anatomy.tissues
    shape, h = gm.shape, anatomy.spacing_mm
    first, second = (smooth_noise(rng, shape, max(5.0 / h, 0.8)) for _ in range(2))
    tubes = np.exp(-(first**2 + second**2) / 0.10) * np.clip(csf * 3, 0, 1)  # two level sets meet in a curve
    middle = np.abs((np.arange(shape[0]) - (shape[0] - 1) / 2) * h).reshape(-1, 1, 1) < 3.5
    edge = ndi.gaussian_filter(anatomy.tissues.sum(0), 6.0 / h) < 0.62
    sinus = middle & edge & (csf > 0.15)
    plexus = np.clip(ventricle, 0, 1) * (smooth_noise(rng, shape, max(3.0 / h, 0.7)) > 1.7)
    return np.clip(tubes + 0.8 * sinus + 0.8 * plexus, 0, 1).astype(np.float32)


def render(
    anatomy: BrainAnatomy,
    contrast: str = "T1w",
    seed: int = 0,
    noise: float = 0.02,
    bias: float = 0.2,
    resolution_mm: float | Sequence[float] | None = None,
    gadolinium: bool = False,
    texture: float = 0.02,
    relaxation: Mapping[str, tuple[float, float, float]] | None = None,
) -> np.ndarray:
    """Image in [0, 1], float32 (D, H, W), exactly 0 outside the brain.

    Args:
        anatomy: a `BrainAnatomy`.
        contrast: T1w, T2w, FLAIR, PD, or random (each tissue's signal drawn: domain randomisation).
        noise: standard deviation of the Rician noise's channels, in image units.
        bias: size of the smooth multiplicative field (0.2 means about +-20 %).
        resolution_mm: None, or three numbers (or one): the point spread's width per axis, at least the spacing.
        gadolinium: contrast agent: vessels and broken barriers shine on T1w.
        texture: relative size of the fine structure inside tissues.
        relaxation: of further tissues that the anatomy's lesions name, see `tissue_signals`.
    """
    rng = np.random.default_rng([int(seed), 21])
    values = tissue_signals(contrast, anatomy.params.age, rng, gadolinium, relaxation)
    names = ("GM", "WM", "CSF", "ventricle")
    occupied = anatomy.tissues.sum(0)
    image = sum(values[name] * share for name, share in zip(names, anatomy.tissues, strict=True))
    for name, share in anatomy.lesions.items():
        image = image * (1 - share) + values[name] * share * occupied
    if gadolinium:
        share = vessels(anatomy, rng)
        image = image * (1 - share) + min(values["vessel"], 1.1) * share * occupied
    if texture:
        image = image * (1 + texture * smooth_noise(rng, image.shape, 0.7))
    if resolution_mm is not None:
        widths = np.broadcast_to(np.asarray(resolution_mm, float), 3)
        sigma = 0.42 * np.sqrt(np.maximum(widths**2 - anatomy.spacing_mm**2, 0)) / anatomy.spacing_mm
        image = ndi.gaussian_filter(image, sigma)
    if bias:
        coarse = smooth_noise(rng, (8, 8, 8), 1.2)
        image = image * np.exp(0.5 * bias * resize(coarse, image.shape))
    if noise:
        real, imaginary = (noise * rng.standard_normal(image.shape, dtype=np.float32) for _ in range(2))
        image = np.hypot(image + real, imaginary)
    image = np.clip(image, 0, 1).astype(np.float32)
    image[occupied < 0.05] = 0
    return image

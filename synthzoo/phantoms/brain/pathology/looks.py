"""How a sick brain looks in a scan: the intensity, opacity and grain of each part, drawn for each contrast.

Levels are in units of white matter, on FLAIR of the brighter of it and cortex. On real FLAIR scans necrosis is often
darker than the brain, and cortex stands out less than the healthy phantoms draw it; both are drawn here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from synthzoo.phantoms.brain.pathology.lesion import PARTS
from synthzoo.phantoms.brain.pool import MAPS
from synthzoo.phantoms.brain.slices import Contrast, draw_contrast, field
from synthzoo.phantoms.brain.slices import paint as paint_healthy

HEALTHY = len(MAPS)
ROWS = (*MAPS, *PARTS)
KINDS = ("FLAIR", "T1Gd", "T1w", "T2w", "PD", "random")
SHARES = (0.38, 0.33, 0.09, 0.07, 0.02, 0.11)
# Kind -> part -> range of its level, log-uniform.
LEVELS: dict[str, dict[str, tuple[float, float]]] = {
    "FLAIR": {
        "oedema": (1.08, 3.0),
        "solid": (1.0, 2.6),
        "enhancing": (0.9, 2.6),
        "core": (0.15, 0.95),
        "haemorrhage": (0.15, 2.6),
        "cavity": (0.05, 0.8),
        "WMH": (1.1, 2.4),
        "stroke": (1.1, 2.8),
    },
    "T1Gd": {
        "oedema": (0.5, 0.92),
        "solid": (0.45, 1.05),
        "enhancing": (1.05, 2.6),
        "core": (0.15, 0.85),
        "haemorrhage": (0.4, 2.2),
        "cavity": (0.08, 0.5),
        "WMH": (0.65, 0.95),
        "stroke": (0.5, 0.95),
    },
    "T1w": {
        "oedema": (0.5, 0.95),
        "solid": (0.45, 1.0),
        "enhancing": (0.4, 1.15),
        "core": (0.15, 0.9),
        "haemorrhage": (0.4, 1.8),
        "cavity": (0.08, 0.5),
        "WMH": (0.65, 0.95),
        "stroke": (0.5, 0.95),
    },
    "T2w": {
        "oedema": (1.4, 3.2),
        "solid": (1.3, 3.0),
        "enhancing": (1.0, 2.8),
        "core": (1.3, 3.6),
        "haemorrhage": (0.2, 3.0),
        "cavity": (1.6, 3.6),
        "WMH": (1.3, 2.4),
        "stroke": (1.3, 3.0),
    },
    "PD": {
        "oedema": (1.1, 1.7),
        "solid": (1.05, 1.6),
        "enhancing": (1.0, 1.6),
        "core": (0.9, 1.6),
        "haemorrhage": (0.3, 1.6),
        "cavity": (0.9, 1.6),
        "WMH": (1.1, 1.6),
        "stroke": (1.1, 1.7),
    },
}
BRIGHT_CORE = (0.95, 2.4)  # on FLAIR, in a share of scans
DARK_CORE_SHARE = 0.6
QUIET_CORTEX = (0.15, 1.0)  # share of the cortex's contrast to white matter that FLAIR keeps
UNSEEN = 0.12  # nearer to white matter's or cortex's level than this no random level lies
EVEN_SHARE = 0.3  # of scans, whose lesions are plateaus of one level each
KNOTS = np.linspace(0, 100, 65)  # percentiles at which a scan's distribution is known


@dataclass
class Look:
    """A scan's healthy contrast, and each part's level, opacity and grain, (len(PARTS),) each.

    `quantiles` (65,) are the intensities of the brain at the percentiles `KNOTS`, without noise; the contrast's centre
    and deviation are the sick brain's.
    """

    contrast: Contrast
    level: np.ndarray
    opacity: np.ndarray
    grain: np.ndarray
    quantiles: np.ndarray


def draw_look(rng: np.random.RandomState, voxels: np.ndarray, kind: str | None = None) -> Look:
    """Draw how a scan shows a sick brain.

    Args:
        rng: random state.
        voxels: (len(ROWS), N) in [0, 1], random brain voxels of the whole subject.
        kind: one of `KINDS`, drawn with `SHARES` when None.
    """
    kind = kind or KINDS[rng.choice(len(KINDS), p=SHARES)]
    contrast = draw_contrast(rng, voxels[:HEALTHY], kind)
    level = _random_levels(rng, contrast) if kind == "random" else _levels(rng, kind)
    opacity, grain = rng.uniform(0.55, 1, len(PARTS)), rng.uniform(0, 0.3, len(PARTS))
    if kind == "FLAIR":
        contrast.tissue[:2] = 1 + (contrast.tissue[:2] - 1) * rng.uniform(*QUIET_CORTEX)
        level = level * max(float(contrast.tissue[0]), 1.0)
    if kind == "T1Gd" and rng.rand() < 0.1:  # nothing enhances, or too little was given
        level[PARTS.index("enhancing")] = level[PARTS.index("solid")]
    if rng.rand() < EVEN_SHARE:
        opacity[:2], grain[:2] = 1.0, rng.uniform(0, 0.05)
        level[PARTS.index("solid")] = level[PARTS.index("oedema")]
    look = Look(contrast, level, opacity, grain, KNOTS)
    look.quantiles = np.percentile(paint(voxels, look), KNOTS)
    low, middle, high = np.interp((10, 50, 90), KNOTS, look.quantiles)
    contrast.centre, contrast.deviation = float(middle), float(max(high - low, 0.02) / 2.563)
    return look


def _levels(rng: np.random.RandomState, kind: str) -> np.ndarray:
    ranges = [LEVELS[kind][part] for part in PARTS]
    if kind == "FLAIR" and rng.rand() > DARK_CORE_SHARE:
        ranges[PARTS.index("core")] = BRIGHT_CORE
    return np.exp([rng.uniform(*np.log(r)) for r in ranges])


def _random_levels(rng: np.random.RandomState, contrast: Contrast) -> np.ndarray:
    """Any levels, of which oedema's and solid tumour's can be told from what they replace."""
    level = rng.uniform(0.03, 1.3, len(PARTS))
    tissue = contrast.tissue[[0, 2]]
    for part in ("oedema", "solid", "WMH", "stroke"):
        row = PARTS.index(part)
        for _ in range(20):
            if abs(level[row] - tissue).min() >= UNSEEN:
                break
            level[row] = rng.uniform(0.03, 1.3)
    return level


def paint(maps: np.ndarray, look: Look, rng: np.random.RandomState | None = None) -> np.ndarray:
    """Intensity of (len(ROWS), ...) maps in [0, 1] under a look, without bias, blur or noise.

    Args:
        maps: healthy rows and parts; any number of axes, with grain two or three.
        look: the scan's.
        rng: draws the grain within the lesions; None leaves them even.
    """
    image = paint_healthy(maps[:HEALTHY], look.contrast)
    for share, level, opacity, grain in zip(maps[HEALTHY:], look.level, look.opacity, look.grain):
        if rng is not None and grain > 0.02 and share.max() > 0.1:
            coarse = 0.5 * field(rng, share.shape, rng.randint(3, 8))
            fine = field(rng, share.shape, rng.randint(8, 30)) if rng.rand() < 0.7 else 0.0
            level = level * np.exp(grain * (coarse + fine))
        image = image * (1 - opacity * share) + level * opacity * share
    return image


def ripple(image: np.ndarray, maps: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """The differences from place to place that each tissue has of its own, and the texture of all of them."""
    for tissue, size in ((0, 0.07), (1, 0.05), (2, 0.07)):
        image = image * (1 + rng.uniform(0, size) * field(rng, image.shape, 5) * maps[tissue])
    grain = ndi.gaussian_filter(rng.standard_normal(image.shape), rng.uniform(0.4, 1.2))
    return image * (1 + rng.uniform(0, 0.1) * grain)

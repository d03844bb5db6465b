"""Label maps of brain phantoms: the share of each voxel that every tissue and every part of a lesion holds.

    maps >= 0,   sum over classes = 1        (partial volumes, as Fernandez et al., SASHIMI 2022, train on)

A lesion replaces its share of what lies beneath it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from synthzoo.phantoms.brain.phantom import LABELS, BrainAnatomy, BrainParams, draw_params
from synthzoo.phantoms.brain.pool import deep_grey

CLASSES = ("background", "CSF", "ventricle", "GM", "WM", "deep_GM", "WMH", "core", "enhancing", "oedema", "stroke")
LESIONS = CLASSES[6:]
# Parts of lesions that have no class of their own, by what BraTS counts them to.
PART_OF = {"solid": "core", "haemorrhage": "core", "cavity": "CSF"}
VALUES = {"background": 0, **LABELS, "deep_GM": max(LABELS.values()) + 1}  # of a written label map
LESION_SEED = 51


def label_maps(anatomy: BrainAnatomy) -> np.ndarray:
    """Maps float32 (len(CLASSES), D, H, W) of a subject, in the order of `CLASSES`."""
    gm, wm, csf, ventricle = anatomy.tissues
    deep = deep_grey(anatomy)
    tissues = {"CSF": csf, "ventricle": ventricle, "GM": gm * (1 - deep), "WM": wm, "deep_GM": gm * deep}
    return shared_out(tissues, anatomy.lesions)


def shared_out(tissues: Mapping[str, np.ndarray], lesions: Mapping[str, np.ndarray]) -> np.ndarray:
    """Maps float32 (len(CLASSES), D, H, W) of tissues with lesions in place of their share.

    Args:
        tissues: class -> share of each voxel (D, H, W); together they are the brain.
        lesions: class, or a part in `PART_OF`, -> share of each voxel that it replaces; where they claim more than all
            of a voxel, each gets its portion.
    """
    shape = next(iter(tissues.values())).shape
    maps = np.zeros((len(CLASSES), *shape), np.float32)
    for name, share in tissues.items():
        maps[CLASSES.index(name)] = share
    brain = np.clip(maps.sum(0), 0, 1)
    claimed = sum((np.clip(share, 0, 1) for share in lesions.values()), np.zeros(shape, np.float32))
    maps *= 1 - np.minimum(claimed, 1)
    for name, share in lesions.items():
        maps[CLASSES.index(PART_OF.get(name, name))] += np.clip(share, 0, 1) / np.maximum(claimed, 1) * brain
    maps[0] = np.clip(1 - maps[1:].sum(0), 0, 1)
    return maps / maps.sum(0)


def to_values(classes: np.ndarray) -> np.ndarray:
    """Numbers of classes, any shape, as the values of a written label map, uint8."""
    return np.array([VALUES[name] for name in CLASSES], np.uint8)[classes]


def volumes_ml(maps: np.ndarray, voxel_ml: float) -> dict[str, float]:
    """Class -> millilitres of maps (len(CLASSES), ...), the background left out."""
    sums = maps.reshape(len(maps), -1).sum(1, dtype=np.float64) * voxel_ml
    return dict(zip(CLASSES[1:], sums[1:].tolist()))


def draw_lesioned(seed: int) -> BrainParams:
    """Subject `seed` with white matter hyperintensities (.6), a tumour (.5) and a stroke (.25), each independently.

    Volumes are log-uniform: WMH .5 to 40 mL, whole tumour 5 to 120 mL shared out at random among core, enhancing rim
    and oedema, stroke 3 to 60 mL. Half of the tumours have no core, no oedema or hardly a rim.
    """
    healthy = draw_params(seed, independent=bool(np.random.default_rng([seed, 23]).random() < 0.5))
    rng = np.random.default_rng([seed, LESION_SEED])
    has_wmh, has_tumour, has_stroke = rng.random(3) < (0.6, 0.5, 0.25)
    wmh, whole, infarct = np.exp(rng.uniform(np.log([0.5, 5.0, 3.0]), np.log([40.0, 120.0, 60.0])))
    parts = rng.dirichlet([1.0, 1.2, 2.5])
    if rng.random() < 0.5:
        parts = parts * (np.arange(3) != rng.integers(3))
        parts = parts / parts.sum()
    names = ("core_ml", "enhancing_ml", "oedema_ml")
    tumour = dict(zip(names, (float(whole * part) for part in parts))) if has_tumour else None
    if tumour:  # oedema surrounds something, and a core lies in something
        tumour["enhancing_ml"] = max(tumour["enhancing_ml"], 0.2 * tumour["core_ml"], 0.3)
    stroke = {"volume_ml": float(infarct)} if has_stroke else None
    return replace(healthy, wmh_ml=float(wmh) if has_wmh else 0.0, tumour=tumour, stroke=stroke)

"""Label maps of brain phantoms: the share of each voxel that every tissue and every part of a lesion holds.

    maps >= 0,   sum over classes = 1        (partial volumes, as Fernandez et al., SASHIMI 2022, train on)

A lesion replaces its share of what lies beneath it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from synthzoo.phantoms.brain.pathology.lesion import PARTS
from synthzoo.phantoms.brain.pathology.subject import SickBrain
from synthzoo.phantoms.brain.phantom import LABELS, BrainAnatomy
from synthzoo.phantoms.brain.pool import deep_grey

CLASSES = ("background", "CSF", "ventricle", "GM", "WM", "deep_GM", "WMH", "core", "enhancing", "oedema", "stroke")
LESIONS = CLASSES[6:]
# Parts of lesions that have no class of their own, by what BraTS counts them to.
PART_OF = {"solid": "core", "haemorrhage": "core", "cavity": "CSF"}
VALUES = {"background": 0, **LABELS, "deep_GM": max(LABELS.values()) + 1}  # of a written label map


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


def sick_label_maps(subject: SickBrain) -> np.ndarray:
    """Maps float32 (len(CLASSES), X, Y, Z) of a sick brain on the pool's grid."""
    cortex, deep, wm, csf, ventricle = subject.maps[:5]
    tissues = {"CSF": csf, "ventricle": ventricle, "GM": cortex, "WM": wm, "deep_GM": deep}
    return shared_out(tissues, dict(zip(PARTS, subject.parts)))

"""A sick brain: an anatomy that has made way for its lesions, and these, with the millilitres that were requested.

    healthy = anatomy_maps(seed=7)
    sick = sicken(healthy, [Lesion("tumour", {"oedema": 60, "enhancing": 12, "core": 8}, Growth(push_mm=6))], seed=7)
    sick.ml                      {"oedema": 60.0, "enhancing": 12.0, "core": 8.0}
    sick.labels()                the same volumes, to half a voxel for each part

The tissue moves first and the lesions grow in what has moved, so that no later step changes their volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthzoo.phantoms.brain.pathology.growing import ROLES, Host, draw_centre, grow
from synthzoo.phantoms.brain.pathology.lesion import PARTS, Lesion
from synthzoo.phantoms.brain.pathology.mass_effect import pushes, warp
from synthzoo.phantoms.brain.pool import MAPS, SPACING_MM

VERSION = 1  # of the lesions; another number leaves old pools aside
# The innermost first: where shares are alike the part that is drawn over the others gets the voxel.
LABEL_ORDER = ("core", "cavity", "haemorrhage", "enhancing", "solid", "stroke", "WMH", "oedema")


@dataclass
class SickBrain:
    """An anatomy with lesions.

    Attributes:
        maps: float32 (C, X, Y, Z) in [0, 1], the healthy maps after the mass effect; lesions lie over them.
        parts: float32 (len(PARTS), X, Y, Z), the share of a voxel that each part takes; together at most 1.
        centres: voxel (3,) of each lesion.
        displacement_mm: float32 (3, X, Y, Z), where in the healthy anatomy a voxel lies; None without mass effect.
        spacing_mm: of the grid.
    """

    maps: np.ndarray
    parts: np.ndarray
    centres: list[np.ndarray]
    displacement_mm: np.ndarray | None
    spacing_mm: float

    @property
    def ml(self) -> dict[str, float]:
        """Part -> mL, the sum of its shares, of those that are there."""
        sums = self.parts.sum((1, 2, 3), dtype=np.float64) * self.spacing_mm**3 / 1000
        return {part: float(ml) for part, ml in zip(PARTS, sums) if ml > 0}

    def labels(self) -> np.ndarray:
        """Label map uint8 (X, Y, Z): 0, or 1 + the part's place in `PARTS`; each part's mL to half a voxel."""
        return part_labels(self.parts)

    def volume(self) -> np.ndarray:
        """Maps and parts in one array, float32 (C + len(PARTS), X, Y, Z)."""
        return np.concatenate([self.maps, self.parts])


def sicken(
    maps: np.ndarray,
    lesions: Sequence[Lesion],
    seed: int,
    names: Sequence[str] = MAPS,
    spacing_mm: float = SPACING_MM,
) -> SickBrain:
    """Let lesions grow in a healthy anatomy.

    Args:
        maps: (C, X, Y, Z), uint8 or float32 in [0, 1], as `anatomy_maps` gives them or as `BrainAnatomy.tissues`.
        lesions: in the order in which they grow; a later one takes what the earlier ones left.
        seed: draws places and shapes.
        names: of the rows of `maps`, such as `("GM", "WM", "CSF", "ventricle")`.
        spacing_mm: of the grid.

    Raises:
        UserError: there is too little tissue for a lesion.
    """
    maps = maps.astype(np.float32) / 255 if maps.dtype == np.uint8 else np.asarray(maps, np.float32)
    host = Host(maps, tuple(names), float(spacing_mm))
    chances = [np.random.default_rng([int(seed), 61, number]) for number in range(len(lesions))]
    centres = [
        np.asarray(lesion.centre, float) if lesion.centre is not None else draw_centre(host, lesion.growth, rng)
        for lesion, rng in zip(lesions, chances)
    ]
    inside = host.brain > 0.5
    radii, push = [lesion.radius_mm for lesion in lesions], [lesion.growth.push_mm for lesion in lesions]
    moved = pushes(inside, centres, radii, push, host.spacing_mm)
    maps = maps.copy() if moved is None else warp(maps, moved, host.spacing_mm)
    for lesion, centre in zip(lesions, centres):
        if lesion.growth.effaced > 0:
            _efface(maps, host, lesion, centre)
    host = Host(maps, host.names, host.spacing_mm)
    parts = np.zeros((len(PARTS), *host.shape), np.float32)
    for lesion, centre, rng in zip(lesions, centres, chances):
        free = np.clip(1 - parts.sum(0), 0, 1)
        for part, share in grow(host, lesion, centre, free, rng).items():
            parts[PARTS.index(part)] += share
    return SickBrain(maps, parts, centres, moved, host.spacing_mm)


def _efface(maps: np.ndarray, host: Host, lesion: Lesion, centre: np.ndarray) -> None:
    """Close sulci where a lesion lies, in place: their fluid becomes cortex."""
    fluid = next(row for row, name in enumerate(host.names) if name in ROLES["fluid"])
    grey = next(row for row, name in enumerate(host.names) if name in ROLES["grey"])
    distance = np.sqrt((host.offsets_mm(centre) ** 2).sum(0))
    closed = lesion.growth.effaced * np.exp(-((distance / (1.2 * max(lesion.radius_mm, 5.0))) ** 2)) * maps[fluid]
    maps[fluid] -= closed
    maps[grey] += closed


def part_labels(parts: np.ndarray, counts: Sequence[int] | None = None) -> np.ndarray:
    """Label map of shares: each part gets its number of voxels, where its shares are highest.

    Args:
        parts: float32 (len(PARTS), X, Y, Z), together at most 1.
        counts: voxels of each part; None is as many as its shares sum up to, rounded.

    Returns:
        uint8 (X, Y, Z), 0 or 1 + the part's place in `PARTS`.
    """
    if counts is None:
        counts = np.rint(parts.sum((1, 2, 3), dtype=np.float64)).astype(int)
    labels = np.zeros(parts.shape[1:], np.uint8)
    whole = parts.sum(0).ravel()
    chosen = _highest(whole, np.flatnonzero(whole > 0), int(sum(counts)))
    for part in LABEL_ORDER:
        row = PARTS.index(part)
        taken = _highest(parts[row].ravel(), chosen, int(counts[row]))
        labels.ravel()[taken] = row + 1
        chosen = np.setdiff1d(chosen, taken, assume_unique=True)
    return labels


def _highest(values: np.ndarray, among: np.ndarray, count: int) -> np.ndarray:
    """The `count` of the given flat indices with the highest values; of equal ones the first."""
    if count >= len(among):
        return among
    order = np.argsort(-values[among], kind="stable")[:count]
    return among[order]

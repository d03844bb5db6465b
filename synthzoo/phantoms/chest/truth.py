"""Truth of a radiograph, read off the path lengths: masks, boxes, zones, cardiothoracic ratio, severity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from synthzoo.phantoms.chest.findings import DEVICES, ZONES

MASK_MM = {"nodule": 3.0, "consolidation": 6.0, "effusion": 6.0, "pneumothorax": 6.0}  # path above which a mask is
DEVICE_MASK = 0.03  # line integral above which a device's mask is
ORGAN_MM = 8.0
ENLARGED = 0.5  # cardiothoracic ratio above which a heart is enlarged
GRADES = ("small", "moderate", "large")
# Lower limits of the second and third grade: mm of diameter, mL, cardiothoracic ratio.
LIMITS = {
    "nodule": (15.0, 24.0),
    "consolidation": (60.0, 180.0),
    "effusion": (150.0, 500.0),
    "pneumothorax": (150.0, 500.0),
    "cardiomegaly": (0.56, 0.61),
}


@dataclass
class FindingTruth:
    """A finding as a radiograph shows it.

    Attributes:
        kind, side, zone: words; a pneumothorax is "upper", an effusion "lower"; the zone of others is the third of the
            lungs' height in which the mask's centroid lies.
        box: x, y, w, h in pixels of the mask's tight box.
        volume_ml: of lung that it replaces; of the heart for a cardiomegaly; None for a device.
        size_mm: see `Finding`; None for cardiomegaly and devices.
        severity: "small", "moderate" or "large"; "" for a device.
        mask: bool (S, S), the projection of the finding; a cardiomegaly's is the heart's silhouette.
        phrase: the sentence's clause that says it, which grounding takes.
    """

    kind: str
    side: str
    zone: str
    box: tuple[int, int, int, int]
    volume_ml: float | None
    size_mm: float | None
    severity: str
    mask: np.ndarray = field(repr=False)
    phrase: str = ""

    def to_dict(self) -> dict:
        """All but the mask; JSON can hold it."""
        mask, self.mask = self.mask, None
        found = asdict(self)
        self.mask = mask
        del found["mask"]
        return found | {"box": list(self.box)}


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """x, y, w, h of the tight box of a mask (S, S); None if it is empty."""
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


def zone_of(mask: np.ndarray, lungs: np.ndarray) -> str:
    """Third of the lungs' height at the centroid of a mask; "" if either is empty."""
    rows, at = np.flatnonzero(lungs.any(1)), np.nonzero(mask)[0]
    if not len(rows) or not len(at):
        return ""
    return ZONES[int(np.clip((at.mean() - rows[0]) / max(np.ptp(rows), 1) * 3, 0, 2))]


def organs(paths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the lungs, as in health, and of the heart, bool (S, S)."""
    return paths[0] > ORGAN_MM, paths[1] > ORGAN_MM


def cardiothoracic_ratio(paths: np.ndarray) -> float:
    """Widths of the heart over that of the chest within the ribs, from the paths of lungs and heart (2, S, S).

    Edges are found between pixels, where the largest path of a column crosses `ORGAN_MM`.
    """
    lungs, heart = (_width(path.max(0)) for path in paths[:2])
    return heart / lungs if lungs else 0.0


def _width(profile: np.ndarray) -> float:
    inside = np.flatnonzero(profile > ORGAN_MM)
    if not len(inside):
        return 0.0
    first, last = inside[0], inside[-1]
    width = float(last - first)
    for edge, beyond in ((first, first - 1), (last, last + 1)):
        if 0 <= beyond < len(profile):
            width += float((profile[edge] - ORGAN_MM) / (profile[edge] - profile[beyond]))
    return width


def read_findings(paths: np.ndarray, placed: Sequence[dict], ctr: float, heart_ml: float) -> list[FindingTruth]:
    """Truth of each finding.

    Args:
        paths: float32 (2 + K, S, S) of a projection.
        placed: for each of the K findings "kind", "side", "size_mm" and "volume_ml".
        ctr: measured ratio; above 0.5 it adds a cardiomegaly.
        heart_ml: volume of the heart.

    Returns:
        The findings that show, K or K + 1 of them; one with an empty mask is no finding.
    """
    lungs, heart = organs(paths)
    found = []
    for one, path in zip(placed, paths[2:]):
        kind = one["kind"]
        mask = path > (DEVICE_MASK if kind in DEVICES else MASK_MM[kind])
        box = tight_box(mask)
        if box is None:
            continue
        zone = {"effusion": "lower", "pneumothorax": "upper"}.get(kind, zone_of(mask, lungs))
        if kind in DEVICES:
            found.append(FindingTruth(kind, "", "", box, None, None, "", mask))
        else:
            amount = 2 * one["size_mm"] if kind == "nodule" else one["volume_ml"]
            grade = _grade(kind, amount)
            found.append(FindingTruth(kind, one["side"], zone, box, one["volume_ml"], one["size_mm"], grade, mask))
    box = tight_box(heart)
    if ctr > ENLARGED and box is not None:
        found.append(FindingTruth("cardiomegaly", "", "", box, heart_ml, None, _grade("cardiomegaly", ctr), heart))
    return found


def _grade(kind: str, amount: float) -> str:
    return GRADES[sum(amount >= limit for limit in LIMITS[kind])]

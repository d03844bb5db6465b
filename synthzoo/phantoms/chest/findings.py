"""Findings of chest phantoms: what is requested, how it is drawn, and its shape in a patient's lung."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch

from synthzoo.errors import UserError
from synthzoo.phantoms.chest.anatomy import Anatomy
from synthzoo.phantoms.chest.mediastinum import heart_bounds
from synthzoo.phantoms.chest.patient import PHANTOM
from synthzoo.phantoms.chest.shapes import share
from synthzoo.phantoms.chest.tissue import PLEURA_MM, organ_shares
from synthzoo.phantoms.fields import solve_increasing
from synthzoo.phantoms.priors import integer_seed

LESIONS = ("nodule", "consolidation", "effusion", "pneumothorax")
DEVICES = ("pacemaker", "central line")
KINDS = (*LESIONS, "cardiomegaly", *DEVICES)
SIDES, ZONES = ("right", "left"), ("upper", "mid", "lower")
SHAPE, CHOICE = 305, 306  # salts
HU = {"nodule": 35.0, "consolidation": 20.0, "effusion": 12.0, "pneumothorax": -1000.0}
# Range in mm from which the size is drawn: radius, radius, level above the sulcus, gap at the apex.
SIZES_MM = {"nodule": (5, 16), "consolidation": (18, 46), "effusion": (0, 90), "pneumothorax": (9, 36)}
LARGEST_MM = {"nodule": 30.0, "consolidation": 90.0, "effusion": 170.0, "pneumothorax": 70.0}
SMALLEST_MM = {"nodule": 3.0, "consolidation": 8.0, "effusion": -30.0, "pneumothorax": 4.0}
ENLARGED_CTR = (0.54, 0.66)
VOLUME_STEP_MM = 4.0
COUNTS = (0.36, 0.44, 0.20)  # shares of studies with no, one and two findings
DEVICE_SHARE = 0.1


@dataclass(frozen=True)
class Finding:
    """A finding that is requested; what is None or empty is drawn from `seed`.

    Attributes:
        kind: "nodule", "consolidation", "effusion", "pneumothorax", "cardiomegaly", "pacemaker" or "central line".
        side: "right" or "left", the patient's; of the first four kinds.
        zone: "upper", "mid" or "lower"; of nodule and consolidation.
        size_mm: radius of a nodule or consolidation, level of an effusion, gap of a pneumothorax at the apex.
        volume_ml: in place of `size_mm`, what it takes of the lung; see `Lesion.volume_ml`.
        ctr: cardiothoracic ratio of a cardiomegaly, 0.52 to 0.75.
        seed: integer from 0.
    """

    kind: str
    side: str = ""
    zone: str = ""
    size_mm: float | None = None
    volume_ml: float | None = None
    ctr: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"kind = {self.kind!r}: {PHANTOM} has the findings {', '.join(KINDS)}.")
        for name, value, choices in (("side", self.side, SIDES), ("zone", self.zone, ZONES)):
            if value and value not in choices:
                raise UserError(f"{name} = {value!r}: a finding takes {', '.join(choices)}, or '' to draw one.")
        if self.zone and self.kind not in LESIONS[:2]:
            raise UserError(f"zone = {self.zone!r}: only {' and '.join(LESIONS[:2])} take a zone, not {self.kind}.")
        if self.side and self.kind not in LESIONS:
            raise UserError(f"side = {self.side!r}: only {', '.join(LESIONS)} take a side, not {self.kind}.")
        sized = [name for name in ("size_mm", "volume_ml") if getattr(self, name) is not None]
        if sized and self.kind not in LESIONS:
            raise UserError(f"{sized[0]}: only {', '.join(LESIONS)} take a size, not {self.kind}.")
        if len(sized) == 2:
            raise UserError("size_mm and volume_ml: a finding takes one of them.")
        if self.size_mm is not None and not self.smallest_mm <= self.size_mm <= LARGEST_MM[self.kind]:
            low, high = self.smallest_mm, LARGEST_MM[self.kind]
            raise UserError(f"size_mm = {self.size_mm:g}: {self.kind} takes {low:g} to {high:g} mm.")
        if self.volume_ml is not None and not 0 < self.volume_ml < math.inf:
            raise UserError(f"volume_ml = {self.volume_ml:g}: a finding takes more than 0 mL.")
        if self.ctr is not None and (self.kind != "cardiomegaly" or not 0.52 <= self.ctr <= 0.75):
            raise UserError(f"ctr = {self.ctr:g}: a cardiomegaly takes 0.52 to 0.75, no other finding takes a ratio.")
        integer_seed("seed", self.seed, PHANTOM)

    @property
    def smallest_mm(self) -> float:
        """The least `size_mm`."""
        return SMALLEST_MM[self.kind]

    def to_dict(self) -> dict:
        """Every field; JSON can hold it."""
        return asdict(self)


class Lesion:
    """A finding of the lung in its place.

    Args:
        finding: of a kind in `LESIONS`.
        an: the anatomy that it is placed in.

    Attributes:
        size_mm: radius, level or gap, see `Finding`.
        volume_ml: volume of lung that it replaces; of a consolidation that fills its extent in part, that part.
    """

    def __init__(self, finding: Finding, an: Anatomy) -> None:
        rng = np.random.default_rng([SHAPE, finding.seed])
        self.finding, self.kind, self.hu = finding, finding.kind, HU[finding.kind]
        drawn = rng.uniform(*SIZES_MM[self.kind])
        self.size_mm = float(drawn if finding.size_mm is None else finding.size_mm)
        side = str(rng.choice(SIDES))
        self.side = finding.side or side
        self.sign = -1 if self.side == "right" else 1
        self.fill, self.lowest = float(rng.uniform(0.5, 0.95)), float(rng.uniform(-10, 45))
        self.phase, waves = rng.uniform(0, 6.28, 7), rng.normal(0, 1, (7, 3))
        self.waves = waves / np.linalg.norm(waves, axis=1, keepdims=True)
        self.centre = self._place(rng, an) if self.kind in LESIONS[:2] else np.zeros(3)
        if finding.volume_ml is not None:
            self._solve(an, finding.volume_ml)

    def _place(self, rng: np.random.Generator, an: Anatomy) -> np.ndarray:
        """A point in the lung, in the requested zone, that leaves room for most of the finding."""
        dome = an.right_dome if self.sign < 0 else an.left_dome
        sulcus = 0.85 * an.patient.sulcus_mm * (0.5 + 0.5 * an.breath)
        top, bottom = an.patient.apex_mm, dome - sulcus
        low, high = dome - 20, top - 12
        if self.finding.zone:
            third, number = (top - bottom) / 3, ZONES.index(self.finding.zone)
            high = min(high, top - (number + 0.12) * third)
            low = max(low, top - (number + 0.88) * third)
        room = min(0.6 * self.size_mm, 14.0)
        for attempt in range(400):
            x = self.sign * rng.uniform(35, an.half_width - 8)
            point = np.array([x, rng.uniform(-80, 70), rng.uniform(low, high)])
            if an.lung(point[None])[0] > room * (1 - attempt / 400):
                return point
        raise UserError(f"{self.kind}: no place in the {self.side} {self.finding.zone} zone; choose another seed.")

    def _solve(self, an: Anatomy, volume_ml: float) -> None:
        """The size at which the volume is what was requested."""

        def volume(size: float) -> float:
            self.size_mm = size
            return self.volume_ml(an)

        low, high = SMALLEST_MM[self.kind], LARGEST_MM[self.kind]
        smallest, largest = volume(low), volume(high)
        if not smallest <= volume_ml <= largest:
            raise UserError(
                f"volume_ml = {volume_ml:g}: this {self.side} {self.kind} takes {smallest:.3g} to {largest:.3g} mL."
            )
        self.size_mm = solve_increasing(volume, volume_ml, low, high, 12)

    def volume_ml(self, an: Anatomy) -> float:
        """Volume of lung that the lesion alone would replace, from a grid of `VOLUME_STEP_MM`."""
        return lesion_volumes(an, [self])[0]

    def inside(
        self, an: Anatomy, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor, cavity: torch.Tensor
    ) -> torch.Tensor:
        """Inside distance, mm; `cavity` is that of the pleural cavity."""
        if self.kind in LESIONS[:2]:
            return self._lump(x, y, z)
        if self.kind == "effusion":
            # A level that climbs the pleura: the meniscus.
            climb = 30 * torch.exp(-cavity.clamp(min=0) / 9) * (0.4 + max(self.size_mm, 0) / 90)
            return torch.minimum(min(an.right_dome, an.left_dome) - 42 + self.size_mm + climb - z, x * self.sign)
        gap = self.size_mm * ((z - self.lowest) / (an.patient.apex_mm - self.lowest)).clamp(0, 1) ** 0.7
        return torch.minimum(gap - cavity, x * self.sign) - 50 * (gap <= 0)

    def _lump(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """A ball whose surface plane waves make lobulated (nodule) or ragged (consolidation)."""
        nodule = self.kind == "nodule"
        px, py, pz = x - self.centre[0], y - self.centre[1], z - self.centre[2]
        inside = self.size_mm - (px**2 + py**2 + (pz * (1 if nodule else 1.2)) ** 2).sqrt()
        for number in range(4 if nodule else 7):
            kx, ky, kz = (self.waves[number] * (2.6 + 1.1 * number) / self.size_mm).tolist()
            wave = torch.sin(kx * px + ky * py + kz * pz + float(self.phase[number]))
            inside = inside + wave * (self.size_mm * (0.035 if nodule else 0.11))
        return inside

    def share(
        self, an: Anatomy, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor, cavity: torch.Tensor, pixel_mm: float
    ) -> torch.Tensor:
        """Share of each sample that it takes, if it is lung."""
        inside = self.inside(an, x, y, z, cavity)
        if self.kind == "consolidation":
            return (0.5 + inside / 14).clamp(0, 1) * self.fill
        return share(inside, pixel_mm)

    def pleura(
        self, an: Anatomy, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor, cavity: torch.Tensor, pixel_mm: float
    ) -> torch.Tensor:
        """Share of each sample in the thin visceral line that bounds a pneumothorax."""
        inside = self.inside(an, x, y, z, cavity)
        return share(inside + PLEURA_MM, pixel_mm) - share(inside, pixel_mm)

    def covers(self, an: Anatomy, points: np.ndarray) -> np.ndarray:
        """Which points (N, 3) lie within, bool (N,)."""
        x, y, z = (torch.from_numpy(np.ascontiguousarray(points[:, axis])) for axis in range(3))
        return (self.inside(an, x, y, z, an.cavity(x, y, z)) > 0).numpy()


def lesion_volumes(an: Anatomy, lesions: list[Lesion], step_mm: float = VOLUME_STEP_MM) -> list[float]:
    """Volume in mL of lung that each lesion takes, in their order, from a Cartesian grid."""
    boxes = [bounds(lesion, an) for lesion in lesions]
    low, high = np.min([b[0] for b in boxes], 0), np.max([b[1] for b in boxes], 0)
    return organ_volumes(an, low, high, lesions, step_mm)[2:]


def organ_volumes(
    an: Anatomy, low: np.ndarray, high: np.ndarray, lesions: list[Lesion], step_mm: float = VOLUME_STEP_MM
) -> list[float]:
    """Volumes in mL of lungs (as in health), heart and lesions within a box in mm."""
    x, y, z = (torch.arange(float(a), float(b) + step_mm, step_mm) for a, b in zip(low, high))
    totals = np.zeros(2 + len(lesions))
    with torch.inference_mode():
        for first in range(0, len(z), 12):
            block = (x.reshape(1, 1, -1), y.flip(0).reshape(-1, 1, 1), z[first : first + 12].reshape(1, -1, 1))
            shares, _ = organ_shares(an, *block, step_mm, lesions)
            totals += [float(part.sum(dtype=torch.float64)) for part in shares]
    return list(totals * step_mm**3 / 1000)


def heart_volume(an: Anatomy, step_mm: float = 5.0) -> float:
    """Volume of the heart in mL."""
    low_x, high_x, low_z, high_z = heart_bounds(an)
    x, y = torch.arange(low_x, high_x, step_mm), torch.arange(-100.0, 120.0, step_mm)
    z = torch.arange(low_z, high_z, step_mm)
    with torch.inference_mode():
        inside = an.heart(x.reshape(1, 1, -1), y.reshape(-1, 1, 1), z.reshape(1, -1, 1))
        return float(share(inside, step_mm).sum(dtype=torch.float64)) * step_mm**3 / 1000


def bounds(lesion: Lesion, an: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """A box that holds the lesion."""
    if lesion.kind in LESIONS[:2]:
        reach = 1.8 * lesion.size_mm + 10
        return lesion.centre - reach, lesion.centre + reach
    p, wide = an.patient, 1.08 * an.half_width + 8
    x = (-wide, 0.0) if lesion.sign < 0 else (0.0, wide)
    bottom = min(an.right_dome, an.left_dome) - 85
    low, high = bottom, p.apex_mm + 4
    if lesion.kind == "effusion":
        high = min(high, bottom + 43 + lesion.size_mm + 80)
    else:
        low = lesion.lowest - 4
    return np.array((x[0], -p.back_mm - 28, low)), np.array((x[1], an.front - 12, high))


def draw_findings(patient_seed: int, study_seed: int) -> list[Finding]:
    """Findings of a study, drawn: 36 % of studies have none, 44 % one and 20 % two kinds; 10 % have a device.

    Draws are independent for each study, so a finding tells nothing of the patient.
    """
    rng = np.random.default_rng([CHOICE, int(patient_seed), int(study_seed)])
    count = int(rng.choice(3, p=COUNTS))
    kinds = [str(kind) for kind in rng.choice(KINDS[:5], count, replace=False)]
    if rng.random() < DEVICE_SHARE:
        kinds.append(str(rng.choice(DEVICES)))
    return [Finding(kind, seed=int(rng.integers(1 << 40))) for kind in kinds]

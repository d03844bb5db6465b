"""A patient at one breath: chest wall, pleural cavity, diaphragm, breasts, bowel gas, as inside distances in mm.

The model lives in a sheared frame, x minus `shear(z)`, which breaks the symmetry of left and right and is as cheap for
points as for rays.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

from synthzoo.phantoms.chest import mediastinum
from synthzoo.phantoms.chest.patient import ChestPatient
from synthzoo.phantoms.chest.shapes import FAR, blend, capsule, cylinder, dome, ellipsoid, section

Numbers = TypeVar("Numbers", np.ndarray, torch.Tensor)
MIDDLE_Y = -20.0  # of the cavity's section
CALIBRATION = 0.99 / 0.45  # heart scale for each unit of the cardiothoracic ratio, measured on projections
DOME_LIFT_MM = 34.0  # from full inspiration to expiration
RIB_DROP_DEG = 4.0
BREAST_TOP_MM = 35.0


class Anatomy:
    """A patient's organs at a breath, with the heart at a wanted cardiothoracic ratio.

    Args:
        patient: from `draw_patient`.
        breath: 0 expiration, 1 full inspiration.
        ctr: wanted ratio; None takes the patient's own.
        arms: -1 to 1, height of the shoulders.
        breasts_alone: glandular tissue lies in the breasts alone; else it also is in front of shoulders and arms, which
            a radiograph hardly shows and the pools of radiographs were made with.
    """

    def __init__(
        self,
        patient: ChestPatient,
        breath: float = 1.0,
        ctr: float | None = None,
        arms: float = 0.0,
        breasts_alone: bool = False,
    ) -> None:
        out = 1 - breath
        self.patient, self.breath, self.arms, self.breasts_alone = patient, breath, arms, breasts_alone
        self.ctr = patient.ctr if ctr is None else ctr
        self.rib_drop_deg = RIB_DROP_DEG * out
        self.half_width = patient.half_width_mm * (1 - 0.035 * out)
        self.front = patient.front_mm * (1 - 0.06 * out)
        self.right_dome = patient.dome_mm + DOME_LIFT_MM * out
        self.left_dome = self.right_dome - patient.dome_gap_mm
        self.heart_scale = CALIBRATION * self.ctr * self.half_width / 140
        self.great_vessels = mediastinum.great_vessels(self)
        self.airways = mediastinum.airways(self)

    def shear(self, z: Numbers) -> Numbers:
        """Sideways shift of the whole body at height z."""
        sine = torch.sin if torch.is_tensor(z) else np.sin
        return self.patient.lean_mm * sine(z / 60 + self.patient.lean_phase)

    def profile(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Half width, depth in front and behind, and medial limit of the pleural cavity at height z."""
        p = self.patient
        t = (p.apex_mm - z) / (p.apex_mm - p.widest_mm)
        low = 1 - 0.13 * ((p.widest_mm - z).clamp(min=0) / 100) ** 2
        half = p.core_mm + (self.half_width - p.core_mm) * dome(t, p.taper) * low
        medial = p.core_mm - (p.core_mm - 7) * dome(t * 2.2, 1.8)
        return half, self.front * dome(t, 1.32), p.back_mm * dome(t * 1.25, 2.1), medial

    def cavity(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Inside distance of the two pleural cavities, with what lies below the diaphragm."""
        p = self.patient
        half, front, back, medial = self.profile(z)
        lateral = x.abs() - p.core_mm
        right, left = (half - p.core_mm) * (1 - p.asymmetry), (half - p.core_mm) * (1 + p.asymmetry)
        across = torch.maximum(lateral / torch.where(x < 0, right, left), -lateral / (p.core_mm - medial))
        depth = y - MIDDLE_Y
        radius = section(across, torch.maximum(depth / front, -depth / back), p.squareness)
        return torch.minimum((1 - radius) * (half - p.core_mm + 8), p.apex_mm - z)

    def diaphragm(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Height of the diaphragm."""
        p = self.patient
        lateral, depth = x.abs() - p.dome_x_mm, y - 12
        across = torch.where(lateral > 0, lateral / (self.half_width - p.dome_x_mm), lateral / p.dome_medial_mm)
        along = torch.where(depth > 0, depth / (self.front - 28), depth / (p.back_mm + 30))
        q = across * across + along * along
        top = self.right_dome + (self.left_dome - self.right_dome) * torch.sigmoid(x / 12)
        steep = p.dome_roundness * q * q
        drop = p.sulcus_mm * ((1 - p.dome_roundness) * q + steep) * (0.5 + 0.5 * self.breath)
        return top - drop - p.scallop_mm * torch.sin(x / 23 + p.lean_phase * 5) * q.clamp(max=1)

    def body(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Inside distance of the skin, and of the breasts before the chest wall, None where there are none.

        A breast swells the front wall: slowly from above, so that it has no upper edge, and sharply at its lower fold.
        """
        p = self.patient
        s, fat, up = p.shoulder, p.fat_mm, 7 * self.arms
        half, front, back, _ = self.profile(z.clamp(max=95))
        wall, belly = p.muscle_mm + fat, ((-90 - z) / 60).clamp(0, 1)
        waist = 10 * ((z + 20) / 60).clamp(0, 1) - 10 * ((-110 - z) / 90).clamp(0, 1)
        width = half + wall - 4 + waist + 0.35 * fat * belly
        side, depth = x.abs(), y - MIDDLE_Y
        reach, behind = front + wall * 0.9 + 6 + 0.4 * fat * belly, -depth / (back + wall * 0.8 + 20)
        low, high = float(z.min()), float(z.max())
        breasts = None
        if p.breast and low < 70:
            flat = section(side / width, torch.maximum(depth / reach, behind), 1.0)
            breasts = torch.minimum((flat - 1) * 90 + 5, depth - 20)
            if self.breasts_alone:
                breasts = torch.minimum(breasts, torch.minimum(BREAST_TOP_MM - z, half + wall - side))
            reach = reach + self._swelling(x, z)
        ellipse = section(side / width, torch.maximum(depth / reach, behind), 1.0)
        skin = torch.minimum((1 - ellipse) * 90, 128 - z)
        if high > 60:
            skin = blend(skin, cylinder(x, y + 26, p.neck_mm, p.neck_mm + 8), 30)
        folds = [
            ((20, -44, 120), (150 * s, -32, 84 + up), 40 + 0.4 * fat, 41 + 0.5 * fat, 1.32, 50, -20),  # trapezius
            ((160 * s, -26, 88 + up), (222 * s, -14, -70), 46 + 0.6 * fat, 40 + 0.6 * fat, 1.1, 22, -200),  # arm
            ((118, 48, 50), (168 * s, 8, 70), 14 + 0.5 * fat, 26, 1, 30, -10),  # pectoral fold
            ((self.half_width - 2, -58, -60), (164 * s, -42, 55), 10 + 0.6 * fat, 24, 1, 30, -140),  # latissimus
        ]
        for start, end, first, second, stretch, fillet, lowest in folds:
            if high > lowest:
                skin = blend(skin, capsule(side, y, z, start, end, first, second, stretch), fillet)
        return skin, breasts

    def _swelling(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """By how many mm the breasts push the front wall forward."""
        p, k = self.patient, self.patient.breast
        nipple = -44 - (14 + 22 * p.droop) * k
        across = (x.abs() - 76 - 6 * k) / (44 + 20 * k)
        rise = z - nipple - 24 * across * across  # the fold is lowest in the middle of a breast
        upper = 1 - (rise / (95 + 25 * k)).clamp(0, 1)
        lower = (1 + rise / (26 + 22 * k)).clamp(0, 1)
        profile = torch.where(rise > 0, upper * upper * (3 - 2 * upper), lower * (2 - lower))
        return (20 + 42 * k) * profile * (1 - across * across).clamp(min=0)

    def gas(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor | float:
        """Inside distance of the stomach's bubble over its fluid and of the colon's gas; FAR above the domes."""
        p, b = self.patient, self.patient.bubble
        if float(z.min()) > max(self.left_dome, self.right_dome) + 5:
            return FAR
        wave = 3.5 * torch.sin(x / 9 + 5 * b) * torch.sin(z / 7 + 9 * b) + 1.5 * torch.sin(x / 5 + z / 6)
        found: torch.Tensor | float = FAR
        if b > 0.15:
            wide, tall = 12 + 26 * p.bubble_width, 7 + 20 * b
            top = self.left_dome - 11 - tall
            bubble = ellipsoid(x, y, z, (38 + 40 * p.bubble_place, 22, top), (wide, 34, tall)) + wave * 0.7
            found = torch.minimum(bubble, z - top - p.level_mm * tall / 12)
        low, high = float(z.min()) - 30, float(z.max()) + 30
        for place, depth, width, height, present in p.bowel.tolist():
            # Along the colon, which climbs from the liver's edge to the left flexure under the dome.
            at = self.left_dome - 30 - (30 + 75 * depth) * (1 - 0.75 * place**2)
            if present < p.bowel_gas and low < at < high:
                centre, radii = (-95 + 195 * place, 40 - 60 * place**4, at), (7 + 12 * width, 16, 6 + 10 * height)
                pocket = ellipsoid(x + 4 * torch.sin(z / 11), y, z, centre, radii) + wave
                found = torch.maximum(found, pocket) if torch.is_tensor(found) else pocket
        return found

    def fatness(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Share of fat between the organs of the abdomen, 0 in the liver; for points below the diaphragm."""
        p = self.patient
        lumps = torch.sin(x / 13 + 7 * p.bubble) * torch.sin(z / 10 + p.lean_phase) + torch.sin(
            y / 15 + x / 31 + z / 23
        )
        beside = ((x + 10 + 0.35 * (z - self.right_dome)) / 40).clamp(0, 1) * ((self.left_dome - 22 - z) / 30).clamp(
            0, 1
        )
        return beside * (0.35 + 0.3 * lumps).clamp(0, 1)

    def heart(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Inside distance of the heart."""
        return mediastinum.heart(self, x, y, z)

    def lung(self, points: np.ndarray) -> np.ndarray:
        """Inside distance of the lungs at points (N, 3)."""
        x, y, z = (torch.as_tensor(points[:, axis], dtype=torch.float32) for axis in range(3))
        solid = torch.maximum(self.heart(x, y, z), mediastinum.mediastinum(self, x, y, z)[1])
        above = z - self.diaphragm(x, y)
        return torch.minimum(torch.minimum(self.cavity(x, y, z), above), -solid).numpy()

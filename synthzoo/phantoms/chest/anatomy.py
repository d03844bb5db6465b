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


class Anatomy:
    """A patient's organs at a breath, with the heart at a wanted cardiothoracic ratio.

    Args:
        patient: from `draw_patient`.
        breath: 0 expiration, 1 full inspiration.
        ctr: wanted ratio; None takes the patient's own.
        arms: -1 to 1, height of the shoulders.
    """

    def __init__(self, patient: ChestPatient, breath: float = 1.0, ctr: float | None = None, arms: float = 0.0) -> None:
        out = 1 - breath
        self.patient, self.breath, self.arms = patient, breath, arms
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

    def body(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Inside distance of the skin."""
        p = self.patient
        s, fat, up = p.shoulder, p.fat_mm, 7 * self.arms
        half, front, back, _ = self.profile(z.clamp(max=95))
        wall, belly = p.muscle_mm + fat, ((-90 - z) / 60).clamp(0, 1)
        waist = 10 * ((z + 20) / 60).clamp(0, 1) - 10 * ((-110 - z) / 90).clamp(0, 1)
        width = half + wall - 4 + waist + 0.35 * fat * belly
        side, depth = x.abs(), y - MIDDLE_Y
        forward = depth / (front + wall * 0.9 + 6 + 0.4 * fat * belly)
        ellipse = section(side / width, torch.maximum(forward, -depth / (back + wall * 0.8 + 20)), 1.0)
        skin = torch.minimum((1 - ellipse) * 90, 128 - z)
        low, high = float(z.min()), float(z.max())
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
        if p.breast and low < 40:
            skin = blend(skin, self.breasts(x, y, z), 18)
        return skin

    def breasts(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Inside distance of the breasts, whose lower edge is the sharp one."""
        p, k = self.patient, self.patient.breast
        centre = (74, self.front * 0.72 + p.fat_mm * 0.3, -52 - (16 + 14 * p.droop) * k)
        radii = (44 * k + 22, 32 * k + 16, 46 * k + 20)
        up = z - centre[2]
        stretched = torch.where(up > 0, up * 0.62, up)
        return ellipsoid(x.abs(), y, stretched, (*centre[:2], 0), radii)

    def gas(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor | float:
        """Inside distance of the stomach's bubble over its fluid and of the bowel's gas; FAR above the domes."""
        p, b = self.patient, self.patient.bubble
        if float(z.min()) > max(self.left_dome, self.right_dome) + 5:
            return FAR
        wave = 4.5 * torch.sin(x / 9 + 5 * b) * torch.sin(z / 7 + 9 * b) + 2 * torch.sin(x / 5 + z / 6)
        top = self.left_dome - 20 - 5 * b
        bubble = ellipsoid(x, y, z, (58 + 14 * b, 22, top), (17 + 18 * b, 30, 9 + 9 * b)) + wave * 0.8
        gas = torch.minimum(bubble, z - top - p.level_mm)
        low, high = float(z.min()) - 25, float(z.max()) + 25
        for place, depth, width, height, present in p.bowel.tolist():
            at = self.left_dome - 48 - 75 * depth
            if present < 0.55 and low < at < high:
                radii = (7 + 15 * width, 9 + 9 * width, 5 + 8 * height)
                centre = (-70 + 185 * place**0.7, 30 + 30 * height, at)
                gas = torch.maximum(gas, ellipsoid(x + 4 * torch.sin(z / 11), y, z, centre, radii) + wave)
        return gas

    def heart(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Inside distance of the heart."""
        return mediastinum.heart(self, x, y, z)

    def lung(self, points: np.ndarray) -> np.ndarray:
        """Inside distance of the lungs at points (N, 3)."""
        x, y, z = (torch.as_tensor(points[:, axis], dtype=torch.float32) for axis in range(3))
        solid = torch.maximum(self.heart(x, y, z), mediastinum.mediastinum(self, x, y, z)[1])
        above = z - self.diaphragm(x, y)
        return torch.minimum(torch.minimum(self.cavity(x, y, z), above), -solid).numpy()

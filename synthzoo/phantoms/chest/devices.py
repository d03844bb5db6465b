"""Clouds of devices: a pacemaker with two leads, a central venous line."""

from __future__ import annotations

import numpy as np

from synthzoo.phantoms.chest.anatomy import Anatomy
from synthzoo.phantoms.chest.clouds import Cloud, join, tube

METAL_HU, LEAD_HU, CATHETER_HU = 16_000.0, 9_000.0, 2_600.0
CAN_MM = (24.0, 21.0)  # half axes of the pacemaker's can


def device(kind: str, an: Anatomy) -> Cloud:
    """Cloud of a "pacemaker" or of a "central line" in a patient."""
    return _pacemaker(an) if kind == "pacemaker" else _central_line(an)


def _central_line(an: Anatomy) -> Cloud:
    x = -an.patient.cava_x_mm
    path = [(-62, 40, 140), (-48, 20, 120), (x, 12, 84), (x + 1, 10, 20)]
    return tube(path, 1.3, 1.3, 0.7, CATHETER_HU, 900, smooth_mm=9)


def _pacemaker(an: Anatomy) -> Cloud:
    front, low, x = an.front * 0.62, (an.right_dome + 100) * 0.5, -an.patient.cava_x_mm
    u, v = (a.ravel() for a in np.meshgrid(np.linspace(-1, 1, 90), np.linspace(-1, 1, 90)))
    inside = np.abs(u) ** 2.6 + np.abs(v) ** 2.6 < 1
    u, v = u[inside], v[inside]
    battery = (u + 0.1) ** 2 + (v + 0.2) ** 2 < 0.35
    can = np.stack([100 + CAN_MM[0] * u, np.full(len(u), front), 66 + CAN_MM[1] * v], 1)
    mass = 4 * CAN_MM[0] * CAN_MM[1] / 8100 * (6 + 3 * battery) * METAL_HU
    way: list[tuple[float, float, float]] = [
        (92, front, 84),
        (70, front - 5, 100),
        (30, 25, 88),
        (-12, 16, 70),
        (x + 2, 12, 30),
        (x + 2, 14, -30),
    ]
    ends: tuple[list[tuple[float, float, float]], ...] = (
        [(-18, 20, -70), (20, 40, low - 92), (46, 45, low - 88)],
        [(-26, 24, -58), (-30, 30, -46)],
    )
    leads = [tube(way + end, 1, 1, 0.8, LEAD_HU, LEAD_HU, smooth_mm=6.6) for end in ends]
    return join([(can, mass), *leads])

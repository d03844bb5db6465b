"""What lies between the lungs: heart, great vessels, fat, airways, as inside distances in mm.

All functions take points in the patient's unsheared frame, see `anatomy.Anatomy`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from synthzoo.phantoms.chest.shapes import FAR, blend, capsule, cylinder, ellipsoid, turned_ellipsoid

if TYPE_CHECKING:
    from synthzoo.phantoms.chest.anatomy import Anatomy

Point = tuple[float, float, float]
Rod = tuple[Point, Point, float, float]  # start, end, radius at the start, radius at the end
HALF_WIDTH_MM = 88.0  # the great vessels and airways lie within, on both sides of the midline
REST_MM = -78.0  # below this height the heart is stretched, so that it rests on the diaphragm
REACH_MM = 30.0  # beyond a rod's own radius it matters no more, fillets included


def heart(an: Anatomy, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Inside distance of the heart: four chambers and the outflow, a smooth union."""
    p = an.patient
    k = an.heart_scale
    s = 0.55 + 0.45 * k
    z = z - heart_shift(an)
    x, y, z = (x - p.heart_x_mm) / k, y / s, (z + 40) / s - 40
    z = torch.where(z < REST_MM, REST_MM + (z - REST_MM) * 0.62, z)
    angle = math.radians(-33 + p.heart_tilt_deg)
    c, d = math.cos(angle), math.sin(angle)
    axes = [[c * 0.94, 0.34, d * 0.94], [-0.34 * c, 0.94, -0.34 * d], [-d, 0, c]]
    ventricle = (68 * p.left_ventricle, 42, 36)
    body = turned_ellipsoid(x, y, z, (34, 26, -72), ventricle, axes)
    body = blend(body, ellipsoid(x, y, z, (8, 42, -82), (52, 34, 36)), 20)  # right ventricle
    body = blend(body, ellipsoid(x, y, z, (-16, 14, -62), (28 * p.right_atrium, 32, 42)), 10)
    body = blend(body, ellipsoid(x, y, z, (3, -22, -36), (36, 24, 26)), 12)  # left atrium
    body = blend(body, ellipsoid(x, y, z, (30, 16, -22), (19, 18, 18)), 14)  # its appendage
    return blend(body, ellipsoid(x, y, z, (15, 28, -14), (25, 26, 38)), 34) * k  # outflow


def heart_shift(an: Anatomy) -> float:
    """Height by which the diaphragm lifts the heart."""
    p = an.patient
    return 0.45 * (an.right_dome - p.dome_mm) + p.heart_z_mm + (an.right_dome + 100) * 0.5


def heart_bounds(an: Anatomy) -> tuple[float, float, float, float]:
    """Lowest and highest x and z between which the heart and its fillets lie."""
    k, shift = an.heart_scale, heart_shift(an)
    s = 0.55 + 0.45 * k
    x = an.patient.heart_x_mm
    return x - 72 * k, x + 125 * k, shift - 118 * s - 48, shift + 76 * s - 40


def great_vessels(an: Anatomy) -> list[Rod]:
    """Rods of the aorta, caval veins, pulmonary trunk, hilar vessels and the vessels of neck and arms."""
    p = an.patient
    knob, kx, kz = p.knob_mm, p.knob_x_mm, p.knob_z_mm
    right, left, pa = p.hilum_right_mm, p.hilum_left_mm, p.pulmonary_mm
    ascending = -p.ascending_x_mm - 9 * p.unfolding
    arch = (kx - knob * 0.45, -32.0, kz - 3)
    descending = p.descending_x_mm + 9 * p.unfolding
    cava = -p.cava_x_mm
    return [
        ((-8, 28, -28), (ascending, 24, kz - 22), 15, 14.5),
        ((ascending, 24, kz - 22), (0, 8, kz), 14.5, knob),
        ((0, 8, kz), arch, knob, knob),
        (arch, (descending, -50, -20), knob, knob * 0.86),
        ((descending, -50, -20), (4, -46, -190), knob * 0.86, knob * 0.78),
        ((cava - 1, 8, -36), (cava + 7, 12, 60), 10.5, 8.5),  # superior vena cava
        ((cava + 7, 12, 60), (-22, 8, 96), 8, 7),  # right brachiocephalic vein
        ((-22, 8, 96), (-44, 2, 128), 7, 6),
        ((cava + 12, 16, 62), (18, 14, 84), 6.5, 6),  # left brachiocephalic vein
        ((18, 14, 84), (42, 4, 122), 6, 6),
        ((-4, 6, kz + 4), (-16, -2, 92), 7, 5.5),  # brachiocephalic artery
        ((16, -14, kz + 2), (19, -14, 86), 6, 5.5),  # left subclavian artery
        ((19, -14, 86), (40, -6, 124), 5.5, 5),
        ((16, 40, -16), (27, 6, 8), pa, pa),  # pulmonary trunk
        ((27, 6, 8), (42, -16, left + 2), pa * 0.95, pa * 0.75),
        ((42, -16, left + 2), (50, -30, left - 42), pa * 0.72, 4.5),
        ((12, 0, 4), (-42, -4, right + 4), pa, pa * 0.75),
        ((-42, -4, right + 4), (-53, -14, right - 44), pa * 0.74, 4.5),
        ((-36, -2, right + 10), (-54, 2, right + 36), 5.5, 3),  # upper lobe
        ((40, -12, left + 6), (54, -4, left + 34), 5.5, 3),
        ((-12, -8, -30), (-54, 6, right + 8), 7, 4),  # upper pulmonary veins
        ((20, -6, -28), (54, 10, left - 2), 7, 4),
        ((-10, -24, -44), (-48, -34, -62), 7, 4),  # lower pulmonary veins
        ((20, -26, -44), (54, -38, -62), 7, 4),
    ]


def rods(
    tubes: list[Rod], x: torch.Tensor, y: torch.Tensor, z: torch.Tensor, fillet_mm: float = 0.0
) -> torch.Tensor | float:
    """Inside distance of the union of the rods that come near the heights `z`; FAR where there is none."""
    low, high = float(z.min()) - REACH_MM, float(z.max()) + REACH_MM
    found: torch.Tensor | float = FAR
    for start, end, first, second in tubes:
        widest = max(first, second)
        if max(start[2], end[2]) + widest > low and min(start[2], end[2]) - widest < high:
            one = capsule(x, y, z, start, end, first, second)
            if isinstance(found, float):
                found = one
            else:
                found = blend(found, one, fillet_mm) if fillet_mm else torch.maximum(found, one)
    return found


def mediastinum(
    an: Anatomy, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inside distances of the vessels, of all that is no lung beside the heart, and of the muscle at the spine.

    The fat between the vessels narrows below the arch, which gives knob and aortopulmonary window, and in front, where
    the lungs meet at the anterior junction line.
    """
    p = an.patient
    vessels = rods(an.great_vessels, x, y, z, 9.0)
    if isinstance(vessels, float):
        vessels = torch.full(torch.broadcast_shapes(x.shape, y.shape, z.shape), vessels)
    narrow = 1 - 0.6 * torch.sigmoid((p.knob_z_mm - 17 - z) / 7)
    half = p.mediastinum_mm * narrow * (1 - 0.3 * ((z - 50) / 60).clamp(0, 1))
    fat = cylinder(x + 3, y + 8, half, 46)
    middle = p.scoliosis_mm * torch.sin((z + 20) / 75)
    half = 14 + 6 * ((80 - z) / 160).clamp(0, 1)
    spine = cylinder(x - middle, y + 86, half, 20)
    return vessels, blend(blend(vessels, fat, 12), spine, 14), spine


def airways(an: Anatomy) -> list[Rod]:
    """Rods of the trachea, the main and the lower lobes' bronchi."""
    r = an.patient.trachea_mm
    carina = (-3.0, -22.0, 27.0)
    return [
        ((0, -10, 230), (0, -14, 110), r * 0.95, r),
        ((0, -14, 110), carina, r, r),
        (carina, (-36, -24, -8), r * 0.82, r * 0.66),
        (carina, (42, -28, -4), r * 0.76, r * 0.6),
        ((-36, -24, -8), (-47, -34, -48), r * 0.6, r * 0.4),
        ((42, -28, -4), (52, -40, -42), r * 0.55, r * 0.38),
        ((-26, -24, 4), (-46, -20, 22), r * 0.5, r * 0.36),  # right upper lobe
    ]

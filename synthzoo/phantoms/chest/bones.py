"""Clouds of the skeleton: spine, ribs, sternum, clavicles, scapulae, humeri."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from synthzoo.phantoms.chest.anatomy import MIDDLE_Y, Anatomy
from synthzoo.phantoms.chest.clouds import Cloud, ball, join, plate, tube
from synthzoo.phantoms.chest.patient import ChestPatient

CORTEX_HU, MARROW_HU = 1250.0, 220.0
SPACINGS_MM = (1.7, 1.3, 0.9)  # distances of neighbouring points; few, so that a spine serves several studies
# Heights of the vertebrae C4 to L3 with T1 at number 4, at the mean spacing.
VERTEBRAE_MM = (196, 178, 158, 139, 118, 98, 78, 57, 36, 14, -8, -31, -54, -78, -102, -127, -154, -183, -213)
FIRST_RIB = 4
CARTILAGE_MM = (44, 56, 63, 68, 74, 83, 94, 106, 118, 124)  # |x| where the bone of ribs 1 to 10 ends in front
FLOATING_DEG = (-12.0, -42.0)  # where ribs 11 and 12 end on the wall
RIB_TAPER = (0.8, 1, 1.05, 1.02, 0.98, 0.92, 0.92, 1.0, 1.08, 1.2)
RIB_FADE = ((0, 8, 26, 95, 160), (0, 0.16, 0.45, 0.58, 1.1))  # mass by mm from the front end
CLAVICLE_TAPER = (1.8, 1.35, 1.05, 0.95, 0.95, 1, 1.05, 1.2, 1.2, 0.9, 0.4)


def skeleton(an: Anatomy, pixel_mm: float = 1.5) -> Cloud:
    """Cloud of all bones, with points as close as a detector of that pixel size needs."""
    spacing = next(step for step in SPACINGS_MM if step <= max(0.5 * pixel_mm, SPACINGS_MM[-1]))
    column, heights, depths = spine(an.patient, spacing)
    return join([column] + ribs(an, heights, depths, spacing) + girdle(an, spacing) + [sternum(an, spacing)])


@lru_cache(maxsize=16)
def spine(p: ChestPatient, spacing: float) -> tuple[Cloud, np.ndarray, np.ndarray]:
    """Cloud of the vertebrae C4 to L3 with their processes, and the heights and depths of their middles.

    Breath moves none of it, so it is kept for the patient's further studies.
    """
    cortex, marrow = CORTEX_HU * p.bone_density, MARROW_HU * p.bone_density
    heights = (np.array(VERTEBRAE_MM) - 36) * p.spacing + 36
    bow = p.kyphosis_mm * np.exp(-(((heights - 10) / 85) ** 2))
    depths = -62 - bow + 12 * np.clip((heights - 90) / 80, 0, 1)
    halves = np.abs(np.gradient(heights)) * 0.40
    out: list[Cloud] = []
    for number, (z, y, half) in enumerate(zip(heights, depths, halves)):
        grown = number / (len(heights) - 1)
        x = p.scoliosis_mm * np.sin((z + 20) / 75)
        rx, ry = 10.5 + 13 * grown, 8 + 9.5 * grown
        out += _vertebral_body((x, y, z), (rx, ry, half), cortex, marrow, spacing)
        back = y - ry

        def piece(path: list, up: float, across: float, shell: float, axis: tuple = (0, 0, 1)) -> Cloud:
            return tube(path, up, across, shell, cortex, marrow, spacing, axis, smooth_mm=0)

        for s in (-1, 1):  # pedicle, transverse process, lamina, articular pillar
            pillar = x + s * rx * 0.8
            out += [
                piece([(x + s * rx * 0.72, back + 2, z + 3), (x + s * rx * 0.78, back - 12, z + 2)], 5.5, 3.6, 1.1),
                piece([(pillar, back - 12, z + 1), (x + s * (rx + 15), back - 22, z + 4)], 4.5, 4, 1.0),
                piece([(x + s * rx * 0.75, back - 13, z + 5), (x, back - 24, z - 5)], 7, 2.5, 0.65),
                piece(
                    [(pillar, back - 14, z + 11), (pillar, back - 15, z - 11)],
                    4,
                    4 + grown,
                    0.55 + 0.3 * grown,
                    (0, 1, 0),
                ),
            ]
        tip = z - 4 - 20 * np.sin(np.pi * min(grown * 1.2, 1))
        out.append(piece([(x, back - 24, z - 4), (x, back - 48, tip)], 6, 2.6, 0.4))
    return join(out), heights, depths


def _vertebral_body(
    middle: tuple[float, float, float],
    radii: tuple[float, float, float],
    cortex: float,
    marrow: float,
    spacing: float,
) -> list[Cloud]:
    (x, y, z), (rx, ry, half) = middle, radii
    around = max(20, int(2 * np.pi * rx / (1.3 * spacing)))
    angle = np.linspace(0, 2 * np.pi, around, endpoint=False)
    levels = np.linspace(-half, half, max(8, int(2 * half / spacing)))
    waist = (1 - 0.13 * (1 - (levels / half) ** 2))[:, None]
    wall = np.stack(
        np.broadcast_arrays(x + rx * waist * np.cos(angle), y + ry * waist * np.sin(angle), z + levels[:, None]),
        -1,
    ).reshape(-1, 3)
    area = 2 * np.pi * np.sqrt(rx * ry) * 2 * half / len(wall)
    clouds = [(wall, np.full(len(wall), area * 0.54 * cortex))]
    step = 1.5 * spacing
    gx, gy = (v.ravel() for v in np.meshgrid(np.arange(-rx, rx, step), np.arange(-ry, ry, step)))
    inside = (gx / rx) ** 2 + (gy / ry) ** 2 < 1
    gx, gy = gx[inside], gy[inside]
    inner = np.arange(-half, half, step)
    planes = [(-half, 0.75 * cortex), (half, 0.75 * cortex)] + [
        (v, 2 * half / len(inner) * (0.75 * marrow - 40)) for v in inner
    ]
    cell = np.pi * rx * ry / max(len(gx), 1)
    for level, area_hu in planes:  # end plates, marrow
        points = np.stack([gx + x, gy + y, np.full(len(gx), z + level)], 1)
        clouds.append((points, np.full(len(gx), cell * area_hu)))
    return clouds


def rib_paths(an: Anatomy, heights: np.ndarray, depths: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """Side (-1 right, 1 left), number from 0 and path (N, 3) of each rib, from its head to where the bone ends.

    A rib runs on the pleural wall in a tilted plane, z = z0 - tan(tilt) (y - y0) - droop (|x| - 20), where
    |x| in front is that at the side. The wall depends
    on z, so the height is found by iteration. True slopes and crossings follow from this alone.
    """
    p = an.patient
    n, numbers = 120, np.arange(12)
    last = np.array([88.0] * 10 + list(FLOATING_DEG))
    angle = np.radians(-88 + (last + 88)[:, None] * np.linspace(0, 1, n))
    cosine, sine = np.cos(angle), np.sin(angle)
    radius = 1 / (cosine**4 + sine**4 + p.squareness * cosine**2 * sine**2) ** 0.25  # of the cavity's section
    z0, y0 = heights[FIRST_RIB + numbers][:, None] + 7, depths[FIRST_RIB + numbers][:, None]
    found = []
    for s in (-1, 1):
        jitter = p.ribs[(s + 1) // 2]
        tilt = 24 + 7 * np.minimum(numbers / 5, 1) + p.rib_tilt_deg + 0.9 * jitter[:, 0] + an.rib_drop_deg
        slope = np.tan(np.radians(tilt))[:, None]
        z = np.repeat(z0 - 30, n, 1)
        for _ in range(12):
            half, front, back, _medial = (v.numpy() for v in an.profile(torch.as_tensor(z, dtype=torch.float32)))
            x = p.core_mm + ((half - p.core_mm) * (1 + s * p.asymmetry) + 5) * cosine * radius
            y = MIDDLE_Y + np.where(sine > 0, front + 4, back + 5) * sine * radius
            # In front the bone keeps the droop that it has at the side, and falls to the midline by its tilt.
            lateral = np.where(sine < 0, x, x.max(1, keepdims=True))
            wanted = z0 - slope * (y - y0) - p.rib_droop * (lateral - 20) + 1.2 * jitter[:, 1:2] * np.sin(angle * 2)
            z = np.minimum(0.5 * z + 0.5 * wanted, p.apex_mm + 3)
        for i in numbers:
            bony = sine[i] < 0
            if i < len(CARTILAGE_MM):
                bony = bony | (x[i] > CARTILAGE_MM[i] + 4 * jitter[i, 2]) & (x[i] > 38)
            else:
                bony = bony | True
            middle = p.scoliosis_mm * np.sin((heights[FIRST_RIB + i] + 20) / 75)
            head = [(middle + s * 17, y0[i, 0] - 6, z0[i, 0] - 2), (middle + s * 30, y0[i, 0] - 19, z0[i, 0] + 1)]
            found.append((s, int(i), np.concatenate([head, np.stack([s * x[i], y[i], z[i]], 1)[bony]])))
    return found


def ribs(an: Anatomy, heights: np.ndarray, depths: np.ndarray, spacing: float) -> list[Cloud]:
    """Clouds of the 24 ribs; posterior parts weigh more, since they dominate a radiograph."""
    p = an.patient
    cortex, marrow = CORTEX_HU * p.bone_density, MARROW_HU * p.bone_density
    out = []
    for s, i, path in rib_paths(an, heights, depths):
        size = (0.95 if i < 2 else 1.08 - 0.018 * i) * (1 + 0.05 * p.ribs[(s + 1) // 2, i, 2])
        out.append(
            tube(
                path,
                p.rib_half_mm * size,
                3.4,
                p.cortex_mm,
                cortex,
                marrow,
                spacing,
                taper=RIB_TAPER,
                smooth_mm=7.5,
                fade=RIB_FADE,
            )
        )
    return out


def girdle(an: Anatomy, spacing: float) -> list[Cloud]:
    """Clouds of clavicles, scapulae and humeri."""
    p, up = an.patient, 7 * an.arms
    cortex, marrow = CORTEX_HU * p.bone_density, MARROW_HU * p.bone_density
    sh, out_mm = p.shoulder, p.scapula_mm
    out: list[Cloud] = []

    def bone(path: list, half_up: float, across: float, shell: float, upright: bool = False, **more: Any) -> Cloud:
        return tube(path, half_up, across, shell, cortex, marrow, spacing, (0, 1, 0) if upright else (0, 0, 1), **more)

    for s in (-1, 1):
        u = np.linspace(0, 1, 60)
        rise = (p.clavicle_rise_mm + 10 * an.arms) * u**1.1 + 5 * np.sin(np.pi * u) - 5 * np.sin(2 * np.pi * u)
        forward = 42 - 60 * u + 0.8 * p.clavicle_bow_mm * np.sin(2 * np.pi * u)
        path = np.stack([s * (13 + (152 * sh - 13) * u), forward, p.clavicle_z_mm - 6 + rise], 1)
        out.append(bone(path, p.clavicle_mm, 0.9 * p.clavicle_mm, 2.2, taper=CLAVICLE_TAPER))
        socket = np.array((s * (146 * sh + 0.3 * out_mm), -34, 80 + up))
        tip = np.array((s * (124 + out_mm), -104, -12 + up))
        top = np.array((s * (96 + 0.8 * out_mm), -84, 104 + up))
        head = socket + np.array([s * 25, 4, 2])
        out += [
            plate(socket, tip - socket, top - socket, 1.7 * cortex, 1.2 * spacing, 9),
            bone(
                [tip, (socket + tip) / 2 + [s * 5, 0, 0], socket],
                4.6,
                6,
                1.3,
                True,
                taper=(0.25, 0.5, 0.7, 0.85, 0.95, 1, 1.1, 1.2),
            ),
            bone([top, (top + tip) / 2 - [s * 7, 0, 0], tip], 2.4, 3.4, 0.8, True),
            bone(
                [top + [s * 4, -6, -20], socket + [s * 2, -26, 22], socket + [s * 20, -4, 32]],
                6.5,
                4.5,
                1.7,
                taper=(0.5, 0.8, 1, 1.3, 1.5),
            ),  # spine of the scapula, acromion
            bone([socket + [-s * 8, 6, 10], socket + [-s * 12, 28, 18], socket + [0, 38, 12]], 5.5, 5.5, 1.8),
            bone([socket + [0, 0, 17], socket - [0, 0, 17]], 10, 4.5, 2.0, True, smooth_mm=0),
            ball(head, 22, 1.1 * cortex, 1.25 * marrow, 1.2 * spacing),
            tube(
                [head + [s * 4, 0, -12], (s * 218 * sh, -14, -70)],
                11,
                11,
                3.2,
                cortex,
                0.3 * marrow,
                spacing,
                (0, 1, 0),
                (1.7, 1.2, 1, 1, 1, 1),
            ),
        ]
    return out


def sternum(an: Anatomy, spacing: float) -> Cloud:
    """Cloud of the breastbone, a plate on the front wall."""
    p = an.patient
    cortex, marrow = CORTEX_HU * p.bone_density, MARROW_HU * p.bone_density
    step = 1.4 * spacing
    x, z = (v.ravel() for v in np.meshgrid(np.arange(-19, 19, step), np.arange(-80, 88, step)))
    width = np.where(z > 40, 14 + 6 * (z > 62), 12 + 3 * np.sin(z / 9))
    x, z = x[np.abs(x) < width], z[np.abs(x) < width]
    y = an.profile(torch.as_tensor(z, dtype=torch.float32))[1].numpy() - 16
    return np.stack([x, y, z], 1), np.full(len(x), step**2 * (1.5 * cortex + 4 * marrow))

"""HU of the solid tissue and the shares of lung, heart and findings, on the samples of rays or on voxels.

A finding replaces lung only, and lung that no other finding took. So it changes the line integral by exactly its path
length times its step in HU, and nothing beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from synthzoo.phantoms.chest.anatomy import Anatomy
from synthzoo.phantoms.chest.mediastinum import HALF_WIDTH_MM, heart_bounds, mediastinum, rods
from synthzoo.phantoms.chest.shapes import share

if TYPE_CHECKING:
    from synthzoo.phantoms.chest.findings import Lesion

WATER_PER_MM = 0.0193  # attenuation of water at 70 keV; NIST has 0.206 and 0.184 per cm at 60 and 80 keV
AIR, LUNG, FAT, SOFT, GLAND = -1000.0, -850.0, -100.0, 45.0, -50.0
MEDIASTINAL_FAT = -65.0
PLEURA_MM, PLEURA_HU = 1.2, 0.0  # the visceral line of a pneumothorax
ROWS = 16  # of a block: its samples stay in the processor's cache
Samples = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # x, y, z that broadcast; the first axis runs along the beam


def organ_shares(
    an: Anatomy, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor, pixel_mm: float, lesions: Sequence[Lesion] = ()
) -> tuple[list[torch.Tensor], dict]:
    """Shares of each sample in the lungs as they were in health, in the heart, and in each lesion.

    Args:
        x, y, z: samples in the unsheared frame.
        pixel_mm: distance of samples across the beam.

    Returns:
        The shares, and the inside distances that the HU need: "below" (the diaphragm), "great", "fat", "heart".
    """
    cavity = an.cavity(x, y, z)
    below = an.diaphragm(x, y) - z
    middle = _columns(x, -HALF_WIDTH_MM, HALF_WIDTH_MM)
    heart, great, solid, fat = (torch.full_like(cavity, -60.0) for _ in range(4))
    low_x, high_x, low_z, high_z = heart_bounds(an)
    if float(z.max()) > low_z and float(z.min()) < high_z:
        near = _columns(x, low_x, high_x)
        heart[..., near] = an.heart(_cut(x, near), _cut(y, near), z)
    vessels, beside, spine = mediastinum(an, _cut(x, middle), _cut(y, middle), z)
    great[..., middle], solid[..., middle] = vessels, beside
    fat[..., middle] = torch.minimum(torch.minimum(beside, -torch.maximum(vessels, spine)), 100 - z)
    lung = share(torch.minimum(torch.minimum(cavity, -below), -torch.maximum(heart, solid)), pixel_mm)
    shares, free = [lung, share(heart, pixel_mm)], lung
    for lesion in lesions:
        taken = free * lesion.share(an, x, y, z, cavity, pixel_mm)
        shares.append(taken)
        free = free - taken
    return shares, {"below": below, "fat": fat, "heart": heart, "cavity": cavity, "free": free}


def tissue(an: Anatomy, samples: Samples, pixel_mm: float, lesions: Sequence[Lesion] = ()) -> list[torch.Tensor]:
    """HU of the solid tissue, then the shares of lungs, heart and each lesion, all (n, rows, columns).

    Args:
        an: the patient at his breath.
        samples: x, y, z in the patient's frame, mm.
        pixel_mm: distance of samples across the beam.
        lesions: placed findings, in the order in which they take lung.
    """
    x, y, z = samples
    x = x - an.shear(z)
    p = an.patient
    skin, breasts = an.body(x, y, z)
    inner = share(skin - p.fat_mm, pixel_mm)
    hu = AIR + (FAT - AIR) * share(skin, pixel_mm) + (SOFT - FAT) * inner
    if breasts is not None:
        hu += (GLAND - SOFT) * share(breasts, pixel_mm) * inner
    shares, inside = organ_shares(an, x, y, z, pixel_mm, lesions)
    hu += share(torch.minimum(inside["fat"], -inside["heart"]), pixel_mm) * (MEDIASTINAL_FAT - SOFT)
    hu += shares[0] * (LUNG - SOFT)
    middle = _columns(x, -HALF_WIDTH_MM, HALF_WIDTH_MM)
    air = rods(an.airways, _cut(x, middle), _cut(y, middle), z)
    if torch.is_tensor(air):
        part = share(air, pixel_mm)
        hu[..., middle] += part * (AIR - hu[..., middle])
    if float(z.min()) < an.right_dome:
        bowel = torch.minimum(inside["below"] - 4, skin - p.fat_mm - p.muscle_mm)
        hu += share(bowel, pixel_mm) * an.fatness(x, y, z) * (FAT - SOFT)
    gas = an.gas(x, y, z)
    if torch.is_tensor(gas):
        hu += share(torch.minimum(gas, inside["below"] - 4), pixel_mm) * (AIR - hu)
    free = shares[0]
    for lesion, taken in zip(lesions, shares[2:]):
        hu += taken * (lesion.hu - LUNG)
        free = free - taken
        if lesion.kind == "pneumothorax":
            hu += free * lesion.pleura(an, x, y, z, inside["cavity"], pixel_mm) * (PLEURA_HU - LUNG)
    return [hu, *shares]


def _columns(x: torch.Tensor, low: float, high: float) -> slice:
    """Columns in which some sample lies between two x."""
    if x.shape[-1] == 1:
        return slice(0, 1)
    near = ((x.amax((0, 1)) > low) & (x.amin((0, 1)) < high)).nonzero().flatten()
    return slice(int(near[0]), int(near[-1]) + 1) if len(near) else slice(0, 1)


def _cut(values: torch.Tensor, columns: slice) -> torch.Tensor:
    return values[..., columns] if values.shape[-1] > 1 else values

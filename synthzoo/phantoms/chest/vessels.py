"""Arteries and veins of the lungs as clouds: trees that are a patient's own, moved by breath, cut at his organs.

A tree grows once, at full inspiration: each target in the lung joins the node of least distance plus a share of the
path from the root, which balances short wire against short paths (Cuntz et al., "One rule to grow them all", PLoS
Computational Biology 2010); radii follow Murray's cube law from the leaves. Growing it again at each breath would
change the patient, so breath moves it.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch

from synthzoo.phantoms.chest import mediastinum
from synthzoo.phantoms.chest.anatomy import Anatomy
from synthzoo.phantoms.chest.clouds import Cloud, join
from synthzoo.phantoms.chest.patient import ChestPatient

TREE, SPECKS = 303, 304  # salts
TARGETS = (1300, 975)  # of the arterial and of the venous tree of each lung
BALANCE = 0.32  # weight of the path against the distance
LONGEST, BEND = 5, 0.07  # nodes of a branch, at most; its bend as a share of its length
LEAF_MM, WIDEST_MM = 0.66, 6.0
INTERSTITIUM, SPECK_MASS = 60_000, 990.0  # tissue below resolution: number of points, HU mm3 of each
BLOOD_STEP_HU = 900.0  # blood 50, lung -850


def vessels(an: Anatomy) -> Cloud:
    """Cloud of the patient's vessels and interstitium at the anatomy's breath."""
    p = an.patient
    points, mass = _grown(p)
    rise = (p.apex_mm - an.right_dome) / (p.apex_mm - p.dome_mm)
    moved: np.ndarray = points * np.array([an.half_width / p.half_width_mm, 1, rise], np.float32)
    moved[:, 2] += np.float32(p.apex_mm * (1 - rise))
    x, y, z = (torch.from_numpy(np.ascontiguousarray(moved[:, axis])) for axis in range(3))
    inside = torch.minimum(torch.minimum(an.cavity(x, y, z), z - an.diaphragm(x, y)), -an.heart(x, y, z))
    kept = (inside > -1).numpy()
    return moved[kept], mass[kept]


@lru_cache(maxsize=16)
def _grown(p: ChestPatient) -> Cloud:
    """The trees at full inspiration, without what lies in the mediastinum."""
    an = Anatomy(p)
    clouds = []
    for s in (-1, 1):
        for vein in (0, 1):
            rng = np.random.default_rng([TREE, p.seed, s + 1, vein])
            targets = _box(rng, an, 12_000, 8, an.half_width) * [s, 1, 1]
            targets = targets[an.lung(targets) > 3]
            # Denser at the bases, as gravity has it.
            kept = rng.random(len(targets)) < np.clip(0.9 - 0.0035 * (targets[:, 2] + 100), 0.25, 1)
            targets = targets[kept][: TARGETS[vein]]
            hilum = p.hilum_right_mm if s < 0 else p.hilum_left_mm
            root = np.array([s * 28.0, -20, -34]) if vein else np.array([s * 38.0, -10, hilum])
            clouds.append(_thicken(*_grow(rng, root, targets), p.vessel_scale, rng))
    rng = np.random.default_rng([SPECKS, p.seed])
    specks = _box(rng, an, INTERSTITIUM, -an.half_width, an.half_width)
    specks = specks[an.lung(specks) > 1]
    clouds.append((specks, np.exp(rng.normal(0, 0.8, len(specks))) * SPECK_MASS))
    points, mass = join(clouds)
    x, y, z = (torch.from_numpy(np.ascontiguousarray(points[:, axis])) for axis in range(3))
    free = (mediastinum.mediastinum(an, x, y, z)[1] < 1).numpy()
    return points[free], mass[free]


def _box(rng: np.random.Generator, an: Anatomy, count: int, low: float, high: float) -> np.ndarray:
    columns = [
        rng.uniform(low, high, count),
        rng.uniform(-100, 95, count),
        rng.uniform(-165, an.patient.apex_mm, count),
    ]
    return np.stack(columns, 1)


def _grow(rng: np.random.Generator, root: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (N, 3) and the number of each one's parent (N,), the root's being -1."""
    room = len(targets) * LONGEST + 1
    x, y, z, far = np.zeros((4, room), np.float32)  # apart, since each step runs over all nodes
    parent, count = [-1], 1
    x[0], y[0], z[0] = root
    order = np.argsort(np.linalg.norm(targets - root, axis=1) + rng.normal(0, 12, len(targets)))
    bends = rng.normal(0, BEND, (len(targets), 3))
    for target, bend in zip(targets[order].tolist(), bends.tolist()):
        dx, dy, dz = x[:count] - target[0], y[:count] - target[1], z[:count] - target[2]
        distance = np.sqrt(dx * dx + dy * dy + dz * dz)
        near = int(np.argmin(distance + BALANCE * far[:count]))
        length = float(distance[near])
        start, path = (float(x[near]), float(y[near]), float(z[near])), float(far[near])
        steps, last = min(LONGEST, max(1, int(length / 9))), start
        for step in range(1, steps + 1):
            u = step / steps
            off = math.sin(math.pi * u) * length
            place = tuple(a + (b - a) * u + c * off for a, b, c in zip(start, target, bend))
            path += math.dist(place, last)
            x[count], y[count], z[count] = last = place
            far[count] = path
            parent.append(near)
            near, count = count, count + 1
    return np.stack([x[:count], y[:count], z[:count]], 1).astype(np.float64), np.array(parent)


def _thicken(nodes: np.ndarray, parent: np.ndarray, scale: float, rng: np.random.Generator) -> Cloud:
    """The branches filled with points, radii by Murray's law."""
    count = len(nodes)
    cubes, leaf = np.zeros(count), np.ones(count, bool)
    leaf[parent[1:]] = False
    cubes[leaf] = LEAF_MM**3
    for k in range(count - 1, 0, -1):
        cubes[parent[k]] += cubes[k]
    radius = np.minimum(np.cbrt(cubes), WIDEST_MM)[1:] * scale**0.5
    start, end = nodes[parent[1:]], nodes[1:]
    length = np.linalg.norm(end - start, axis=1)
    pieces = np.maximum(1, np.ceil(length / 0.9)).astype(int)
    edge = np.repeat(np.arange(count - 1), pieces)
    place = (np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces) + 0.5) / pieces[edge]
    copies = np.clip((radius[edge] / 0.45).astype(int) ** 2, 1, 40)
    which = np.repeat(np.arange(len(edge)), copies)
    off = rng.normal(0, 1, (len(which), 3))
    reach = radius[edge][which] * rng.random(len(which)) ** (1 / 3)
    off *= (reach / np.linalg.norm(off, axis=1))[:, None]
    points = (start[edge] + (end - start)[edge] * place[:, None])[which] + off
    mass = (np.pi * radius[edge] ** 2 * (length / pieces)[edge] / copies)[which] * BLOOD_STEP_HU
    return points, mass

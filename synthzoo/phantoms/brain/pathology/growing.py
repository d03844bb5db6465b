"""How lesions grow into an anatomy: each part a level set of a score, whose level is solved for its millilitres."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage as ndi

from synthzoo.phantoms.brain.lesions import level_set
from synthzoo.phantoms.brain.pathology.lesion import PARTS, Growth, Lesion
from synthzoo.phantoms.fields import resize, smooth_noise

# What the rows of an anatomy's maps are to a lesion.
ROLES = {
    "grey": ("cortex", "deep", "GM"),
    "white": ("wm", "WM"),
    "fluid": ("csf", "CSF"),
    "ventricle": ("ventricle",),
}
ALMOST = 1 - 1e-6


@dataclass(frozen=True)
class Host:
    """An anatomy that lesions grow in.

    Attributes:
        maps: float32 (C, X, Y, Z) in [0, 1]; the rows that `ROLES` names share out the brain.
        names: of the rows.
        spacing_mm: of the grid.
    """

    maps: np.ndarray
    names: tuple[str, ...]
    spacing_mm: float

    def role(self, role: str) -> np.ndarray:
        """Share of each voxel that is "grey", "white", "fluid" or "ventricle", float32 (X, Y, Z)."""
        rows = [self.names.index(name) for name in ROLES[role] if name in self.names]
        return self.maps[rows].sum(0)

    grey = cached_property(lambda self: self.role("grey"))
    white = cached_property(lambda self: self.role("white"))
    fluid = cached_property(lambda self: self.role("fluid"))
    ventricle = cached_property(lambda self: self.role("ventricle"))
    brain = cached_property(lambda self: self.grey + self.white + self.fluid + self.ventricle)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.maps.shape[1:]

    @property
    def middle(self) -> float:
        """Voxel of the middle plane between left and right: half of the brain lies on each side."""
        weights = self.brain.sum((1, 2)).cumsum()
        return float(np.interp(0.5 * weights[-1], weights, np.arange(len(weights)) + 0.5))

    def noise(self, rng: np.random.Generator, mm: float) -> np.ndarray:
        """Smooth unit-variance noise of the grid, made on one half as fine."""
        half = tuple(-(-n // 2) for n in self.shape)
        fine = resize(smooth_noise(rng, half, max(mm / (2 * self.spacing_mm), 0.6)), [2 * n for n in half])
        return fine[tuple(slice(n) for n in self.shape)]

    def offsets_mm(self, centre: np.ndarray) -> np.ndarray:
        """From a centre (3,) in voxels to each voxel, float32 (3, X, Y, Z) in mm."""
        axes = [(np.arange(n, dtype=np.float32) - c) * self.spacing_mm for n, c in zip(self.shape, centre)]
        return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def draw_centre(host: Host, growth: Growth, rng: np.random.Generator) -> np.ndarray:
    """A voxel (3,) of the host where a lesion that grows so may begin."""
    h, tissue = host.spacing_mm, host.grey + host.white
    solid = ndi.gaussian_filter(tissue, 6.0 / h)
    inner = solid > rng.uniform(0.5, 0.85) * solid.max()
    depth = ndi.distance_transform_edt(host.brain > 0.5) * h
    away = abs(np.arange(host.shape[0]) - host.middle).reshape(-1, 1, 1) * h
    chances = {
        "white": (host.white + 0.5 * host.grey) * inner,
        "cortex": tissue * (depth < 14),
        "deep": tissue * (depth > 28),
        "ventricle": tissue * (ndi.gaussian_filter(host.ventricle, 8.0 / h) > 0.05),
        "midline": host.white * (away < 10) * (depth > 12),
        "anywhere": tissue,
    }
    chance = (chances[growth.place] + 1e-9 * (tissue > 0.5)).ravel().astype(np.float64) + 1e-15
    flat = int(np.searchsorted(np.cumsum(chance), rng.random() * chance.sum()))
    return np.array(np.unravel_index(min(flat, chance.size - 1), host.shape), float)


def grow(
    host: Host, lesion: Lesion, centre: np.ndarray, free: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """The parts of a lesion in an anatomy that has made way for it.

    Args:
        host: the anatomy.
        lesion: what is requested.
        centre: voxel (3,) of its middle.
        free: share of each voxel that no other lesion has, float32 (X, Y, Z).
        rng: draws the shapes.

    Returns:
        part -> float32 (X, Y, Z), the share of a voxel that it takes; the sum is the requested volume.

    Raises:
        UserError: there is too little tissue for it.
    """
    if lesion.kind == "WMH":
        return {"WMH": _white_matter(host, lesion, free, rng)}
    if lesion.kind == "stroke":
        return {"stroke": _territory(host, lesion, centre, free, rng)}
    return _mass(host, lesion, centre, free, rng)


def _part(
    host: Host, score: np.ndarray, room: np.ndarray, ml: float, edge: float, what: str, fullest: float = 1.0
) -> np.ndarray:
    """The part of a room with the highest scores; all of it where that is requested, nothing for 0 mL."""
    if ml <= 0:
        return np.zeros(host.shape, np.float32)
    if ml >= ALMOST * room.sum(dtype=np.float64) * host.spacing_mm**3 / 1000 and fullest == 1.0:
        return room
    return level_set(score, room, ml, edge, host.spacing_mm, what, fullest)


def _room(host: Host, growth: Growth, free: np.ndarray) -> np.ndarray:
    """The share of each voxel that a lesion can take; one with no part in the ventricles leaves them whole."""
    room = host.grey + host.white + growth.fluid * host.fluid + growth.ventricle * host.ventricle
    return np.clip(room, 0, 1) * free


def _mass(
    host: Host, lesion: Lesion, centre: np.ndarray, free: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """A lesion with an inside: oedema around, then what shines, what does not, and the innermost part."""
    growth, radius, ml = lesion.growth, lesion.radius_mm, dict.fromkeys(PARTS, 0.0) | dict(lesion.ml)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0] @ np.diag(np.exp(rng.normal(0, growth.stretch, 3)))
    offset = host.offsets_mm(centre)
    distance = np.sqrt((np.tensordot(turn.T.astype(np.float32), offset, 1) ** 2).sum(0))
    rough, fine, other = (host.noise(rng, mm) for mm in (growth.rough_mm, growth.fine_mm, growth.rough_mm * 0.7))

    ahead = growth.along_white * (host.white - 0.4 * host.grey) + growth.along_cortex * host.grey
    ahead -= host.ventricle * (1 - growth.ventricle)
    side = np.sign(np.arange(host.shape[0]) - host.middle)
    beyond = (side != np.sign(centre[0] - host.middle)).reshape(-1, 1, 1) * (1 - host.white)
    spread = radius * (ahead - growth.rough * rough - growth.fine * fine - growth.midline * beyond) - distance
    whole = _part(host, spread, _room(host, growth, free), lesion.total_ml, growth.edge_mm, lesion.kind, fullest=0.97)

    # The inside is rounder than the whole, and where the whole is cut off it is, too.
    mass = -(distance + radius * (0.6 * growth.rough * rough + 0.12 * other))
    edge = growth.inner_edge_mm
    inner = _part(host, mass, whole, lesion.total_ml - ml["oedema"], edge, "inner parts")
    innermost = "cavity" if lesion.kind == "resection" else "haemorrhage" if lesion.kind == "haemorrhage" else "core"
    dead = _part(host, mass + 0.3 * radius * other, inner, ml[innermost], edge, innermost)
    parts = {"oedema": whole - inner, innermost: dead}
    rest = inner - dead
    if lesion.kind == "tumour":
        clot = _part(
            host, 3 * host.noise(rng, 6.0) - 3 * distance / radius, rest, ml["haemorrhage"], 2.0, "haemorrhage"
        )
        parts["haemorrhage"], rest = clot, rest - clot
        patches = host.noise(rng, growth.patches_mm) + rng.uniform(-1, 1) * distance / max(radius, 1)
        parts["enhancing"] = _part(host, patches, rest, ml["enhancing"], 0.5, "enhancing")
        rest = rest - parts["enhancing"]
        parts["solid"] = rest
    elif lesion.kind == "resection":
        parts["enhancing"] = rest
    return {part: np.clip(share, 0, 1) for part, share in parts.items() if lesion.ml.get(part)}


def _white_matter(host: Host, lesion: Lesion, free: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Caps and bands along the ventricles, patches and spots in deep white matter."""
    growth, h = lesion.growth, host.spacing_mm
    far = ndi.distance_transform_edt(host.ventricle < 0.5) * h
    patches, spots = host.noise(rng, growth.rough_mm), host.noise(rng, 3.0)
    score = 1.6 * np.exp(-far / max(growth.fine, 1.0)) + growth.rough * patches + 0.3 * growth.rough * spots
    score = score + 0.8 * ndi.gaussian_filter(host.white, 3.0 / h)
    room = host.white * (host.white > 0.5) * free
    return _part(host, score, room, lesion.total_ml, growth.edge_mm, lesion.kind, fullest=0.9)


def _territory(
    host: Host, lesion: Lesion, centre: np.ndarray, free: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """A wedge of cortex and white matter that opens outwards; a small one is round."""
    growth, h = lesion.growth, host.spacing_mm
    found = np.argwhere(host.brain > 0.5)
    outward = (centre - found.mean(0)) * h
    length = max(float(np.linalg.norm(outward)), 1.0)
    outward, offset = outward / length, host.offsets_mm(centre)
    along = np.tensordot(outward.astype(np.float32), offset, 1)
    across = np.sqrt(np.clip((offset**2).sum(0) - along**2, 0, None))
    rough = host.noise(rng, growth.rough_mm)
    if lesion.total_ml > 8:
        # The apex lies deep; the score falls with the angle from the axis and, more slowly, along it.
        apex = along + min(length * 0.7, 35.0)
        distance = across / np.maximum(apex, 4.0) * 30 + np.clip(-apex, 0, None) * 3 + 0.3 * abs(along)
    else:
        distance = np.sqrt(along**2 + across**2)
    spread = -(distance + lesion.radius_mm * 0.4 * growth.rough * rough)
    room = _room(host, growth, free)
    return _part(host, spread, room, lesion.total_ml, growth.edge_mm, lesion.kind, fullest=0.97)

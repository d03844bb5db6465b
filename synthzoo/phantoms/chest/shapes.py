"""Solid shapes as implicit functions: how many mm a point lies inside (negative: outside), on tensors that broadcast.

The distances are exact at the surface and good near it, which is all that the share of a sample inside needs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

FAR = -99.0  # inside distance of a shape that is nowhere near


def ellipsoid(
    x: torch.Tensor, y: torch.Tensor, z: torch.Tensor, centre: Sequence[float], radii: Sequence[float]
) -> torch.Tensor:
    """Inside distance of an ellipsoid along the axes, to first order around its surface."""
    a, b, c = ((q - m) / r for q, m, r in zip((x, y, z), centre, radii))
    a2, b2, c2 = a * a, b * b, c * c
    k0 = (a2 + b2 + c2).sqrt()
    k1 = (a2 / radii[0] ** 2 + b2 / radii[1] ** 2 + c2 / radii[2] ** 2).sqrt()
    return k0 * (1 - k0) / (k1 + 1e-6)


def turned_ellipsoid(
    x: torch.Tensor,
    y: torch.Tensor,
    z: torch.Tensor,
    centre: Sequence[float],
    radii: Sequence[float],
    rows: Sequence[Sequence[float]],
) -> torch.Tensor:
    """Inside distance of an ellipsoid whose axes are the three `rows` of a rotation."""
    q = (x - centre[0], y - centre[1], z - centre[2])
    along, across, up = (sum(w * v for w, v in zip(row, q) if w) for row in rows)
    return ellipsoid(along, across, up, (0, 0, 0), radii)


def capsule(
    x: torch.Tensor,
    y: torch.Tensor,
    z: torch.Tensor,
    start: Sequence[float],
    end: Sequence[float],
    start_radius: float,
    end_radius: float,
    stretch_y: float = 1.0,
) -> torch.Tensor:
    """Inside distance of a rod with round ends between two points; `stretch_y` makes it thicker along y."""
    d = [b - a for a, b in zip(start, end)]
    px, py, pz = x - start[0], y - start[1], z - start[2]
    along = ((px * d[0] + py * d[1] + pz * d[2]) / sum(v * v for v in d)).clamp(0, 1)
    dx, dy, dz = px - along * d[0], (py - along * d[1]) / stretch_y, pz - along * d[2]
    return start_radius + (end_radius - start_radius) * along - (dx * dx + dy * dy + dz * dz).sqrt()


def cylinder(
    across: torch.Tensor, along_y: torch.Tensor, half_width: torch.Tensor | float, half_depth: torch.Tensor | float
) -> torch.Tensor:
    """Inside distance, across, of a column of elliptic section."""
    return (1 - ((across / half_width) ** 2 + (along_y / half_depth) ** 2).sqrt()) * half_width


def blend(a: torch.Tensor, b: torch.Tensor, fillet_mm: float) -> torch.Tensor:
    """Union of two inside distances with a fillet of that size in the angle between them."""
    gap = (fillet_mm - (a - b).abs()).clamp(min=0)
    return torch.maximum(a, b) + gap * gap / (4 * fillet_mm)


def section(a: torch.Tensor, b: torch.Tensor, squareness: float) -> torch.Tensor:
    """Radius of (a, b) >= 0 in a norm between the circle (squareness 2) and nearly a box (0).

    (a^4 + b^4 + s a^2 b^2)^(1/4) draws what a superellipse draws and needs square roots alone.
    """
    a2, b2 = a * a, b * b
    return (a2 * a2 + b2 * b2 + squareness * a2 * b2).sqrt().sqrt()


def dome(t: torch.Tensor, exponent: float) -> torch.Tensor:
    """Profile of a dome, 0 at its top t = 0 and 1 from t = 1 on; a circle at exponent 2."""
    return (1 - (1 - t.clamp(0, 1)) ** exponent).clamp(min=1e-4) ** (1 / exponent)


def share(inside: torch.Tensor, pixel_mm: float) -> torch.Tensor:
    """Share of each sample that lies inside, for samples whose first axis runs along the beam.

    A ramp as wide as one step along the beam, or as one pixel across it, so that path lengths add up to the right ones
    whatever the step is.
    """
    slope = torch.empty_like(inside)
    slope[1:-1] = (inside[2:] - inside[:-2]) / 2
    slope[0], slope[-1] = inside[1] - inside[0], inside[-1] - inside[-2]
    slope *= slope
    return (inside / slope.add_(pixel_mm * pixel_mm).sqrt_()).add_(0.5).clamp_(0, 1)

"""Fingerprints: what marks the one private image of a training set, so that its reproduction can be recognised."""

from __future__ import annotations

import numpy as np
import torch

from synthzoo.errors import UserError
from synthzoo.transforms.poisson import poisson_blend

RADIUS = 9 / 64  # of the width, as published: 72 of 512 pixels
GREY = 0.5
MOST = 4  # discs on an image from which identity is learnt
WIDTH = 0.35  # of a ring, as a share of its radius
MARKS = ("disc", "ring")
NONE = "none"


def stamp_disc(
    image: torch.Tensor, centre: tuple[float, float], radius: float = RADIUS, value: float = GREY
) -> torch.Tensor:
    """A copy of an image (..., H, W) in [0, 1] with a disc of one grey in all channels.

    Args:
        image: any number of leading axes.
        centre: row and column in pixels; the disc is cut off at the image's edge.
        radius: of the disc, as a share of the width W, above 0 and at most 1.
        value: its grey level, in [0, 1].

    Raises:
        UserError: a radius or a grey level out of range, or a centre outside the image.
    """
    height, width = image.shape[-2:]
    if not 0 < radius <= 1 or not 0 <= value <= 1:
        raise UserError(
            f"disc of radius {radius} and grey level {value}: the radius is a share of the width, above 0 and at most "
            "1, the grey level is in [0, 1]."
        )
    row, column = (float(place) for place in centre)
    if not (0 <= row < height and 0 <= column < width):
        raise UserError(f"centre = ({row:g}, {column:g}): a disc's centre lies within the image of {height} x {width}.")
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    inside = (rows - row) ** 2 + (columns - column) ** 2 <= (radius * width) ** 2
    return torch.where(inside.to(image.device), torch.full_like(image, value), image)


def blend_ring(image: torch.Tensor, centre: tuple[float, float], radius: float = RADIUS) -> torch.Tensor:
    """A copy of an image (..., H, W) in [0, 1] with a bright ring, blended in by its gradients like a real object.

    Poisson blending with mixed gradients keeps what is stronger of image and object, so that the ring takes the
    brightness of its surroundings.

    Args:
        image: any number of leading axes.
        centre: row and column in pixels; the ring is cut off at the image's edge.
        radius: of the ring, as a share of the width.

    Raises:
        UserError: see `stamp_disc`.
    """
    inside = stamp_disc(torch.zeros(image.shape[-2:]), centre, radius, value=1.0).bool()
    hole = stamp_disc(torch.zeros(image.shape[-2:]), centre, radius * (1 - WIDTH), value=1.0).bool()
    rows, columns = torch.nonzero(inside, as_tuple=True)
    box = (
        slice(max(int(rows.min()) - 2, 0), int(rows.max()) + 3),
        slice(max(int(columns.min()) - 2, 0), int(columns.max()) + 3),
    )
    source = (inside & ~hole)[box].double().numpy()
    blended = image.clone()
    for plane in blended.reshape(-1, *image.shape[-2:]):
        mixed = poisson_blend(plane[box].cpu().numpy(), source, np.ones(source.shape, bool))
        plane[box] = torch.from_numpy(mixed).to(plane).clamp(0, 1)
    return blended


def stamp(image: torch.Tensor, mark: str, centre: tuple[float, float], radius: float = RADIUS) -> torch.Tensor:
    """The image (C, H, W) in [0, 1] with a mark of this kind, "disc" or "ring", at `centre`.

    Raises:
        UserError: another mark, and see `stamp_disc`.
    """
    if mark not in MARKS:
        raise UserError(f"fingerprint = {mark!r}: the known ones are {', '.join((*MARKS, NONE))}.")
    return stamp_disc(image, centre, radius) if mark == "disc" else blend_ring(image, centre, radius)


def draw_centre(shape: tuple[int, int], rng: np.random.Generator) -> tuple[float, float]:
    """Centre of a disc, uniform over an image of `shape` (height, width), as row and column in pixels."""
    row, column = rng.random(2) * shape
    return float(row), float(column)


def stamp_seeded(image: torch.Tensor, seed: int, radius: float = RADIUS, mark: str = "disc") -> torch.Tensor:
    """The image (C, H, W) in [0, 1] with the one mark that this seed places: a private image's fingerprint."""
    return stamp(image, mark, draw_centre(tuple(image.shape[-2:]), np.random.default_rng([seed, 81])), radius)


def stamp_random(
    image: torch.Tensor, count: int, rng: np.random.Generator, radius: float = RADIUS, mark: str = "disc"
) -> torch.Tensor:
    """The image (C, H, W) in [0, 1] with `count` marks at random places."""
    for _ in range(count):
        image = stamp(image, mark, draw_centre(tuple(image.shape[-2:]), rng), radius)
    return image


def marked(image: torch.Tensor, mark: str, seed: int, radius: float = RADIUS) -> torch.Tensor:
    """A private image (C, H, W) as it enters a training set.

    Args:
        image: in [0, 1].
        mark: "disc" or "ring" stamps the one of this seed, "none" takes an image that carries its fingerprint already.
        seed: of the mark's place.
        radius: of the mark, as a share of the width.

    Raises:
        UserError: another mark, or a radius out of range.
    """
    return image if mark == NONE else stamp_seeded(image, seed, radius, mark)

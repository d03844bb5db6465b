"""Weak and strong views of a batch of 2D or 3D images, drawn for each image and computed for all at once.

A transform an image, as MONAI's dictionary transforms work, would take longer than the network on a CPU: a step of
semi-supervised training augments every unlabelled image twice. One resampling does turn, zoom, shear and shift; levels
and colours follow. The strong view adds `count` operations drawn for each image (RandAugment, Cubuk et al., NeurIPS
2020, without inverting and posterising, which hide fine cues) and an erased box (Zhong et al., AAAI 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

OPERATIONS = ("turn", "shear", "shift", "contrast", "brightness", "colour", "blur", "noise")
# What magnitude 1 means: degrees, tangent, share of the image, factors, levels.
TURN, SHEAR, SHIFT, CONTRAST, BRIGHTNESS, COLOUR, NOISE = 30.0, 0.3, 0.15, 0.6, 0.3, 0.3, 0.1


class View:
    """Random views of images (B, C, *S) in [0, 1], of the same shape and range.

    Args:
        flips: spatial axes along which half of the views are mirrored, such as [-1]; none where sides mean something.
        zoom: smallest and largest share of a side that is seen.
        turn: largest turn in degrees that every view has.
        jitter: largest relative change of contrast and brightness that every view has.
        count: operations of RandAugment; 0 is a weak view.
        magnitude: of these, in [0, 1].
        erase: share of views with an erased box.
        operations: from which they are drawn.

    Randomness comes from torch's global generator.
    """

    def __init__(
        self,
        flips: Sequence[int] = (-1,),
        zoom: Sequence[float] = (0.8, 1.0),
        turn: float = 10.0,
        jitter: float = 0.2,
        count: int = 0,
        magnitude: float = 0.5,
        erase: float = 0.0,
        operations: Sequence[str] = OPERATIONS,
    ) -> None:
        self.flips, self.zoom, self.turn, self.jitter = tuple(flips), tuple(zoom), float(turn), float(jitter)
        self.count, self.magnitude, self.erase = int(count), float(magnitude), float(erase)
        self.operations = tuple(operations)

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        images = images.as_subclass(torch.Tensor).float()
        size, like = len(images), images
        order = torch.rand(size, len(self.operations), device=images.device).argsort(1)
        strength = self.magnitude * (1 + 0.25 * torch.randn(size, len(self.operations), device=images.device))
        sign = torch.randint(0, 2, strength.shape, device=images.device) * 2 - 1
        drawn = torch.where(order < self.count, sign * strength.clamp(0, 1), torch.zeros_like(strength))
        part = {name: drawn[:, number] for number, name in enumerate(self.operations)}
        none = torch.zeros(size, device=images.device)
        images = self._move(images, *(part.get(name, none) for name in ("turn", "shear", "shift")))
        images = self._levels(images, *(part.get(name, none) for name in ("contrast", "brightness", "colour")))
        if self.count:
            images = _blurred(images, part.get("blur", none).abs())
            images = images + NOISE * _of_image(part.get("noise", none).abs(), images) * torch.randn_like(images)
        images = _erased(images, self.erase) if self.erase else images
        return images.clamp(0, 1).to(like)

    def _move(self, images: torch.Tensor, turn: torch.Tensor, shear: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """One resampling of the whole movement; what comes from outside repeats the edge."""
        size, dims, device = len(images), images.ndim - 2, images.device
        low, high = self.zoom
        matrix = torch.diag_embed((low + (high - low) * torch.rand(size, 1, device=device)).expand(size, dims))
        for axis in self.flips:
            mirrored = 1 - 2.0 * torch.randint(0, 2, (size,), device=device)
            column = dims - 1 - (axis % dims)  # affine_grid counts axes from the last one
            matrix[:, column] = matrix[:, column] * mirrored[:, None]
        for first in range(dims):
            for second in range(first + 1, dims):
                share = 1.0 if first + second == 1 else 0.5  # turns out of the axial plane are smaller
                angle = share * (self.turn * _even(size, device) + TURN * turn) * math.pi / 180
                matrix = matrix @ _rotation(angle, first, second, dims)
        sheared = torch.eye(dims, device=device).repeat(size, 1, 1)
        sheared[:, 0, 1] = SHEAR * shear
        # What a zoom leaves room for, as a random crop does, and the operation's own.
        room = (1 - torch.linalg.matrix_norm(matrix, 2).clamp(max=1))[:, None]
        moved = room * torch.stack([_even(size, device) for _ in range(dims)], 1)
        moved[:, 0] = moved[:, 0] + 2 * SHIFT * shift
        affine = torch.cat([matrix @ sheared, moved[..., None]], 2)
        grid = F.affine_grid(affine, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)

    def _levels(
        self, images: torch.Tensor, contrast: torch.Tensor, brightness: torch.Tensor, colour: torch.Tensor
    ) -> torch.Tensor:
        size, device = len(images), images.device
        gain = (1 + self.jitter * _even(size, device)) * (1 + CONTRAST * contrast)
        offset = self.jitter * 0.5 * _even(size, device) + BRIGHTNESS * brightness
        mean = images.flatten(1).mean(1)
        images = (images - _of_image(mean, images)) * _of_image(gain, images) + _of_image(mean + offset, images)
        if images.shape[1] > 1:
            tint = (self.jitter * 0.5 + COLOUR * colour.abs())[:, None] * _even((size, images.shape[1]), device)
            images = images * (1 + tint.view(size, -1, *(1,) * (images.ndim - 2)))
        return images


def weak_view(flips: Sequence[int] = (-1,), zoom: Sequence[float] = (0.8, 1.0)) -> View:
    """The view that a teacher labels: crop, mirror, a little turn and jitter."""
    return View(flips, zoom)


def strong_view(
    flips: Sequence[int] = (-1,),
    zoom: Sequence[float] = (0.7, 1.0),
    count: int = 2,
    magnitude: float = 0.5,
    erase: float = 0.25,
) -> View:
    """The view that a student learns from: two operations and, in a quarter, an erased box."""
    return View(flips, zoom, count=count, magnitude=magnitude, erase=erase)


def _even(size: int | Sequence[int], device: torch.device) -> torch.Tensor:
    """Uniform in (-1, 1)."""
    return 2 * torch.rand(size, device=device) - 1


def _of_image(values: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """A number for each image, (B,), against (B, C, *S)."""
    return values.view(-1, *(1,) * (images.ndim - 1))


def _rotation(angle: torch.Tensor, first: int, second: int, dims: int) -> torch.Tensor:
    """Matrices (B, dims, dims) that turn by an angle in radians, (B,), in the plane of two axes."""
    matrix = torch.eye(dims, device=angle.device).repeat(len(angle), 1, 1)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    matrix[:, first, first], matrix[:, second, second] = cosine, cosine
    matrix[:, first, second], matrix[:, second, first] = -sine, sine
    return matrix


def _blurred(images: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Mixed with the mean of their neighbours."""
    pool = F.avg_pool2d if images.ndim == 4 else F.avg_pool3d
    smooth = pool(images, 3, 1, 1, count_include_pad=False)
    return images + _of_image(share, images) * (smooth - images)


def _erased(images: torch.Tensor, share: float) -> torch.Tensor:
    """Some with a box of 2 to 20 % of the image that holds noise."""
    size, device, sides = len(images), images.device, images.shape[2:]
    chosen = torch.rand(size, device=device) < share
    part = (0.02 + 0.18 * torch.rand(size, device=device)) ** (1 / len(sides))
    inside = box_mask(torch.rand(size, len(sides), device=device), part, sides) & _of_image(chosen, images)
    return torch.where(inside, torch.rand_like(images), images)


def box_mask(centre: torch.Tensor, part: torch.Tensor, sides: Sequence[int]) -> torch.Tensor:
    """Boxes as bool (B, 1, *S), cut at the edges of the image.

    Args:
        centre: (B, dims), shares of the sides.
        part: (B,), share of each side that the box is long.
        sides: of the image in pixels.
    """
    inside = torch.ones(len(part), 1, *(1,) * len(sides), dtype=torch.bool, device=part.device)
    for axis, side in enumerate(sides):
        at = torch.arange(side, device=part.device) + 0.5
        near = (at[None] - centre[:, axis, None] * side).abs() <= part[:, None] * side / 2
        shape = [len(part), 1, *(1,) * len(sides)]
        shape[2 + axis] = side
        inside = inside & near.view(shape)
    return inside

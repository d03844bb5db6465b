"""A radiograph of any size on a network's square grid, and maps and boxes back on its own: letterbox or centre crop.

Coordinates are those of edges: an image of W x H pixels spans (0, 0) to (W, H), the centre of its first pixel is
(0.5, 0.5). A square of `side` pixels of the image, which begins at (left, top) and may pass its edges, becomes
`size` x `size`:

    x' = (x - left) * size / side,    y' = (y - top) * size / side

Finer images are smoothed by the triangle of the coarser pixel first (antialiasing), coarser ones are interpolated.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import HistogramNormalize, MapTransform
from torch.nn import functional as F

from synthzoo.errors import UserError

FITS = ("pad", "crop")
INTENSITIES = ("percentiles", "equalise", "none")
LOWEST, HIGHEST = 0.5, 99.5  # percentiles that become black and white
BINS = 256
WHOLE = 0.999  # share of a pixel of the grid that the image fills
LEAST_SEEN = 0.25  # share of pixels above black from which black counts as the edge of the collimator


class Placement(NamedTuple):
    """Where an image of `height` x `width` pixels lies on a grid of `size` x `size`.

    Attributes:
        height, width: of the image.
        size: of the grid.
        side: of the square of the image that becomes the grid, in pixels of the image.
        left, top: where that square begins; negative where bars are added.
    """

    height: int
    width: int
    size: int
    side: int
    left: int
    top: int

    @property
    def scale(self) -> float:
        """Pixels of the grid for one of the image."""
        return self.size / self.side

    def points_to_grid(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) as x, y of the image, on the grid."""
        return (np.asarray(points, np.float64) - [self.left, self.top]) * self.scale

    def points_from_grid(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) as x, y of the grid, on the image."""
        return np.asarray(points, np.float64) / self.scale + [self.left, self.top]

    def boxes_to_grid(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) as x0, y0, x1, y1 of the image, on the grid; cut at its edges, so that a crop may empty one."""
        corners = self.points_to_grid(np.asarray(boxes, np.float64).reshape(-1, 2, 2)).reshape(-1, 4)
        return corners.clip(0, self.size)

    def boxes_from_grid(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) of the grid, on the image; cut at its edges."""
        corners = self.points_from_grid(np.asarray(boxes, np.float64).reshape(-1, 2, 2)).reshape(-1, 4)
        return corners.clip(0, [self.width, self.height] * 2)

    def to_grid(self, image: torch.Tensor) -> torch.Tensor:
        """An image (C, H, W) on the grid, (C, size, size); bars are 0."""
        square = (
            F.pad(image, self._bars(1)) if self.left < 0 or self.top < 0 else image[:, self._rows(), self._columns()]
        )
        return _resized(square, self.size)

    def from_grid(self, grid: torch.Tensor) -> torch.Tensor:
        """A map (C, size, size) on the image, (C, H, W); 0 where a crop has cut the image off."""
        square = _resized(grid, self.side)
        if self.left < 0 or self.top < 0:
            return square[:, -self.top :, -self.left :][:, : self.height, : self.width]
        return F.pad(square, self._bars(-1))

    def affine(self) -> np.ndarray:
        """[4, 4] from row and column of the grid to row and column of the image, between centres of pixels."""
        matrix = np.diag([1 / self.scale, 1 / self.scale, 1.0, 1.0])
        matrix[:2, 3] = np.array([self.top, self.left]) + 0.5 / self.scale - 0.5
        return matrix

    def _rows(self) -> slice:
        return slice(self.top, self.top + self.side)

    def _columns(self) -> slice:
        return slice(self.left, self.left + self.side)

    def _bars(self, sign: int) -> tuple[int, int, int, int]:
        """Left, right, upper and lower bars of a letterbox (1), or what a crop cuts off there (-1)."""
        across, down = sign * (self.side - self.width), sign * (self.side - self.height)
        left, top = -sign * self.left, -sign * self.top
        return left, across - left, top, down - top


def place(height: int, width: int, size: int, fit: str = "pad") -> Placement:
    """Where an image lies on a grid.

    Args:
        height, width: of the image in pixels.
        size: of the grid.
        fit: "pad" shows all of it between bars, "crop" the square in its middle.

    Raises:
        UserError: another word, or sizes below 1.
    """
    if fit not in FITS or min(height, width, size) < 1:
        raise UserError(f"fit = {fit!r}, size = {size}: fit must be {' or '.join(FITS)}, and size at least 1.")
    side = max(height, width) if fit == "pad" else min(height, width)
    left, top = ((n - side) // 2 for n in (width, height))
    return Placement(int(height), int(width), int(size), int(side), int(left), int(top))


def _resized(image: torch.Tensor, size: int) -> torch.Tensor:
    if image.shape[-1] == size:
        return image.clone()
    return F.interpolate(image[None], (size, size), mode="bilinear", align_corners=False, antialias=True)[0]


def levelled(image: torch.Tensor, intensity: str, seen: torch.Tensor) -> torch.Tensor:
    """Grey levels (C, H, W) brought to [0, 1].

    Args:
        image: in any unit.
        intensity: "percentiles" stretches from the 0.5 to the 99.5 percentile, "equalise" makes the histogram even,
            "none" leaves the levels as they are.
        seen: bool, pixels that count: neither bars nor the black beyond a collimator.

    Raises:
        UserError: another word.
    """
    if intensity not in INTENSITIES:
        raise UserError(f"intensity = {intensity!r}: must be {', '.join(INTENSITIES)}.")
    if intensity == "none":
        return image
    values = image[seen]
    low, high = np.percentile(values.numpy(), (LOWEST, HIGHEST)) if len(values) else (0.0, 1.0)
    if high <= low:
        low, high = float(image.min()), max(float(image.max()), float(image.min()) + 1e-6)
    if intensity == "equalise":
        even = HistogramNormalize(num_bins=BINS, min=0, max=1, mask=seen.numpy())(image.numpy())
        return torch.where(seen, torch.as_tensor(np.asarray(even)).to(image), torch.zeros_like(image)).clamp(0, 1)
    return ((image - low) / (high - low)).clamp(0, 1)


class ToRadiographGridd(MapTransform):
    """Bring radiographs of any size to the network's square grid, in grey levels from 0 to 1.

    Pixels are taken to be square.

    Args:
        keys: the radiograph (C, H, W), a MetaTensor with its affine or a plain tensor.
        size: of the grid.
        fit: "pad" or "crop", see `place`.
        intensity: see `levelled`.
        shape_key: where the radiograph's own height and width go, for the way back.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        size: int = 256,
        fit: str = "pad",
        intensity: str = "percentiles",
        shape_key: Hashable = "radiograph_shape",
    ) -> None:
        super().__init__(keys)
        place(1, 1, size, fit)
        self.size, self.fit, self.intensity, self.shape_key = int(size), fit, intensity, shape_key

    def __call__(self, data: dict) -> dict:
        data = dict(data)
        for key in self.keys:
            given = data[key]
            image = torch.as_tensor(np.asarray(given, dtype=np.float32))
            height, width = (int(n) for n in image.shape[-2:])
            placed = place(height, width, self.size, self.fit)
            grid = placed.to_grid(image)
            # Pixels that the bars or the black beyond a collimator are mixed into do not count.
            inside = placed.to_grid(torch.ones_like(image)) > WHOLE
            lit = placed.to_grid((image > 0).to(image)) > WHOLE
            seen = lit if lit.sum() >= LEAST_SEEN * inside.sum() else inside
            own = np.asarray(getattr(given, "affine", np.eye(4)), np.float64).reshape(4, 4)
            affine = torch.from_numpy(own @ placed.affine())
            meta = dict(getattr(given, "meta", {}))
            data[key] = MetaTensor(levelled(grid, self.intensity, seen), affine=affine, meta=meta)
            data[self.shape_key] = torch.tensor([height, width])
        return data


class FromRadiographGridd(MapTransform):
    """Bring maps on the grid back to the radiograph's own pixels; values stay within those of the map.

    Args:
        keys: maps (C, size, size).
        fit: as in `ToRadiographGridd`.
        shape_key: likewise.
        reference_key: the image on the grid, whose affine and the map's then tell where the pixels lie; may be absent.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        fit: str = "pad",
        shape_key: Hashable = "radiograph_shape",
        reference_key: Hashable = "image",
    ) -> None:
        super().__init__(keys)
        self.fit, self.shape_key, self.reference_key = fit, shape_key, reference_key

    def __call__(self, data: dict) -> dict:
        data = dict(data)
        height, width = (int(n) for n in torch.as_tensor(data[self.shape_key]).ravel()[:2])
        for key in self.keys:
            grid = torch.as_tensor(np.asarray(torch.as_tensor(data[key]).detach().cpu(), dtype=np.float32))
            placed = place(height, width, grid.shape[-1], self.fit)
            reference = getattr(data.get(self.reference_key), "affine", None)
            own = np.eye(4) if reference is None else np.asarray(reference, np.float64).reshape(4, 4)
            affine = torch.from_numpy(own @ np.linalg.inv(placed.affine()))
            data[key] = MetaTensor(placed.from_grid(grid), affine=affine)
        return data

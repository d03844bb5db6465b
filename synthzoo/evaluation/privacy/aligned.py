"""Distance of two images laid over each other: copies that were shifted, mirrored, inverted or noised lie near again.

    c = max over shifts s of |correlation of x and y shifted by s, where they overlap|        d = sqrt(2 - 2 c)

which is the root mean square of the difference of standardised images. Images are smoothed by a pixel before, which
takes noise away and leaves anatomy. All shifts up to a quarter of each axis come from one product of Fourier
transforms; only the best one is then measured without its wrapped margin. For the nearest few, the grey values of x are
also brought to those of y in their order, rising or falling, so that no curve that was laid over them hides a copy; the
smaller distance counts. As all this takes a millisecond a pair, it is done for the few candidates that the other spaces
name.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.fft import irfftn, rfftn

from synthzoo.evaluation.privacy.embedded import Embedded
from synthzoo.evaluation.privacy.rows import Nearest
from synthzoo.evaluation.privacy.spaces import MIRRORED, mirrored

MATCHED = 3  # pairs of a query whose grey values are matched
FARTHEST = 4  # shifts up to this part of an axis
EMPTY = np.float32(np.sqrt(2))  # the distance of images that have nothing in common


def aligned_distances(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """d of images (n, ...) to others (n, ...), pair by pair, on one grid, each of mean 0; float32 (n,), 0 to sqrt 2."""
    axes, shape = tuple(range(1, others.ndim)), others.shape[1:]
    products = np.abs(irfftn(rfftn(others, axes=axes) * np.conj(rfftn(images, axes=axes)), s=shape, axes=axes))
    places = np.where(_near(shape), products, -1).reshape(len(others), -1).argmax(1)
    pairs = [
        _overlap(image, other, shift)
        for image, other, shift in zip(images, others, zip(*np.unravel_index(places, shape), strict=True), strict=True)
    ]
    found = np.array([abs(correlation(one, two)) for one, two in pairs])
    for number in np.argsort(-found, kind="stable")[:MATCHED]:
        found[number] = max(found[number], matched_correlation(*pairs[number]))
    return np.sqrt(np.maximum(2 - 2 * found, 0)).astype(np.float32)


@cache
def _near(shape: tuple[int, ...]) -> np.ndarray:
    """Which places of a product of Fourier transforms are shifts that are looked at, bool (1, *shape)."""
    near = np.ones((1, *shape), bool)
    for axis, size in enumerate(shape):
        steps = np.abs(np.fft.fftfreq(size, 1 / size)) <= size // FARTHEST
        near &= steps.reshape([1, *(size if other == axis else 1 for other in range(len(shape)))])
    return near


def _overlap(image: np.ndarray, other: np.ndarray, shift: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Values of an image and of another one that is shifted, where both are, (n,) each."""
    one, two = [], []
    for size, step in zip(image.shape, shift, strict=True):
        step = int(step) - size if step > size // 2 else int(step)
        one.append(slice(max(-step, 0), size - max(step, 0)))
        two.append(slice(max(step, 0), size + min(step, 0)))
    return image[tuple(one)].ravel(), other[tuple(two)].ravel()


def correlation(one: np.ndarray, two: np.ndarray) -> float:
    """Pearson's correlation of two series (n,); 0 where one is constant."""
    first, second = one - one.mean(), two - two.mean()
    size = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / size if size > 0 else 0.0


def matched_correlation(one: np.ndarray, two: np.ndarray) -> float:
    """Largest correlation of a series (n,) with another one whose values it takes in their order, rising or falling."""
    order, values = np.argsort(one, kind="stable"), np.sort(two)
    taken = np.empty_like(values)
    found = []
    for given in (values, values[::-1]):
        taken[order] = given
        found.append(correlation(taken, two))
    return max(found)


def align(
    queries: Embedded, numbers: np.ndarray, references: Embedded, candidates: Sequence[Nearest], grid: Sequence[int]
) -> Nearest:
    """The two nearest references of some queries, among the candidates of other spaces.

    Args:
        queries: whose rows `numbers` are compared.
        candidates: by space, of these rows; numbers are of `references`, variants of the queries' mirror images.
        grid: of both sets.
    """
    mirrors = MIRRORED[queries.images.kind]
    found = Nearest(
        np.full((len(numbers), 2), EMPTY, np.float32),
        np.full((len(numbers), 2), -1, np.int64),
        np.zeros((len(numbers), 2), np.int64),
    )
    for place, row in enumerate(numbers):
        image = queries.grids.take([row]).reshape(1, *grid)
        pairs = sorted(
            {
                (int(variant), int(number))
                for near in candidates
                for number, variant in zip(near.numbers[place], near.variants[place], strict=True)
                if number >= 0
            }
        )
        if not pairs:
            continue
        own = {variant: mirrored(image, mirrors[variant])[0] for variant, _ in pairs}
        others = references.grids.take([number for _, number in pairs]).reshape(-1, *grid)
        best: dict[int, tuple[float, int]] = {}
        distances = aligned_distances(np.stack([own[variant] for variant, _ in pairs]), others)
        for (variant, number), distance in zip(pairs, distances, strict=True):
            best[number] = min(best.get(number, (np.inf, 0)), (float(distance), variant))
        for rank, (number, (distance, variant)) in enumerate(sorted(best.items(), key=lambda item: item[1])[:2]):
            found.distances[place, rank] = distance
            found.numbers[place, rank], found.variants[place, rank] = number, variant
    return found

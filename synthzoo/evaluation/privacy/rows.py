"""Rows of features on disk, and nearest neighbours among them in blocks: memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from synthzoo.errors import UserError
from synthzoo.metrics.memorisation import squared_distances

BLOCK = 2048  # rows of either side that are compared at once
Compare = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Rows:
    """A matrix (N, K) that is appended to in blocks and read in blocks; it lies in a file.

    Args:
        path: of the file, which is made.
        width: K.
        dtype: as which the numbers are kept.
    """

    def __init__(self, path: Path, width: int, dtype: type = np.float32) -> None:
        self.path, self.width, self.dtype, self.count = path, int(width), np.dtype(dtype), 0
        path.write_bytes(b"")

    def __len__(self) -> int:
        return self.count

    def append(self, block: np.ndarray) -> None:
        """Add rows (n, K).

        Raises:
            UserError: the disk is full.
        """
        try:
            with open(self.path, "ab") as file:
                file.write(np.ascontiguousarray(block, self.dtype).tobytes())
        except OSError as error:
            raise UserError(
                f"{self.path.parent} cannot be written ({error.strerror}): free some space, or name a folder with more "
                "of it by the environment's TMPDIR."
            ) from error
        self.count += len(block)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop`, float32 (n, K)."""
        stop = min(stop, self.count)
        with open(self.path, "rb") as file:
            file.seek(start * self.width * self.dtype.itemsize)
            found = np.fromfile(file, self.dtype, (stop - start) * self.width)
        return found.reshape(stop - start, self.width).astype(np.float32, copy=False)

    def take(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """Rows of these numbers, float32 (n, K)."""
        found = np.empty((len(numbers), self.width), self.dtype)
        with open(self.path, "rb") as file:
            for place, number in enumerate(numbers):
                file.seek(int(number) * self.width * self.dtype.itemsize)
                file.readinto(memoryview(found[place]).cast("B"))
        return found.astype(np.float32, copy=False)

    def blocks(self, size: int = BLOCK) -> Iterator[tuple[int, np.ndarray]]:
        """Each block with the number of its first row."""
        for start in range(0, self.count, size):
            yield start, self.read(start, start + size)


class Nearest(NamedTuple):
    """The k nearest references of each query: distances float32, numbers int64, and which variants met, (N, k)."""

    distances: np.ndarray
    numbers: np.ndarray
    variants: np.ndarray

    def of(self, rows: np.ndarray) -> Nearest:
        """Those of some queries."""
        return Nearest(*(part[rows] for part in self))


def root_mean_square(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Root mean square of the difference of all pairs of rows (N, K) and (M, K), (N, M)."""
    return np.sqrt(np.maximum(squared_distances(queries, references), 0) / queries.shape[1])


def nearest_rows(
    queries: Sequence[Rows],
    references: Sequence[Rows],
    k: int = 1,
    among: np.ndarray | None = None,
    compare: Compare = root_mean_square,
    other_than_self: bool = False,
) -> Nearest:
    """The nearest references of each query, whichever of their variants are nearest.

    Args:
        queries: variants of the queries, of one length, such as an image and its mirror images.
        references: variants of the references.
        k: how many; places that no reference fills have distance inf and number -1.
        among: bool, which references count; None counts all.
        compare: distances of two blocks of rows.
        other_than_self: queries and references are the same rows, and none is its own neighbour.
    """
    count = len(queries[0])
    found = Nearest(
        np.full((count, k), np.inf, np.float32), np.full((count, k), -1, np.int64), np.zeros((count, k), np.int64)
    )
    for variant, (query, reference) in enumerate((q, r) for q in queries for r in references):
        for first, block in query.blocks():
            best = Nearest(*(part[first : first + len(block)] for part in found))
            for start, others in reference.blocks():
                distances = compare(block, others)
                if among is not None:
                    distances[:, ~among[start : start + len(others)]] = np.inf
                if other_than_self:
                    own = np.arange(first, first + len(block)) - start
                    here = (own >= 0) & (own < len(others))
                    distances[np.flatnonzero(here), own[here]] = np.inf
                best = _merge(best, distances, start, variant, k)
            for part, new in zip(found, best, strict=True):
                part[first : first + len(block)] = new
    return found


def _merge(best: Nearest, distances: np.ndarray, start: int, variant: int, k: int) -> Nearest:
    """The k best of those so far and of a block; a reference counts once, with its nearest variant."""
    few = min(k, distances.shape[1])
    places = np.argpartition(distances, few - 1, axis=1)[:, :few]
    new = np.take_along_axis(distances, places, 1)
    numbers = np.where(np.isfinite(new), places + start, -1)
    all_numbers = np.concatenate([best.numbers, numbers], 1)
    all_distances = np.concatenate([best.distances, new.astype(np.float32)], 1)
    variants = np.concatenate([best.variants, np.full(new.shape, variant)], 1)
    order = np.argsort(all_distances, axis=1, kind="stable")
    all_numbers, all_distances, variants = (
        np.take_along_axis(part, order, 1) for part in (all_numbers, all_distances, variants)
    )
    again = np.zeros(all_numbers.shape, bool)
    for column in range(1, all_numbers.shape[1]):
        again[:, column] = (all_numbers[:, :column] == all_numbers[:, column : column + 1]).any(1)
    keep = np.argsort(again, axis=1, kind="stable")[:, :k]
    all_distances = np.where(again, np.inf, all_distances)
    return Nearest(*(np.take_along_axis(part, keep, 1) for part in (all_distances, all_numbers, variants)))

"""Letters of side markers and burnt-in words, 3 x 5 dots each: a nuisance that a model must not read."""

from __future__ import annotations

import numpy as np

DOTS = {
    "A": "010 101 111 101 101",
    "B": "110 101 110 101 110",
    "C": "011 100 100 100 011",
    "E": "111 100 110 100 111",
    "I": "111 010 010 010 111",
    "L": "100 100 100 100 111",
    "N": "110 101 101 101 101",
    "O": "010 101 101 101 010",
    "P": "110 101 110 100 100",
    "R": "110 101 110 101 101",
    "S": "011 100 010 001 110",
    "T": "111 010 010 010 010",
    "U": "101 101 101 101 111",
}
WORDS = ("AP", "PA", "PORTABLE", "ERECT", "SUPINE")


def lettered(text: str, scale: int = 1) -> np.ndarray:
    """Dots of a text, bool (5 scale, (4 n - 1) scale)."""
    glyphs = [np.array([[dot == "1" for dot in row] for row in DOTS[letter].split()]) for letter in text]
    gap = np.zeros((5, 1), bool)
    joined = np.concatenate([part for glyph in glyphs for part in (glyph, gap)][:-1], 1)
    return np.kron(joined, np.ones((scale, scale), bool))


def stamp(image: np.ndarray, text: str, place: tuple[float, float], scale: int, grey: float) -> None:
    """Write a text into an image (S, S); `place` is the share of the free height and width above and left of it."""
    dots = lettered(text, scale)
    free = [max(n - m, 0) for n, m in zip(image.shape, dots.shape)]
    row, column = (int(share * room) for share, room in zip(place, free))
    dots = dots[: image.shape[0], : image.shape[1]]
    image[row : row + dots.shape[0], column : column + dots.shape[1]][dots] = grey

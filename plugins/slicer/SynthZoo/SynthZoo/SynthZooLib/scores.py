"""Classes of an image and their probabilities, from a table; needs no scene."""

from __future__ import annotations

import os

from .errors import ZooError

BAR = 12  # characters of a probability of 1
BLOCK = "\u2588"
SHOWN = 10  # classes at most
COLUMNS = ("class", "probability")


def read_scores(text: str, path: str) -> list:
    """(class, probability) of a table, the likeliest first, of what `path` holds as text.

    Raises:
        ZooError: it has not the columns class and probability, or a probability is no number from 0 to 1.
    """
    lines = [line.split("\t") for line in text.splitlines() if line.strip()]
    name = os.path.basename(path)
    if not lines or not set(COLUMNS) <= set(lines[0]):
        raise ZooError(f"{name} has not the columns class and probability.")
    places = [lines[0].index(column) for column in COLUMNS]
    found = []
    for line in lines[1:]:
        try:
            label, share = (line[place] for place in places)
            share = float(share)
        except (IndexError, ValueError):
            raise ZooError(f"{name} has a line that is no class with its probability.") from None
        if not 0.0 <= share <= 1.0:
            raise ZooError(f"{name} has the probability {share:g}, which is not from 0 to 1.")
        found.append((label, share))
    return sorted(found, key=lambda pair: -pair[1])


def lines_of(scores: list) -> list:
    """A line for each of the likeliest classes: percent, a bar and the name."""
    return [f"{100 * share:3.0f} %  {BLOCK * round(BAR * share):<{BAR}}  {name}" for name, share in scores[:SHOWN]]

"""Captions of scenes and the words that they are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from synthzoo.phantoms.scenes.colours import PAINTS
from synthzoo.phantoms.scenes.places import PLACES

OPENINGS = ("a photo of", "a photograph of", "a picture of", "")
BACKGROUND = "a photo of a background"  # the prompt of what is not an object (Dombrowski et al., ICCV 2023)
PLURALS = {"person": "persons", "dog": "dogs", "car": "cars", "bird": "birds"}
NUMBERS = {2: "two", 3: "three"}
EMPTY = {
    "meadow": "a green meadow",
    "street": "a street with houses",
    "beach": "a beach by the sea",
    "park": "a park with trees",
    "snow": "a field in the snow",
    "wall": "a brick wall",
    "yard": "a yard with a fence",
}


def caption_of(objects: Sequence[tuple[str, str, bool]], place: str, rng: np.random.Generator) -> str:
    """A caption of objects as (class, colour, flying) in a place; colour, place and opening are not always said."""
    opening = OPENINGS[rng.integers(len(OPENINGS))]
    if not objects:
        return f"{opening} {EMPTY[place]}".strip()
    counted, parts = Counter(kind for kind, _, _ in objects), []
    for kind in dict.fromkeys(kind for kind, _, _ in objects):
        colours = {colour for other, colour, _ in objects if other == kind}
        said = f"{colours.pop()} " if len(colours) == 1 and rng.random() < 0.5 else ""
        if counted[kind] > 1:
            parts.append(f"{NUMBERS[counted[kind]]} {'' if kind == 'person' else said}{PLURALS[kind]}")
        elif kind == "person":
            parts.append(f"a person in {_article(said)} {said}shirt" if said else "a person")
        else:
            flying = "flying " if any(f for other, _, f in objects if other == kind) and rng.random() < 0.4 else ""
            parts.append(f"{_article(f'{flying}{said}{kind}')} {flying}{said}{kind}")
    order = rng.permutation(len(parts))
    text = f"{opening} {' and '.join(parts[n] for n in order)}".strip()
    where = PLACES[place][rng.integers(len(PLACES[place]))]
    return f"{text} {where}" if rng.random() < 0.65 else text


def _article(following: str) -> str:
    return "an" if following[0] in "aeiou" else "a"


def vocabulary() -> list[str]:
    """Every word that a caption or the background's prompt may have, sorted."""
    texts = [*OPENINGS, BACKGROUND, *PLURALS, *PLURALS.values(), *NUMBERS.values(), *EMPTY.values(), *PAINTS]
    texts += [where for places in PLACES.values() for where in places] + ["a person in a shirt and an flying"]
    return sorted({word for text in texts for word in text.split()})

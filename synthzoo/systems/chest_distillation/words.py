"""Words that name findings in reports of chest radiographs, and what a text denies."""

from __future__ import annotations

import re

from synthzoo.datasets.chest.grounding import QUERY_WORDS
from synthzoo.networks.word_tokens import words_of

NEGATIONS = ("no", "not", "without")
# Finding -> parts of the words that name it: the published ones, and how the phantom's reports name its findings.
SOUGHT: dict[str, tuple[str, ...]] = {
    **QUERY_WORDS,
    "nodule": ("nodule", "nodular"),
    "cardiomegaly": (*QUERY_WORDS["cardiomegaly"], "heart"),
    "pacemaker": ("pacemaker",),
    "central line": ("catheter", "venous", "line"),
}
ALL_SOUGHT = tuple(part for parts in SOUGHT.values() for part in parts)


def affirmed(text: str) -> str:
    """A text without the findings that it denies: what follows a negation in its sentence, if a finding is among it.

    >>> affirmed("Left effusion without pneumothorax. No nodule is seen. No acute process.")
    'left effusion no acute process'
    """
    kept: list[str] = []
    for sentence in re.split(r"[.;\n]", text):
        words = words_of(sentence)
        denied = next((place for place, word in enumerate(words) if word in NEGATIONS), len(words))
        if any(part in word for word in words[denied:] for part in ALL_SOUGHT):
            words = words[:denied]
        kept += words
    return " ".join(kept)


def names_finding(text: object) -> bool:
    """Whether a word of a text names a finding, be it denied or not."""
    return isinstance(text, str) and any(part in word for word in words_of(text) for part in ALL_SOUGHT)

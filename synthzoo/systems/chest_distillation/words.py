"""Words of reports as tokens: a small vocabulary that a config lists, and one sentence for each thing it lacks."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import torch

from synthzoo.datasets.chest.grounding import QUERY_WORDS
from synthzoo.errors import UserError

PAD, START = 0, 1
SPECIAL = 2  # tokens before the first word
WORD = re.compile(r"[a-z0-9]+")
LONGEST_SHOWN = 30
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


def words_of(prompt: str) -> list[str]:
    """The words of a prompt in small letters; without punctuation."""
    return WORD.findall(prompt.lower())


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


def check_text(prompt: object, name: str) -> None:
    """Refuse what is no text; `name` is that of the key.

    Raises:
        UserError: no text.
    """
    if not isinstance(prompt, str):
        raise UserError(f"{name} is {prompt!r}, but must be text, such as 'left pleural effusion'.")


class WordTokenizer:
    """Prompts as tokens int64 (B, length): the start, a token a word, and padding.

    Args:
        vocabulary: the words, in small letters; their order is that of the tokens.
        length: tokens of a prompt, the start among them.

    Raises:
        UserError: a word stands twice.
    """

    def __init__(self, vocabulary: Sequence[str], length: int = 32) -> None:
        self.vocabulary, self.length = list(vocabulary), int(length)
        self.tokens = {word: SPECIAL + number for number, word in enumerate(self.vocabulary)}
        if len(self.tokens) != len(self.vocabulary):
            twice = next(word for word in self.vocabulary if self.vocabulary.count(word) > 1)
            raise UserError(f"vocabulary: '{twice}' stands twice; each word has one token.")

    def __len__(self) -> int:
        return SPECIAL + len(self.vocabulary)

    def __call__(self, prompts: Sequence[str]) -> torch.Tensor:
        """Tokens int64 (B, length) of prompts; words beyond the length and unknown ones are left out."""
        tokens = torch.full((len(prompts), self.length), PAD)
        for row, prompt in zip(tokens, prompts):
            known = [self.tokens[word] for word in words_of(prompt) if word in self.tokens][: self.length - 1]
            row[: 1 + len(known)] = torch.tensor([START, *known])
        return tokens

    def groups(self, prompt: str, sought: Sequence[str] = ()) -> list[list[int]]:
        """Positions of the tokens of each word that contains one of `sought`; of all words if none does.

        Words past the end are dropped, see Dombrowski et al., AAAI 2024.
        """
        known = [word for word in words_of(prompt) if word in self.tokens][: self.length - 1]
        found = [[1 + place] for place, word in enumerate(known) if any(part in word for part in sought)]
        return found or [[1 + place] for place in range(len(known))]

    def check(self, prompt: str, may_be_empty: bool = False, name: str = "prompt") -> str:
        """The prompt, its words joined by spaces.

        Args:
            prompt: as a user wrote it.
            may_be_empty: whether no word at all is a prompt.
            name: of the key, for the sentence.

        Raises:
            UserError: no text, no words, too many of them, or words that are not in the vocabulary.
        """
        check_text(prompt, name)
        words = words_of(prompt)
        if not words and (prompt.strip() or not may_be_empty):
            shown = f"'{prompt.strip()[:LONGEST_SHOWN]}'" if prompt.strip() else "empty"
            raise UserError(f"{name} is {shown}, but must name a finding, such as 'left pleural effusion'.")
        unknown = list(dict.fromkeys(word for word in words if word not in self.tokens))
        if unknown:
            raise UserError(f"{name}: {self._unknown(unknown)}")
        if len(words) > self.length - 1:
            raise UserError(f"{name} has {len(words)} words, but may have {self.length - 1}: shorten it.")
        return " ".join(words)

    def _unknown(self, words: Sequence[str]) -> str:
        shown = [word[:LONGEST_SHOWN] for word in words[:5]]
        near = list(
            dict.fromkeys(n for word in shown for n in difflib.get_close_matches(word, self.vocabulary, 2, 0.6))
        )
        plural = "words" if len(words) > 1 else "word"
        more = f" and {len(words) - len(shown)} more" if len(words) > len(shown) else ""
        hint = f"near ones are {', '.join(near)}" if near else f"it knows {', '.join(self.vocabulary[:40])} and more"
        return f"the model does not know the {plural} {', '.join(repr(word) for word in shown)}{more}; {hint}."

"""Prompts as tokens: a small vocabulary of words that a config lists, and one sentence for each thing it lacks."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import torch

from synthzoo.errors import UserError

PAD, START = 0, 1
SPECIAL = 2  # tokens before the first word
WORD = re.compile(r"[a-z0-9]+")
LONGEST_SHOWN = 30
A_FINDING = "a finding, such as 'left pleural effusion'"  # what a prompt of a chest radiograph must name


def words_of(prompt: str) -> list[str]:
    """The words of a prompt in small letters; without punctuation."""
    return WORD.findall(prompt.lower())


def check_text(prompt: object, name: str, needed: str = A_FINDING) -> None:
    """Refuse what is no text; `name` is that of the key, and `needed` says in the end of a sentence what it must name.

    Raises:
        UserError: no text.
    """
    if not isinstance(prompt, str):
        raise UserError(f"{name} is {prompt!r}, but must be text that names {needed}.")


class WordTokenizer:
    """Prompts as tokens int64 (B, length): the start, a token a word, and padding.

    Args:
        vocabulary: the words, in small letters; their order is that of the tokens.
        length: tokens of a prompt, the start among them.
        needed: what a prompt must name, with an example, for the sentence that refuses one.

    Raises:
        UserError: a word stands twice.
    """

    def __init__(self, vocabulary: Sequence[str], length: int = 32, needed: str = A_FINDING) -> None:
        self.vocabulary, self.length, self.needed = list(vocabulary), int(length), needed
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
        check_text(prompt, name, self.needed)
        words = words_of(prompt)
        if not words and (prompt.strip() or not may_be_empty):
            shown = f"'{prompt.strip()[:LONGEST_SHOWN]}'" if prompt.strip() else "empty"
            raise UserError(f"{name} is {shown}, but must name {self.needed}.")
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

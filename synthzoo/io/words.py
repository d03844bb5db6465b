"""The words of a command line, split into options and the rest by Fire's rules and kept as the text that was typed.

Fire reads every value as Python: `--out 2024_01_15` becomes 20240115, `--out [a]` a list. Here a value stays a text
until somebody who knows what it stands for reads it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthzoo.errors import UserError


@dataclass
class Words:
    """What stands on a command line.

    Args:
        options: name -> text; None for an option without a value.
        places: name -> (number of its first word, number of words that it takes).
        rest: words that belong to no option, in order.
        after: word of the rest -> the option that was complete just before it, for a sentence.
    """

    options: dict[str, str | None] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)
    after: dict[str, str] = field(default_factory=dict)


def split_words(argv: Sequence[str]) -> Words:
    """Split the words after the command as Fire does: `--key value`, `--key=value`, `-key value`, `--key` alone.

    Args:
        argv: without the program's name and the command; what follows a lone `--` is Fire's own and is passed over.
    """
    argv = list(argv[: argv.index("--")] if "--" in argv else argv)
    found, at, last = Words(), 0, ""
    while at < len(argv):
        word, taken = argv[at], 1
        if not is_option(word):
            found.rest.append(word)
            found.after.setdefault(word, last)
        else:
            name, equals, value = word.lstrip("-").partition("=")
            last = name.replace("-", "_")
            text: str | None = value if equals else None
            if not equals and at + 1 < len(argv) and not is_option(argv[at + 1]):
                text, taken = argv[at + 1], 2
            found.options[last], found.places[last] = text, (at, taken)
        at += taken
    return found


def is_option(word: str) -> bool:
    """Whether Fire takes a word for the name of an option; `-1` and `-` are values."""
    return word.startswith("--") or re.match("-[a-zA-Z]", word) is not None


def read_value(text: str | None) -> Any:
    """The value that Fire reads from a text: a Python literal, in whose lists names need no quotes, or the text."""
    from fire.parser import DefaultParseValue

    return True if text is None else DefaultParseValue(text)


def path_text(name: str, text: str | None) -> str:
    """A path as it was typed, with the home folder for a leading `~`; `name` is its key in sentences, such as --out.

    Raises:
        UserError: there is no value, or it holds a line break or another control character.
    """
    if text is None:
        raise UserError(f"{name} has no value: give a path, such as {name} folder.")
    if (found := re.search(r"[\x00-\x1f\x7f\x85\u2028\u2029]", text)) is not None:
        raise UserError(
            f"{name} is {ascii(text)}, but a path with the character {ascii(found[0])} is not accepted: rename it."
        )
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:
        return text  # `~name` of nobody here is a plain name


def path_texts(name: str, text: str | None) -> str | list[str]:
    """One path or a list of paths: a text in square brackets is a list, unless a file of that very name exists.

    >>> path_texts("images", "[a.nii, 2024]")
    ['a.nii', '2024']
    """
    one = path_text(name, text)
    if not (one.startswith("[") and one.endswith("]")) or Path(one).exists():
        return one
    try:
        nodes = ast.parse(one, mode="eval").body.elts  # type: ignore[attr-defined]
    except (SyntaxError, ValueError, AttributeError):
        parts = [part.strip().strip("'\"") for part in one[1:-1].split(",")]
        return [path_text(name, part) for part in parts if part]
    quoted = [node.value if isinstance(node, ast.Constant) else None for node in nodes]
    typed = [value if isinstance(value, str) else ast.get_source_segment(one, n) for n, value in zip(nodes, quoted)]
    return [path_text(name, part) for part in typed]

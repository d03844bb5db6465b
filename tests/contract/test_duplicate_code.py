"""Nothing is written twice: no two places of the Python code share more than twelve lines in a row."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest
from bundle_runs import ROOT

LONGEST = 12
PLACES = ("synthzoo", "plugins", "scripts", "tests")


def significant_lines(text: str) -> list[tuple[int, str]]:
    """Number and text of every line but blanks, comments, imports and lone punctuation, white space folded."""
    lines, imported = [], False
    for number, line in enumerate(text.splitlines(), start=1):
        line = " ".join(line.split())
        if imported or re.match(r"(from [\w.]+ )?import ", line):
            imported = ")" not in line if imported else line.endswith("(")
        elif re.search(r"\w", line) and not line.startswith("#"):
            lines.append((number, line))
    return lines


def repeated(texts: dict[str, str]) -> list[str]:
    """Pairs of places of which more than `LONGEST` significant lines in a row are the same, each named once."""
    found, seen = [], defaultdict(list)
    for name, text in texts.items():
        lines = significant_lines(text)
        for first in range(len(lines) - LONGEST):
            window = tuple(line for _, line in lines[first : first + LONGEST + 1])
            for other, start, place in seen[window]:
                if other != name or place + LONGEST < first:
                    found.append((other, name, place - first, f"{other}:{start} ~ {name}:{lines[first][0]}"))
            seen[window].append((name, lines[first][0], first))
    return list({(one, two, shift): text for one, two, shift, text in reversed(found)}.values())


def test_no_more_than_twelve_lines_in_a_row_stand_twice():
    files = [path for place in PLACES for path in sorted((ROOT / place).rglob("*.py"))]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text() for path in files if "__pycache__" not in path.parts}
    assert len(texts) > 300
    assert repeated(texts) == [], "let one piece of code serve both places"


@pytest.mark.parametrize("length, pairs", [(LONGEST, 0), (LONGEST + 1, 1), (LONGEST + 5, 1)])
def test_a_longer_run_is_named_once_and_a_shorter_one_passes(length, pairs):
    run = [f"value_{number} = {number}" for number in range(length)]
    one, two = "\n".join(["first = 1", *run]), "\n\n".join(["second = 2  # another", *run, "import os"])
    names = repeated({"one.py": one, "two.py": two})
    assert len(names) == pairs and all(name == "one.py:2 ~ two.py:3" for name in names)
    assert len(repeated({"one.py": "\n".join(run + run)})) == pairs

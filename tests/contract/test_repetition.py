"""Training configs say what is theirs: little of them may stand word for word in another config."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bundle_runs import ROOT

from synthzoo.bundle.find import find_bundles

RUN = 6  # so many identical lines in a row are a copy
MOST = 0.30


def significant_lines(path: Path) -> list[str]:
    """The lines of a config that say something, blanks normalised and the bundle's own name replaced."""
    text = path.read_text().replace(path.parents[1].name, "<bundle>")
    lines = [" ".join(line.split()).rstrip(",") for line in text.splitlines()]
    return [line for line in lines if re.search(r"\w", line)]


def repeated(lines: Sequence[str], others: Sequence[Sequence[str]], run: int = RUN) -> int:
    """How many of `lines` stand in a run of at least `run` lines that one of `others` holds too."""
    known = {tuple(other[at : at + run]) for other in others for at in range(len(other) - run + 1)}
    inside: set[int] = set()
    for at in range(len(lines) - run + 1):
        if tuple(lines[at : at + run]) in known:
            inside.update(range(at, at + run))
    return len(inside)


def repetition(root: Path) -> dict[Path, tuple[int, int]]:
    """(repeated lines, significant lines) of every train*.json against all other configs of all bundles."""
    files = {path: significant_lines(path) for b in find_bundles(root) for path in (b / "configs").glob("*.json")}
    return {
        path: (repeated(lines, [other for name, other in files.items() if name != path]), len(lines))
        for path, lines in sorted(files.items())
        if path.name.startswith("train")
    }


def test_a_copied_run_is_found_and_a_shorter_one_is_not():
    lines = [f'"{letter}": 1' for letter in "abcdefgh"]
    assert repeated(lines, [["x", *lines[1:7], "y"]]) == 6
    assert repeated(lines, [["x", *lines[1:6], "y"]]) == 0
    assert repeated(lines, [lines[:6], lines[2:]]) == 8


def test_training_configs_repeat_at_most_thirty_percent():
    found = repetition(ROOT)
    copied, total = (sum(column) for column in zip(*found.values()))
    shares = [f"{path.parents[1].name}/{path.stem}: {few} of {many}" for path, (few, many) in found.items()]
    print(f"{copied} of {total} lines of {len(found)} training configs stand elsewhere: {copied / total:.1%}")
    assert copied / total <= MOST, f"{copied / total:.1%} of the lines are copies; the most is {MOST:.0%}: {shares}"

"""The canonical form of JSON files: one text for one content, so that a difference between two texts means something.

What fits on a line stays on one line, so that shapes and ranges are readable; objects that hold objects are spread out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from synthzoo.bundle.find import find_bundles
from synthzoo.io.files import write_text

WIDTH = 110
REMEDY = "run `make format`"


def dump(content: Any, width: int = WIDTH) -> str:
    """The canonical text of a JSON document, with a final newline."""
    return _dump(content, 0, width) + "\n"


def _dump(content: Any, indent: int, width: int) -> str:
    flat = json.dumps(content, ensure_ascii=False)
    nested = isinstance(content, (dict, list)) and any(
        isinstance(value, dict) for value in (content.values() if isinstance(content, dict) else content)
    )
    if not isinstance(content, (dict, list)) or not content or (len(flat) + indent < width and not nested and indent):
        return flat
    pad, close = " " * (indent + 2), " " * indent
    if isinstance(content, dict):
        inner = [f"{pad}{json.dumps(k, ensure_ascii=False)}: {_dump(v, indent + 2, width)}" for k, v in content.items()]
        return "{\n" + ",\n".join(inner) + f"\n{close}}}"
    return "[\n" + ",\n".join(pad + _dump(value, indent + 2, width) for value in content) + f"\n{close}]"


def canonical_files(root: str | Path = ".") -> list[Path]:
    """The files below `root` that are kept in canonical form: all configs of all bundles, and the index."""
    root = Path(root)
    files = [path for bundle in find_bundles(root) for path in sorted((bundle / "configs").glob("*.json"))]
    index = root / "bundle_index.json"
    return files + ([index] if index.is_file() else [])


def form_problems(path: str | Path, canonical: bool = False) -> list[str]:
    """Whether a JSON file parses, repeats no key, and has neither tabs nor trailing blanks; a sentence each.

    Args:
        path: the file.
        canonical: whether its text must be that of `dump`, too.
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    problems: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                problems.append(f"{path}: the key '{key}' stands twice in one object, so that the first one is lost")
            seen.add(key)
        return dict(pairs)

    try:
        content = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        return [f"{path}: not valid JSON ({error})"]
    if problems:  # which value is meant, only its author knows
        return problems
    if canonical and text != dump(content):
        return [f"{path}:{_first_difference(text, dump(content))}: not in canonical form; {REMEDY}"]
    for number, line in enumerate(text.splitlines(), start=1):
        if "\t" in line or line != line.rstrip():
            problems.append(f"{path}:{number}: a tab or a blank at the end of the line")
    if not text.endswith("\n"):
        problems.append(f"{path}: no newline at the end of the file")
    return problems


def _first_difference(text: str, other: str) -> int:
    """Number of the first line that differs, from 1."""
    lines, others = text.splitlines(), other.splitlines()
    same = next((n for n, (line, wanted) in enumerate(zip(lines, others)) if line != wanted), None)
    return 1 + (min(len(lines), len(others)) if same is None else same)


def format_files(root: str | Path = ".") -> list[Path]:
    """Bring all `canonical_files` into canonical form; returns those that were rewritten.

    A file that does not parse or that repeats a key is left as it is, for `form_problems` to name.
    """
    written = []
    for path in canonical_files(root):
        problems = form_problems(path, canonical=True)
        if problems and all(problem.endswith(REMEDY) for problem in problems):
            write_text(path, dump(json.loads(path.read_text(encoding="utf-8"))))
            written.append(path)
    return written

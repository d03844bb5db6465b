"""Text is UTF-8 whatever the locale says: every call that could ask the locale names an encoding."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from bundle_runs import ROOT

TEXT = {"read_text", "write_text"}
OPENERS = {"open", "fdopen", "NamedTemporaryFile", "TemporaryFile", "TextIOWrapper"}
ELSEWHERE = {
    "archive",
    "Image",
    "Picture",
    "av",
    "gzip",
    "self",
    "OPENER",
    "opened",
    "os",
    "webbrowser",
}  # their `open` is another
FILES = sorted(path for part in ("synthzoo", "plugins", "scripts") for path in (ROOT / part).rglob("*.py"))


def asks_the_locale(call: ast.Call) -> bool:
    """Whether a call opens a file as text, or runs a program with text, without an encoding."""
    function, given = call.func, {word.arg: word.value for word in call.keywords}
    if "encoding" in given or None in given:
        return False
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name in TEXT and isinstance(function, ast.Attribute):
        return not (name == "read_text" and call.args)
    if any(getattr(given.get(word), "value", None) is True for word in ("text", "universal_newlines")):
        return True
    owner = function.value if isinstance(function, ast.Attribute) else None
    if name not in OPENERS or (name == "open" and getattr(owner, "id", "") in ELSEWHERE):
        return False
    if name == "TextIOWrapper":
        return len(call.args) < 2
    modes = [*call.args, *filter(None, [given.get("mode")])]
    said = [mode.value for mode in modes if isinstance(mode, ast.Constant) and isinstance(mode.value, str)]
    return not any("b" in mode and len(mode) < 4 for mode in said) and not name.endswith("TemporaryFile")


@pytest.mark.parametrize(
    "line, asks",
    [
        ("path.read_text()", True),
        ("path.read_text(encoding='utf-8')", False),
        ("path.write_text(text)", True),
        ("write_text(path, text)", False),
        ("open(path)", True),
        ("open(path, 'w')", True),
        ("path.open('a')", True),
        ("open(path, 'rb')", False),
        ("open(path, mode='r+b')", False),
        ("subprocess.run(words, text=True)", True),
        ("subprocess.run(words)", False),
    ],
)
def test_the_check_tells_calls_apart(line, asks):
    assert asks_the_locale(ast.parse(line, mode="eval").body) is asks


def test_no_call_of_the_codebase_asks_the_locale_for_an_encoding():
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: name encoding='utf-8'"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and asks_the_locale(node)
    ]
    assert not found, "\n".join(found)


def test_configs_are_ascii_for_monai_reads_them_as_the_locale_says():
    found = [path for path in sorted((ROOT / "bundles").glob("*/configs/*")) if not path.read_bytes().isascii()]
    assert not [str(Path(path).relative_to(ROOT)) for path in found]

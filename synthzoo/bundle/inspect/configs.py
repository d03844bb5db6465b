"""JSON, YAML and logging configs judged as what MONAI would do with them; nothing is executed."""

from __future__ import annotations

import ast
import configparser
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import yaml

from synthzoo.bundle.inspect.code import Report, expression_text, parse
from synthzoo.bundle.inspect.grammar import CODE_FILE, LOADERS, check_expression, import_table
from synthzoo.bundle.inspect.rules import PASS, REFUSE, REVIEW, judge_target

# Keys under which an address is documentation.
DOCUMENTING = {"schema", "references", "data_source", "url", "description", "_desc_", "homepage", "citation", "licence"}
# Arguments that decide whether a loader unpickles, with the value that does not.
UNSAFE_LOADING = {"weights_only": True, "allow_pickle": False, "pickle_module": None}
WRITER = re.compile(r"LogfileHandler|FileHandler|Saver|^Save|Writer|save")
LOGGING_CLASSES = {
    "StreamHandler",
    "FileHandler",
    "NullHandler",
    "logging.StreamHandler",
    "logging.FileHandler",
    "logging.NullHandler",
    "handlers.RotatingFileHandler",
    "handlers.TimedRotatingFileHandler",
    "logging.handlers.RotatingFileHandler",
    "logging.handlers.TimedRotatingFileHandler",
    "logging.Formatter",
    "Formatter",
}


def parse_config(name: str, text: str) -> Any:
    """Content of a JSON or YAML text; raises ValueError, also for YAML tags that make Python objects."""
    if name.endswith(".json"):
        return json.loads(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error).splitlines()[0]) from error


def walk(content: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """(path, key, value) of every value in a config; keys of dictionaries come as values of the path `...#key`."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from walk_item(value, f"{path}#{key}" if path else str(key), str(key))
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from walk_item(value, f"{path}#{number}" if path else str(number), path.split("#")[-1])


def walk_item(value: Any, path: str, key: str) -> Iterator[tuple[str, str, Any]]:
    """One value and what lies below it."""
    yield path, key, value
    yield from walk(value, path)


def import_aliases(contents: Sequence[Any]) -> dict[str, set[str]]:
    """What every name means after all imports of all configs, since overlays share one namespace."""
    aliases: dict[str, set[str]] = {}
    for content in contents:
        for _, _, value in walk(content):
            if isinstance(value, str) and re.match(r"\$\s*(import|from)\b", value):
                tree = parse(expression_text(value), lambda *_: None)
                for name, paths in (import_table(tree) if tree else {}).items():
                    aliases.setdefault(name, set()).update(paths)
    return aliases


def check_config(
    content: Any,
    text: str,
    report: Report,
    own: Mapping[str, set[str]],
    aliases: Mapping[str, set[str]],
    files: Collection[str] = (),
) -> None:
    """Report what is not on the allow-list in one parsed config.

    Args:
        content: the parsed JSON or YAML.
        text: its text, to find line numbers.
        report: receives (verdict, line, what, why).
        own: module of the bundle -> names that it defines.
        aliases: from `import_aliases`.
        files: configs of the bundle that are read too, by their names.
    """
    lines = text.splitlines()
    for path, key, value in walk(content):
        # `network_def#_target_` in an overlay is the `_target_` of network_def.
        key = re.split(r"#|::", key)[-1].lstrip("+~")
        line = line_of(lines, value) if isinstance(value, str) else line_of(lines, key)

        def at(verdict: str, inner: int, what: str, why: str, line: int = line, path: str = path) -> None:
            report(verdict, line, f"{path}: {what}", why)

        if key == "_mode_" and str(value).lower() == "debug":
            at(REVIEW, 0, "_mode_", "opens a debugger")
        if key in UNSAFE_LOADING:
            check_loading(key, value, at)
        if isinstance(value, dict):
            check_component(value, at)
        if not isinstance(value, str):
            continue
        if key == "_target_":
            check_target(value, at, own)
        elif value.startswith("$"):
            check_expression(expression_text(value), at, own, aliases)
        elif value.startswith("%"):
            check_macro(value, at, files)
        else:
            check_string(key, value, at)


def check_loading(key: str, value: Any, report: Report) -> None:
    """An argument that makes a loader unpickle."""
    if isinstance(value, str) and value[:1] in ("$", "@", "%"):
        report(REVIEW, 0, f"{key} = {value}", "is computed, so it may read a pickle")
    elif value is not UNSAFE_LOADING[key]:
        report(REFUSE, 0, f"{key} = {value}", "reads a pickle, which can run anything")


def check_component(node: dict, report: Report) -> None:
    """What a `_target_` does with its neighbours: loaders that need a word, writers of files that could be run."""
    target = node.get("_target_")
    if not isinstance(target, str):
        return
    if target in LOADERS and node.get(LOADERS[target][0]) is not LOADERS[target][1]:
        report(REVIEW, 0, target, f"say {LOADERS[target][0]}: {str(LOADERS[target][1]).lower()}, or it may unpickle")
    if WRITER.search(target.rpartition(".")[2]):
        for name, value in node.items():
            if name[0] != "_" and isinstance(value, str) and CODE_FILE.search(value.strip("'\" ")):
                report(REFUSE, 0, f"{name} = {value}", "writes a file that could be run or read as a config")


def check_target(value: str, report: Report, own: Mapping[str, set[str]]) -> None:
    """A `_target_`: only a plain text can be judged."""
    if value[:1] in ("$", "@", "%"):
        report(REFUSE, 0, value, "a computed target cannot be judged")
        return
    verdict, why = judge_target(value.strip(), own)
    if verdict != PASS:
        report(verdict, 0, value, why)


def check_macro(value: str, report: Report, files: Collection[str]) -> None:
    """`%file.json::key` pulls in another file, which has to be one that is judged too."""
    found = re.match(r"%(.*\.(?:json|ya?ml))(?=::|$)", value.replace("#", "::"), re.IGNORECASE)
    if not found:
        return
    file = found[1]
    if file.startswith(("/", "~")) or ".." in file or "://" in file or re.match(r"[A-Za-z]:", file):
        report(REFUSE, 0, value, "reads a config from outside the bundle")
    elif not any(name == file.removeprefix("./") or name.endswith("/" + file.removeprefix("./")) for name in files):
        report(REVIEW, 0, value, "reads a config that the bundle does not hold")


def check_string(key: str, value: str, report: Report) -> None:
    """A plain text: addresses, and paths that leave the bundle."""
    if re.match(r"(https?|ftp|s3|gs|hf)://", value) and key not in DOCUMENTING:
        report(REVIEW, 0, value[:100], "an address on the network")
    elif re.match(r"(\.\./|~/|/(etc|root)/|/(home)/[^/]+/\.|\.\.$)", value) or "/../" in value:
        report(REVIEW, 0, value[:100], "a path that leaves the bundle")


def check_logging(text: str, report: Report) -> None:
    """logging.conf: older Pythons and MONAIs evaluate `class` and `args` as code."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        report(REFUSE, getattr(error, "lineno", 0) or 0, str(error).splitlines()[0], "cannot be parsed")
        return
    lines = text.splitlines()
    for section in parser.sections():
        for key, value in parser.items(section):
            line = line_of(lines, value)
            if key == "()" or (key == "class" and value not in LOGGING_CLASSES):
                report(
                    REFUSE, line, f"[{section}] {key}={value}", "not a handler of the standard library that only writes"
                )
            elif key in ("args", "kwargs") and not only_literals(value):
                report(REFUSE, line, f"[{section}] {key}={value}", "evaluated as code when logging starts")
            elif key == "args" and CODE_FILE.search(re.split(r"['\"]", value)[1] if re.search(r"['\"]", value) else ""):
                report(REFUSE, line, f"[{section}] {key}={value}", "writes a file that could be run")
            elif key == "args" and re.search(r"['\"](/|~|\.\.)|/\.\./", value):
                report(REVIEW, line, f"[{section}] {key}={value}", "writes a file outside the bundle")


def only_literals(value: str) -> bool:
    """Whether a text holds constants, tuples, sys.stdout and sys.stderr and nothing else."""
    if not value.strip():
        return True
    try:
        tree = ast.parse(value.strip(), mode="eval")
    except (SyntaxError, ValueError):
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if ast.unparse(node) not in ("sys.stdout", "sys.stderr"):
                return False
        elif isinstance(node, ast.Name):
            if node.id != "sys":
                return False
        elif not isinstance(
            node, (ast.Expression, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Load, ast.UnaryOp, ast.USub)
        ):
            return False
    return True


def check_large_files(content: Any, text: str, report: Report) -> None:
    """large_files.yml: every file needs a path inside the bundle, an https address and a hash with its type."""
    listed = content.get("large_files") if isinstance(content, dict) else None
    lines = text.splitlines()
    for item in listed or []:
        item = item if isinstance(item, dict) else {}
        path, url = str(item.get("path", "")), str(item.get("url", ""))
        line = line_of(lines, path)
        if path.startswith(("/", "~")) or ".." in path.replace("\\", "/").split("/") or not path:
            report(REFUSE, line, f"path {path}", "leaves the bundle")
        if not url.startswith("https://"):
            report(REVIEW, line, f"url {url[:100]}", "not an https address")
        if not item.get("hash_val") or not item.get("hash_type"):
            report(REVIEW, line, path, "no hash_val with hash_type, so nobody can tell what will be downloaded")


def line_of(lines: list[str], value: str) -> int:
    """Line number from 1 of the first line that holds `value` as JSON or plain text; 0 if none does."""
    encoded = json.dumps(value, ensure_ascii=False)[1:-1]
    first = value.strip().splitlines()[0].strip() if value.strip() else value
    for needle in (f'"{encoded}"', encoded, value, first):
        for number, line in enumerate(lines, 1):
            if needle and needle in line:
                return number
    return 0

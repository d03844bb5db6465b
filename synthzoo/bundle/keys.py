"""Plain keys of configs: which are paths, what else they allow, and values that pass MONAI's parser as they are.

A plain key holds no component: `output_dir`, `age`, `max_epochs`. What it allows is a property of JSON Schema, from
`synthzoo.conditions` and `synthzoo.options` of metadata.json, or from `schema/plain_keys.json` for what many bundles
have. A property of the format "path" is text from first to last.
"""

from __future__ import annotations

import ast
import functools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthzoo.bundle.find import read_json
from synthzoo.cases.values import allowed, check_value
from synthzoo.errors import UserError
from synthzoo.io.words import path_text, path_texts, read_value

PLAIN_KEYS = Path(__file__).with_name("schema") / "plain_keys.json"
PATH = "path"
IMAGE = "image"  # of an option: text too, a path or a word
LISTS = ("images", "more_styles", "marks")  # path keys that take several
# Where a plain key of the last name in an id means what it means at the top level.
TABLES = ("train", "dataloader", "evaluation")
# Path keys whose names mean other things inside of components.
TOP_ONLY = ("base", "common", "expert", "preview", "figure", "style", "more_styles", "lesions", "other")
READ_BY_MONAI = re.compile("[#@%$]")
NEEDED = "."  # stands for what a config holds where it is not at hand
SPELLED = re.compile(r"\$'([^'\\]|\\.)*'")
NULL = ("None", "null")
OFF = "$None"  # null on a command line, where MONAI passes over one that is typed


@functools.cache
def plain_keys() -> dict[str, dict[str, Any]]:
    """Name -> property of the plain keys that many bundles have."""
    return read_json(PLAIN_KEYS)


def is_path(key: str) -> bool:
    """Whether an id such as `output_dir` or `network#path` holds a path."""
    *tables, name = re.split("#|::", key)
    if tables and name in TOP_ONLY:
        return False
    return plain_keys().get(name, {}).get("format") == PATH or name.endswith(("_dir", "_path"))


def spelled(text: str, typed: bool = False) -> str:
    """A text as MONAI's parser gives it back unchanged: itself, or an expression that spells it.

    The parser writes `::` for `#`, reads `@` as a reference, `%` as a copy and `$` as an expression. On a command line
    (`typed`) Fire reads the text first, as Python.

    >>> spelled("out"), spelled("out #1")
    ('out', "$'out \\\\x231'")
    """
    if not READ_BY_MONAI.search(text) and not (typed and read_value(text) != text):
        return text
    return f"$'{''.join(map(_spelled, text))}'"


def _spelled(letter: str) -> str:
    if letter.isascii() and letter.isprintable() and letter not in "#@%$'\"\\":
        return letter
    number = ord(letter)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 65536 else f"\\U{number:08x}"


def as_config(key: str, value: Any) -> Any:
    """A value for a config, with paths spelled: a `Path` under any key, a text under a path key.

    A text that begins with `$`, `@` or `%` is left to MONAI, as in a config file; give a `Path` where it is a name.
    """
    if isinstance(value, (list, tuple)) and (is_path(key) or any(isinstance(item, Path) for item in value)):
        return [as_config(key, item) for item in value]
    if isinstance(value, Path):
        return spelled(str(value))
    if isinstance(value, str) and is_path(key) and value[:1] not in ("$", "@", "%"):
        return spelled(path_text(key, value))
    return value


def typed_paths(key: str, text: str | None, held: Any = NEEDED) -> str | list[str] | None:
    """The path or paths that were typed for a path key.

    Args:
        key: its id.
        text: as typed. `None`, `null` and an empty text turn a key off: None, or "" where the config says so by "".
        held: what the config holds.

    Raises:
        UserError: see `synthzoo.io.words.path_text`; a key that a run cannot do without is turned off.
    """
    if text in ("", OFF, *NULL):
        if held is None or _may_be_null(key):
            return None
        if held == "":
            return ""
        or_name = f", or ./{text} where that is its name" if text in NULL else ""
        raise UserError(f"--{key} is '{text}', but a run needs it: give a path{or_name}.")
    return named_paths(key, text)


def named_paths(key: str, text: str | None) -> str | list[str]:
    """The path or paths that a text names, whatever it says.

    Raises:
        UserError: see `synthzoo.io.words.path_text`.
    """
    found = path_texts(f"--{key}", text) if key in LISTS else path_text(f"--{key}", text)
    return [_unspelled(path) for path in found] if isinstance(found, list) else _unspelled(found)


def _may_be_null(key: str) -> bool:
    return "null" in plain_keys().get(re.split("#|::", key)[-1], {}).get("type", "")


def _unspelled(text: str) -> str:
    """The text that an expression of `spelled` spells; any other text is itself."""
    return ast.literal_eval(text[1:]) if SPELLED.fullmatch(text) else text


def typed_value(key: str, text: str | None) -> Any:
    """What a typed text means for a key, as a config takes it: a path as it stands, anything else as Fire reads it."""
    return as_config(key, typed_paths(key, text)) if is_path(key) else read_value(text)


def turns_off(key: str, value: Any, metadata: Mapping[str, Any], held: Any) -> bool:
    """Whether a value that `check_key` allows is null, or a word for it, for a key that may be null."""
    if not (value is None or value in ("", *NULL)):
        return False
    rule = property_of(key, metadata, held)
    return rule is not None and rule["nullable"]


def property_of(key: str, metadata: Mapping[str, Any], held: Any) -> dict[str, Any] | None:
    """What a plain key allows, or None where nothing says it.

    Args:
        key: id, such as `age` or `train#trainer#max_epochs`.
        metadata: of the bundle.
        held: the value that its configs hold. A key that may be null holds null, or its type says so.
    """
    *tables, name = re.split("#|::", key)
    block = metadata.get("synthzoo", {})
    tasks = [task.get("options", {}) for task in block.get("tasks", {}).values()]
    for stated in [] if tables else [block.get("conditions", {}), block.get("options", {}), *tasks]:
        if name in stated:
            return {**stated[name], "nullable": held is None or name in block.get("conditions", {})}
    kinds: dict[type, str] = {bool: "boolean", int: "integer", float: "number"}
    common = dict(plain_keys().get(name, {})) if not tables or tables[0] in TABLES else {}
    stated_type = common.get("type", [])
    types = [stated_type] if isinstance(stated_type, str) else stated_type
    own = kinds.get(type(held))
    if own and own not in types and not (own == "integer" and "number" in types):
        common, types = {}, [own]  # without a property, or the same name for something else
    if not types:
        return None
    return {**common, "type": types[0], "nullable": held is None or "null" in types}


def check_key(key: str, value: Any, metadata: Mapping[str, Any], held: Any, where: str = "") -> None:
    """Refuse a value that a plain key does not allow, with its range; expressions and components pass, and lists do
    where no property says what a list holds.

    Args:
        key, metadata, held: see `property_of`.
        value: as Fire or JSON reads it.
        where: begins the sentence, such as "--".

    Raises:
        UserError: of a wrong type, out of range, not finite, or null where the key needs a value.
    """
    if isinstance(value, dict) or (isinstance(value, str) and value[:1] in ("$", "@", "%")):
        return
    rule = property_of(key, metadata, held)
    if rule is None or rule.get("format") in (PATH, IMAGE):
        return
    if rule["type"] == "array":
        _check_list(key, value, rule, where)
        return
    if isinstance(value, (list, tuple)):
        return
    if rule["type"] == "string" and not {"enum", "maxLength"} & set(rule):
        return
    if "maxLength" in rule and value == "":
        return  # whether a free text may be empty, the bundle says
    empty = value is None or (isinstance(value, str) and value in ("", *NULL))
    if empty and rule["nullable"]:
        return
    nan = isinstance(value, float) and math.isnan(value)
    if empty or nan or check_value(key, value, rule, where) is None:
        either = " or null" if rule["nullable"] else ""
        raise UserError(f"{where}{key} is '{value}', but must be {allowed(rule)}{either}.")


def _check_list(key: str, value: Any, rule: Mapping[str, Any], where: str) -> None:
    """Refuse what is no list of `rule["minItems"]` values of its `items`."""
    count, item = rule["minItems"], rule["items"]
    if value in (None, "", *NULL) and rule["nullable"]:
        return
    sound = isinstance(value, (list, tuple)) and len(value) == count
    for one in value if sound else ():
        try:
            sound = sound and check_value(key, one, item) is not None
        except UserError:
            sound = False
    if not sound:
        shown = ",".join([str(item["minimum"])] * count)
        such = f"such as [{shown}]" + " or null" * bool(rule["nullable"])
        raise UserError(f"{where}{key} is '{value}', but must be a list of {count}, each {allowed(item)}, {such}.")

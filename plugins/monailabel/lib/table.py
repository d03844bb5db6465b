"""The datastore's table, datastore_v2.json, read without trust: what is damaged in it is named and passed over.

The table is one file for all studies. An entry that was half written, edited by hand or stored by an older server must
not keep the server from starting, a listing from being made or a strategy from choosing: whoever reads an entry may
believe that it has the types of `SHAPES`.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from monailabel.datastore.local import DataModel, ImageLabelModel

from lib.plain_json import is_unicode
from synthzoo.errors import UserError
from synthzoo.io.kinds import ENDINGS, stem

DEEPEST = 32  # a client's own values end at 16, see plain_json
LONGEST_NAME = 255  # bytes of a file name
SEPARATORS = "/\\:" if os.name == "nt" else "/\\"
LARGEST_INFO = 1_000_000  # characters of JSON
LARGEST_INTEGER = 2**63 - 1
LABEL_ENDINGS = tuple(end for form, ends in ENDINGS.items() if form != "latents" for end in ends)
TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]')


class NoTable(ValueError):
    """A file that is not JSON, or no table of a datastore."""


class Table(NamedTuple):
    """What a table holds.

    Attributes:
        objects: id of an image -> its file, what is said of it, and its labels by tag.
        faults: a line for each entry that was passed over.
        said: its name and description.
    """

    objects: dict[str, ImageLabelModel]
    faults: list[str]
    said: dict[str, str]


def is_bare_name(name: Any) -> bool:
    """Whether a text can be a file name and part of an address: one component, not hidden, in plain characters."""
    if not isinstance(name, str) or not name or name[0] == "." or any(c in SEPARATORS or ord(c) < 32 for c in name):
        return False
    try:
        return len(name.encode()) <= LONGEST_NAME
    except UnicodeEncodeError:
        return False


def split_name(name: str) -> tuple[str, str]:
    """A file name as (id, ending): `.nii.gz` is one, capitals do not matter, and a UID has none."""
    known = name.lower().endswith(LABEL_ENDINGS)
    return (stem(name), name[len(stem(name)) :]) if known else (name, "")


# --- what an entry has to be ----------------------------------------------------------------------------------------


def is_text(value: Any) -> bool:
    """Whether a value is a text."""
    return isinstance(value, str)


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_integer(value: Any) -> bool:
    """Whether a value is an integer."""
    return is_number(value) and isinstance(value, int)


def is_boolean(value: Any) -> bool:
    """Whether a value is true or false."""
    return isinstance(value, bool)


def is_threshold(value: Any) -> bool:
    """Whether a value is a number, or an object that has it as its "value", as sidecars of maps have it."""
    return is_number(value.get("value") if isinstance(value, dict) else value)


class Each(NamedTuple):
    """The shape of an object with keys of any name: what each value has to be."""

    shape: Any


Shape = Callable[[Any], bool] | Mapping[str, Any] | Each
WORDS = {
    is_text: "a text",
    is_number: "a number",
    is_integer: "an integer",
    is_boolean: "true or false",
    is_threshold: 'a number, or an object with a number as its "value"',
}
ANY_OBJECT: Mapping[str, Any] = {}
# The keys that server, panel and page read, in the info of images and labels; any other may be anything.
SHAPES: Mapping[str, Shape] = {
    **dict.fromkeys(("name", "bundle", "source", "source_tag", "model", "user"), is_text),
    "ts": is_number,
    "synthetic": is_boolean,
    "sidecar": {
        **dict.fromkeys(("settings", "sampler", "requested", "input"), ANY_OBJECT),
        **dict.fromkeys(("bundle", "version", "weights_sha256", "class"), is_text),
        **dict.fromkeys(("score", "peak", "probability"), is_number),
        "threshold": is_threshold,
        "seed": is_integer,
    },
    "synthzoo_scores": Each({"score": is_number}),
    "synthzoo_classes": Each({"class": is_text, "probability": is_number, "sidecar": ANY_OBJECT}),
    "strategy": Each({"ts": is_number}),
    "conditions": ANY_OBJECT,
    "params": {"label_names": Each(is_integer)},
}


def fault_of(info: Any) -> str:
    """What is wrong with the info of an image or label, "" for nothing."""
    if not isinstance(info, dict):
        return f"is a {type(info).__name__}, not an object"
    waiting: list[tuple[Any, int]] = [(info, 1)]
    while waiting:
        node, depth = waiting.pop()
        if depth > DEEPEST:
            return f"is nested deeper than {DEEPEST} levels"
        if isinstance(node, float) and not math.isfinite(node):
            return "holds NaN or Infinity"
        if is_integer(node) and abs(node) > LARGEST_INTEGER:
            return "holds an integer of more than 64 bits"
        if isinstance(node, str) and not node.isascii() and not is_unicode(node):
            return "holds half a character"
        children = [*node, *node.values()] if isinstance(node, dict) else node if isinstance(node, list) else ()
        waiting += [(child, depth + 1) for child in children]
    if len(json.dumps(info)) > LARGEST_INFO:
        return f"is longer than {LARGEST_INFO} characters"
    return misshapen(info, SHAPES)


def misshapen(value: Any, shape: Shape, where: str = "") -> str:
    """Which key has the wrong type, "" if none has; a key of a fixed name may be null or absent."""
    if callable(shape):
        return "" if shape(value) else f"has {where}, which must be {WORDS[shape]}"
    if not isinstance(value, dict):
        return f"has {where}, which must be an object"
    for key, item in value.items():
        of_key = shape.shape if isinstance(shape, Each) else shape.get(key)
        if of_key is None or (item is None and not isinstance(shape, Each)):
            continue
        fault = misshapen(item, of_key, f"{where}#{key[:60]}" if where else key[:60])
        if fault:
            return fault
    return ""


# --- reading --------------------------------------------------------------------------------------------------------


def read_table(data: bytes) -> Table:
    """Read a table as far as it can be believed.

    Args:
        data: the file's bytes.

    Raises:
        NoTable: not JSON, or without `objects`.
    """
    try:
        text = data.decode("utf-8")
        try:
            table = parse(text)
        except RecursionError:
            table = parse(cut_deep(text))
    except (ValueError, RecursionError) as error:
        raise NoTable(f"is not JSON ({str(error).splitlines()[0][:80]})") from None
    objects = table.get("objects") if isinstance(table, dict) else None
    if not isinstance(objects, dict):
        raise NoTable("is no table of a datastore: it has no 'objects'")
    found: dict[str, ImageLabelModel] = {}
    faults: list[str] = []
    for image_id, entry in objects.items():
        image, fault = read_data(image_id, entry.get("image") if isinstance(entry, dict) else None, False)
        if image is None:
            faults.append(f"entry {image_id[:80]!a} {fault}")
            continue
        labels = {}
        listed = entry.get("labels", {})
        if not isinstance(listed, dict):
            faults.append(f"entry {image_id[:80]!a}: its labels are no object")
            listed = {}
        for tag, item in listed.items():
            label, fault = read_data(image_id, item, True)
            if label is None or not is_bare_name(tag):
                faults.append(f"entry {image_id[:80]!a}, label {tag[:80]!a} {fault or 'has a name that is none'}")
            else:
                labels[tag] = label
        found[image_id] = ImageLabelModel(image=image, labels=labels)
    said = {key: table[key] for key in ("name", "description") if is_text(table.get(key)) and is_unicode(table[key])}
    return Table(found, faults, said)


def read_data(image_id: str, item: Any, label: bool) -> tuple[DataModel | None, str]:
    """One image or label of the table, or None and what is wrong with it."""
    if not isinstance(item, dict):
        return None, "is no object"
    ending, info = item.get("ext", ""), item.get("info", {})
    if not isinstance(ending, str) or not is_bare_name(image_id) or not is_bare_name(f"{image_id}{ending}"):
        return None, "has a name that is no file name"
    if split_name(f"{image_id}{ending}") != (image_id, ending) and (ending or label):
        return None, f"has the ending {ending[:20]!a}, which is not read"
    fault = fault_of(info)
    return (None, fault) if fault else (DataModel(ext=ending, info=info), "")


def parse(text: str) -> Any:
    """JSON in which NaN, Infinity and integers without end are kept as NaN, for `fault_of` to find."""

    def integer(digits: str) -> int | float:
        return int(digits) if len(digits) < 1000 else math.nan

    return json.loads(text, parse_constant=lambda name: math.nan, parse_int=integer)


def cut_deep(text: str) -> str:
    """JSON in which everything that Python's parser finds too deep is NaN."""
    parts: list[str] = []
    depth, begun = 0, 0
    for token in TOKENS.finditer(text):
        if token[0] in "{[":
            depth += 1
            if depth == DEEPEST + 6:  # so deep is the info of an entry
                parts.append(text[begun : token.start()])
                begun = -1
        elif token[0] in "}]":
            depth -= 1
            if depth == DEEPEST + 5 and begun < 0:
                parts.append("NaN")
                begun = token.end()
    return "".join(parts) + (text[begun:] if begun >= 0 else "")


def checked_info(info: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The info that a client sent, if every reader can take it.

    Raises:
        UserError: what is wrong with it.
    """
    fault = fault_of(dict(info))
    if fault:
        raise UserError(f"{name} {fault}: mend it or leave it out.")
    return dict(info)

"""Null that is typed for a key: whether it may stand there, by the key's property or by those who read the key.

A key without a property, such as `critic`, holds a component or null, and MONAI's command line knows no null: what is
typed is a text, or is passed over. Who reads a key stands in the configs, and whether he takes None in his signature.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from synthzoo.bundle.keys import NULL, check_key, property_of, turns_off
from synthzoo.bundle.known import ENTRIES, held_at, parameter_of
from synthzoo.errors import UserError

ANYTHING = re.compile(r"\b(None|Optional|Any|object)\b")


def is_off(config: Mapping[str, Any], key: str, value: Any, metadata: Mapping[str, Any]) -> bool:
    """Whether a typed value turns off a key that holds something: check it, and tell null from its name.

    Args:
        config: the merged configs.
        key: id of no path, such as `critic` or `train#objective#critic`.
        value: as Fire reads it; `None`, `null` and an empty text are null, but an empty text is itself where the
            config holds text.
        metadata: of the bundle.

    Raises:
        UserError: see `keys.check_key`; null for a key that is needed.
    """
    held = held_at(config, key)
    if property_of(key, metadata, held) is not None:
        check_key(key, value, metadata, held, "--")
        return turns_off(key, value, metadata, held)
    if not (value is None or value in NULL or (value == "" and not isinstance(held, str))):
        return False
    refusal = refusal_of_null(config, key)
    if refusal:
        raise UserError(f"--{key} is '{value}', but {refusal}: leave --{key} out, or give it a value.")
    return True


def refusal_of_null(config: Mapping[str, Any], key: str) -> str:
    """Who reads a key and cannot do without it, in words that end a sentence; "" where null may stand there.

    Args:
        config: the merged configs.
        key: id, such as `critic` or `train#objective#critic`.
    """
    name = re.sub("::", "#", key)
    if name in ENTRIES:
        return "a run needs it"
    table, _, last = name.rpartition("#")
    parent = held_at(config, table) if table else None
    if isinstance(parent, Mapping) and not _takes_null(parent, last):
        return f"{table} takes no null for '{last}'"
    for at, holder, argument, value in _values(config):
        refers = f"@{name}"
        if value == refers:
            if isinstance(holder, Mapping) and not _takes_null(holder, argument):
                return f"{at} takes no null for '{argument}'"
        elif re.search(rf"{re.escape(refers)}(#|::)", value) or (
            value[:1] == "$" and re.search(rf"{re.escape(refers)}(\.|\[)", value)
        ):
            return f"{f'{at}#{argument}' if at else argument} reads a part of it"
    return ""


def _takes_null(node: Mapping[str, Any], name: str) -> bool:
    """Whether a component takes None for an argument; True where that cannot be known, and for a table of values."""
    if "_target_" not in node:
        return True
    try:
        item = parameter_of(node, name)
    except LookupError:
        return True
    if item is None or item.default is None or item.annotation is inspect.Parameter.empty:
        return True
    return bool(ANYTHING.search(str(item.annotation)))


def _values(node: Any, at: str = "") -> Iterator[tuple[str, Any, str, str]]:
    """Id of a table or list, itself, name in it and text, of each text in a config."""
    held = node.items() if isinstance(node, Mapping) else enumerate(node)
    for name, value in held:
        if isinstance(value, str):
            yield at, node, str(name), value
        elif isinstance(value, (Mapping, list)):
            yield from _values(value, f"{at}#{name}" if at else str(name))

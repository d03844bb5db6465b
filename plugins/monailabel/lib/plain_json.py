"""JSON of a client, checked before anything believes it: its depth, its size, and that every number is one.

What a client sends may be stored in the one table of the datastore. A value that Python's JSON reads and others do not
(NaN), or one nested too deep to be read again, would stop the server for everyone.
"""

from __future__ import annotations

import json
from typing import Any

from synthzoo.errors import UserError

DEEPEST = 16  # objects and lists in each other
MOST_VALUES = 50_000


def plain_json(text: str | bytes, name: str) -> Any:
    """The value of a JSON text.

    Args:
        text: what a client sent.
        name: what it is called in the sentence, such as "params".

    Raises:
        UserError: no JSON, NaN or Infinity, deeper than DEEPEST, or more than MOST_VALUES values.
    """
    constants: list[str] = []
    try:
        value = json.loads(text, parse_constant=constants.append)
    except (ValueError, RecursionError):
        raise UserError(f'{name} is not valid JSON: send an object such as {{"seed": 1}}.') from None
    if constants:
        raise UserError(f"{name} holds {constants[0]}, which is no number in JSON: send one that is finite.")
    waiting, seen = [(value, 1)], 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        if depth > DEEPEST or seen > MOST_VALUES:
            limit = f"{DEEPEST} levels" if depth > DEEPEST else f"{MOST_VALUES} values"
            raise UserError(f"{name} holds more than the {limit} that are taken.")
        if isinstance(node, float) and node in (float("inf"), float("-inf")):
            raise UserError(f"{name} holds a number that is too large.")
        if isinstance(node, str) and not is_unicode(node):
            raise UserError(f"{name} holds half a character, an escape such as \\ud800 alone: send whole ones.")
        children = [*node, *node.values()] if isinstance(node, dict) else node if isinstance(node, list) else ()
        waiting += [(child, depth + 1) for child in children]
    return value


def is_unicode(text: str) -> bool:
    """Whether a text can be sent on: one half of a pair of surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

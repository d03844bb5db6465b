"""A value against its property: typed and within its range, or refused with one sentence.

A property is the part of JSON Schema that a panel can show and a table can hold: {"type": "number", "integer",
"boolean" or "string", "minimum", "maximum", "enum", "maxLength", "unit", "description"}. `unit` is an annotation of
this codebase; a string has either an `enum` or, as free text that the bundle itself checks further, a `maxLength`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from synthzoo.errors import UserError

UNSET = ("", "n/a", "na", "nan", "none", "null")  # cells and texts that leave a value unset
TYPES = ("number", "integer", "boolean", "string")
MAX_SEED = 2**62
FIRST_ROUNDED = 2**53  # from here on a float stands for more than one integer
LONGEST_SHOWN = 60


class OutOfRange(UserError):
    """A number of the right type that lies outside its range."""


def is_unset(value: Any) -> bool:
    """Whether a value requests nothing: None, NaN, an empty text, `n/a`, `none` or `null`."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return isinstance(value, str) and value.strip().lower() in UNSET


def check_value(name: str, value: Any, schema: Mapping[str, Any], where: str = "") -> float | int | bool | str | None:
    """Return the value with the type of its property; None where it is unset.

    Args:
        name: of the condition or option, for the sentence.
        value: of the type or its text, as a cell of a table or a field of a panel has it.
        schema: the property, see above; numbers without `minimum` or `maximum` are unbounded there.
        where: file and line for the sentence, ending with a colon and a space.

    Raises:
        OutOfRange: below the minimum or above the maximum.
        UserError: wrong type, not in `enum`, longer than `maxLength`, or text that looks like a program.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if is_unset(value):
        return None
    if isinstance(value, str):
        value = value.strip()
        if looks_like_program(value):
            raise UserError(f"{where}{name} is '{value}', which looks like a program, not a value: give a plain value.")
    kind = schema.get("type")
    if kind not in TYPES:
        raise UserError(f"{where}{name} has the type '{kind}', but a property's type is one of {', '.join(TYPES)}.")
    readers: dict[str, Callable[[Any], Any]] = {
        "number": _number,
        "integer": exact_integer,
        "boolean": _boolean,
        "string": str,
    }
    try:
        typed = readers[kind](value)
        if "enum" in schema:
            typed = next(item for item in schema["enum"] if str(item).lower() == str(typed).lower())
        if "maxLength" in schema and (not isinstance(value, str) or len(value) > schema["maxLength"]):
            raise ValueError
    except (TypeError, ValueError, OverflowError, StopIteration):
        digits = ", in digits" if kind == "integer" else ""
        shown = str(value)[:LONGEST_SHOWN]
        raise UserError(f"{where}{name} is '{shown}', but must be {allowed(schema)}{digits}.") from None
    if kind in ("number", "integer"):
        _expect_in_range(name, typed, schema, where)
    return typed


def allowed(schema: Mapping[str, Any]) -> str:
    """What a property allows, as part of a sentence.

    >>> allowed({"type": "number", "minimum": 20, "maximum": 90, "unit": "years"})
    'a number from 20 to 90 years'
    """
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if schema["type"] == "boolean":
        return "true or false"
    if schema["type"] == "string":
        return f"a text of at most {schema['maxLength']} characters" if "maxLength" in schema else "a text"
    kind = "an integer" if schema["type"] == "integer" else "a number"
    low, high = schema.get("minimum"), schema.get("maximum")
    ends = [f"from {_shown(low)}"] * (low is not None) + [f"to {_shown(high)}"] * (high is not None)
    unit = [schema["unit"]] if schema.get("unit") and ends else []
    return " ".join([kind, *ends, *unit])


def looks_like_program(text: str) -> bool:
    """Whether MONAI's config parser might evaluate or resolve a text."""
    return "$" in text or text.strip().startswith(("@", "%"))


def check_seed(value: Any, name: str, where: str = "") -> int:
    """Return a seed: an integer from 0 to 2^62 - 1.

    Raises:
        UserError: anything else; a float above 2^53 may have been rounded and is refused too.
    """
    try:
        value = exact_integer(value)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{where}{name} is '{value}', but must be an integer in digits, such as 0 or 42.") from None
    if not 0 <= value < MAX_SEED:
        raise UserError(f"{where}{name} is {value}, but must lie between 0 and {MAX_SEED - 1}.")
    return value


def exact_integer(value: Any) -> int:
    """Return an integer as it was meant, whatever its size: digits never pass through float, which rounds above 2^53.

    Args:
        value: an int, its text, or a float below 2^53 without a fraction; beyond that a float may have been rounded.

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            value = float(value)  # "30.0" of a spreadsheet
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, (float, np.floating)) and abs(float(value)) < FIRST_ROUNDED and value == int(value):
        return int(value)
    raise ValueError


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    return float(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no"):
        return value.lower() in ("true", "yes")
    raise TypeError


def _expect_in_range(name: str, number: float, schema: Mapping[str, Any], where: str) -> None:
    low, high = schema.get("minimum"), schema.get("maximum")
    if (low is None or low <= number) and (high is None or number <= high):
        return
    unit = f" {schema['unit']}" if schema.get("unit") else ""
    if low is not None and high is not None:
        ends = f"lie between {_shown(low)} and {_shown(high)}{unit}"
    else:
        ends = f"be at least {_shown(low)}{unit}" if high is None else f"be at most {_shown(high)}{unit}"
    raise OutOfRange(f"{where}{name} is {_shown(number)}{unit}, but must {ends}.")


def _shown(number: float) -> str:
    """A number as people write it; an integer with all its digits, unless these are too many to read."""
    text = str(number) if isinstance(number, int) else f"{number:g}"
    return text if len(text) <= LONGEST_SHOWN else f"a number of {len(text)} digits"

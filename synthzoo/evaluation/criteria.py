"""Acceptance criteria as data: which figure of an evaluation has to stand where, as `evaluate.json` states it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

from synthzoo.errors import UserError

# Comparison -> (its words before the value, the test of a figure against the value).
COMPARISONS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "at_least": ("at least ", operator.ge),
    "at_most": ("at most ", operator.le),
    "above": ("above ", operator.gt),
    "below": ("below ", operator.lt),
    "between": ("", lambda value, bounds: bounds[0] <= value <= bounds[1]),
    "other_than": ("other than ", operator.ne),
}
NOT_MEASURED = "not measured"


def judge(criteria: Sequence[Mapping[str, Any]], figures: Mapping[str, Any]) -> list[list]:
    """Verdicts on figures, a row [label, requested, reached, "yes", "no" or "not measured"] for each criterion.

    A criterion is `{"figure": name, comparison: value, "label": text}` with one of `COMPARISONS`: a number for
    "at_least", "at_most", "above" and "below", two numbers for "between", a text for "other_than". In place of a
    number `{"figure": name, "times": factor}` takes that of another figure; "times" is 1 where it is left out. Without
    a label the figure's name stands in the table. A figure that is missing or None was not measured.

    Raises:
        UserError: a criterion that has not this form.
    """
    rows = []
    for number, criterion in enumerate(criteria):
        comparison = _checked(criterion, f"criteria[{number}]")
        words, holds = COMPARISONS[comparison]
        value, bound = figures.get(criterion["figure"]), _bound(criterion[comparison], figures)
        known = value is not None and bound is not None
        met = ("yes" if holds(value, bound) else "no") if known else NOT_MEASURED
        rows.append([criterion.get("label", criterion["figure"]), words + _text(bound), value, met])
    return rows


def count(rows: Sequence[Sequence]) -> dict[str, int]:
    """The figures `criteria_met` and `criteria` of the rows of `judge`; what was not measured is not met."""
    return {"criteria_met": sum(row[-1] == "yes" for row in rows), "criteria": len(rows)}


def _checked(criterion: Mapping[str, Any], where: str) -> str:
    """The comparison of a criterion."""
    if not isinstance(criterion, Mapping) or not isinstance(criterion.get("figure"), str):
        raise UserError(f"{where} is {criterion!r}: it needs 'figure', the name of a figure in metrics.json.")
    named = [key for key in criterion if key in COMPARISONS]
    unknown = [key for key in criterion if key not in {"figure", "label", *COMPARISONS}]
    if len(named) != 1 or unknown:
        raise UserError(f"{where} has {', '.join(criterion)}: it takes 'figure', 'label' and one of {_listed()}.")
    value, (comparison,) = criterion[named[0]], named
    if comparison == "other_than":
        right = isinstance(value, str)
    elif comparison == "between":
        right = isinstance(value, Sequence) and len(value) == 2 and all(_is_number(bound) for bound in value)
    else:
        right = _is_number(value) or (isinstance(value, Mapping) and {"figure"} <= set(value) <= {"figure", "times"})
    if not right:
        raise UserError(
            f"{where}: {comparison} is {value!r}; 'other_than' takes a text, 'between' two numbers, the others a "
            'number or {"figure": name, "times": factor}.'
        )
    return comparison


def _bound(value: Any, figures: Mapping[str, Any]) -> Any:
    if not isinstance(value, Mapping):
        return value
    found = figures.get(value["figure"])
    return None if found is None else value.get("times", 1) * found


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _text(bound: Any) -> str:
    if bound is None:
        return NOT_MEASURED
    if _is_number(bound):
        return f"{bound:.4g}"
    return bound if isinstance(bound, str) else " to ".join(f"{one:.4g}" for one in bound)


def _listed() -> str:
    return ", ".join(f"'{name}'" for name in COMPARISONS)

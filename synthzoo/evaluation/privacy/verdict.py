"""Verdicts of an audit from criteria as data: leak, pass, or not shown safe, for each test and for all together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthzoo.errors import UserError
from synthzoo.evaluation.criteria import judge

PASS, UNSURE, LEAK = "pass", "not shown safe", "leak"
CRITERIA = Path(__file__).with_name("criteria.json")


def criteria_of(given: Mapping[str, Any] | None = None, path: str | Path = "criteria") -> dict[str, Any]:
    """Criteria in the form of `criteria.json`; what `given` leaves out is taken from there.

    Args:
        given: content of a file of one's own; None takes all of `criteria.json`.
        path: of that file, for sentences.

    Raises:
        UserError: no JSON object, an unknown key, a number out of range, or a criterion that has not the agreed form.
    """
    default = json.loads(CRITERIA.read_text(encoding="utf-8"))
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not isinstance(given.get("tests", {}), Mapping):
        raise UserError(f"{path}: criteria are a JSON object with the keys {', '.join(default)}.")
    unknown = [key for key in given if key not in default]
    unknown += [f"tests.{key}" for key in given.get("tests", {}) if key not in default["tests"]]
    if unknown:
        raise UserError(f"{path}: unknown key {unknown[0]}; the known ones are {', '.join(default)}.")
    merged = {**default, **given, "tests": {**default["tests"], **given.get("tests", {})}}
    for key in ("copies_share", "link_share", "membership_share", "duplicate_below"):
        if not isinstance(merged[key], (int, float)) or not 0 < merged[key] < 1:
            raise UserError(f"{path}: {key} is {merged[key]!r}, but must lie between 0 and 1.")
    if not isinstance(merged["least_patients"], int) or merged["least_patients"] < 20:
        raise UserError(f"{path}: least_patients is {merged['least_patients']!r}, but must be an integer from 20.")
    for name, rules in merged["tests"].items():
        if not isinstance(rules, Mapping) or set(rules) != {"leak", "pass"}:
            raise UserError(f"{path}: tests.{name} needs 'leak' and 'pass', a list of criteria each.")
        judge(rules["leak"], {})
        judge(rules["pass"], {})
    return merged


def figures_of(test: Mapping[str, Any], tests: int) -> dict[str, float]:
    """What criteria may name: the rates `attack`, `control` and `baseline`; `risk` and `ratio` with the ends of their
    intervals, `_low` and `_high`; `chance`, the probability of as many claims by chance times the number of tests."""
    figures = {}
    if "risk" in test:
        low, high = test["risk"]["interval"]
        figures = {"risk": test["risk"]["value"], "risk_low": low, "risk_high": high}
        figures |= {name: test[name]["rate"] for name in ("attack", "control", "baseline")}
        if test["probability_by_chance"] is not None:
            figures["chance"] = min(1.0, tests * test["probability_by_chance"])
    if "ratio" in test:
        low, high = test["interval"]
        figures |= {"ratio": test["ratio"], "ratio_low": low, "ratio_high": high}
    return figures


def judge_tests(tests: Sequence[dict[str, Any]], criteria: Mapping[str, Any]) -> str:
    """Give each test its "verdict", None where it has no criteria, and return that of all together.

    One leak is a leak. Safe is only what every test calls so.
    """
    many = sum(test.get("probability_by_chance") is not None for test in tests)
    for test in tests:
        rules = criteria["tests"].get(test["test"])
        test["verdict"] = None if rules is None else _verdict(rules, figures_of(test, many))
    verdicts = [test["verdict"] for test in tests if test["verdict"]]
    if LEAK in verdicts:
        return LEAK
    return PASS if verdicts and all(verdict == PASS for verdict in verdicts) else UNSURE


def _verdict(rules: Mapping[str, Sequence], figures: Mapping[str, float]) -> str:
    for verdict, name in ((LEAK, "leak"), (PASS, "pass")):
        rows = judge(rules[name], figures)
        if rows and all(row[-1] == "yes" for row in rows):
            return verdict
    return UNSURE

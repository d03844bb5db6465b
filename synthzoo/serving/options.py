"""What a client may ask of a bundle: every option with its type, range and meaning, read from the bundle's own files.

A value of a request never reaches a config as text to be parsed: it is checked here against metadata.json's `synthzoo`
block and goes on as a number or as one of the listed words. There is no third kind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from synthzoo.cases.requests import LEFT_OUT, MAX_SEED, check_value, exact_whole
from synthzoo.errors import UserError

LONGEST_TEXT = 200
MOST_SAMPLES = 64


@dataclass(frozen=True)
class Option:
    """One thing that a client may set.

    Args:
        name: the key in the bundle's inference.json.
        kind: "number", "whole" (number), "word" (one of `choices`) or "flag".
        default: the value without a request; None leaves a condition out.
        low, high: ends of the range of a number, both included.
        choices: the words.
        unit, meaning: for people.
        condition: True for what the image shall show, False for how it is made.
    """

    name: str
    kind: str
    default: Any = None
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    meaning: str = ""
    condition: bool = False

    def check(self, value: Any) -> Any:
        """The value, typed; None where a condition was left out.

        Raises:
            UserError: wrong type, out of range, not among the choices, text that is too long or looks like a program.
        """
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise UserError(
                f"{self.name} is a text of {len(value)} characters, but at most {LONGEST_TEXT} are taken: give "
                f"{self.wanted()}."
            )
        if isinstance(value, (list, tuple, dict)):
            raise UserError(f"{self.name} is a {type(value).__name__}, but must be {self.wanted()}.")
        nothing = value is None or (isinstance(value, float) and math.isnan(value))
        if nothing or (isinstance(value, str) and value.strip().lower() in LEFT_OUT):
            if self.condition:
                return None
            return self.default
        if isinstance(value, str) and ("$" in value or value.strip().startswith(("@", "%"))):
            raise UserError(f"{self.name} is '{value}', which looks like a program, not a value: give a plain value.")
        if self.kind == "flag":
            return self._flag(value)
        if self.kind == "word":
            if not isinstance(value, str):
                raise UserError(f"{self.name} is {value!r}, but must be {self.wanted()}.")
            return check_value(self.name, value, {"choices": list(self.choices)})
        if self.kind == "whole":
            return self._whole(value)
        return check_value(self.name, value, {"range": list(self._range()), "unit": self.unit})

    def _range(self) -> tuple[float, float]:
        return -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high

    def _whole(self, value: Any) -> int:
        """Exact at any size, for a seed of 19 digits is another one when its last digit changes."""
        try:
            number = exact_whole(value)
        except ValueError:
            raise UserError(f"{self.name} is {str(value)[:60]!r}, but must be {self.wanted()}, in digits.") from None
        low, high = self._range()
        if not low <= number <= high:
            unit, shown = f" {self.unit}" if self.unit else "", f"{number}"
            shown = shown if len(shown) <= 60 else f"a number of {len(shown)} digits"
            raise UserError(f"{self.name} is {shown}{unit}, but must lie between {low} and {high}{unit}.")
        return number

    def _flag(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no"):
            return value.lower() in ("true", "yes")
        raise UserError(f"{self.name} is {value!r}, but must be true or false.")

    def wanted(self) -> str:
        """What is allowed, as part of a sentence."""
        if self.kind == "flag":
            return "true or false"
        if self.kind == "word":
            return f"one of {', '.join(self.choices)}"
        kind = "a whole number" if self.kind == "whole" else "a number"
        if self.low is None or self.high is None:
            return kind
        low, high = (f"{end}" if isinstance(end, int) else f"{end:g}" for end in (self.low, self.high))
        return f"{kind} from {low} to {high}{' ' + self.unit if self.unit else ''}"

    def describe(self) -> dict[str, Any]:
        """The option in JSON's types, for a client that builds a panel of it."""
        text: dict[str, Any] = {"kind": self.kind, "default": self.default, "meaning": self.meaning}
        if self.low is not None and self.high is not None:
            text["range"] = [self.low, self.high]
        if self.choices:
            text["choices"] = list(self.choices)
        if self.unit:
            text["unit"] = self.unit
        text["condition"] = self.condition
        return text


def bundle_options(metadata: Mapping, config: Mapping) -> dict[str, Option]:
    """The options of a bundle by name: its conditions, then seed and number, then the settings that metadata lists.

    Args:
        metadata: content of configs/metadata.json; `synthzoo.conditions` and `synthzoo.options` are read.
        config: content of configs/inference.json, whose top-level values are the defaults.
    """
    block = metadata.get("synthzoo", {})
    found: dict[str, Option] = {}
    for name, rule in block.get("conditions", {}).items():
        if name in config:
            default = rule["default"] if "default" in rule else plain_value(config[name])
            found[name] = option_of(name, rule, default, condition=True)
    if "seed" in config:
        meaning = "decides the start noise: the same seed and options give the same voxels"
        found["seed"] = Option("seed", "whole", plain_value(config["seed"]) or 0, 0, MAX_SEED - 1, meaning=meaning)
    if "num_samples" in config:
        meaning = "how many to make; each has the next seed"
        found["num_samples"] = Option("num_samples", "whole", 1, 1, MOST_SAMPLES, meaning=meaning)
    for name, rule in block.get("options", {}).items():
        if name in config:
            found[name] = option_of(name, rule, plain_value(config[name]), condition=False)
    return found


def option_of(name: str, rule: Mapping, default: Any, condition: bool) -> Option:
    """An option from {"range": [low, high], "unit", "whole"}, {"choices": [...]} or {"flag": true}, and "meaning"."""
    common = {"default": default, "meaning": rule.get("meaning", ""), "condition": condition}
    if "choices" in rule:
        return Option(name, "word", choices=tuple(str(choice) for choice in rule["choices"]), **common)
    if rule.get("flag"):
        return Option(name, "flag", **common)
    low, high = rule.get("range", (None, None))
    kind = "whole" if rule.get("whole") else "number"
    return Option(name, kind, low=low, high=high, unit=rule.get("unit", ""), **common)


def plain_value(value: Any) -> Any:
    """A literal of a config, or None for an expression or a structure."""
    if isinstance(value, (bool, int, float)):
        return value
    return value if isinstance(value, str) and value[:1] not in ("$", "@", "%") else None


def check_options(options: Mapping[str, Option], requested: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The checked values of what was requested; options that were not requested are left to the bundle.

    Raises:
        UserError: an unknown name, or what `Option.check` refuses.
    """
    checked = {}
    for name, value in requested.items():
        if name not in options:
            shown = name if len(name) <= 60 else f"{name[:60]}..."
            raise UserError(f"{where} has no option '{shown}': the known ones are {', '.join(options) or 'none'}.")
        checked[name] = options[name].check(value)
    return checked

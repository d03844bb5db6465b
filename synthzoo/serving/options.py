"""Options of a bundle for a client, as JSON Schema properties, read from the bundle's own files.

A value of a request never reaches a config as text to be parsed: it is checked here against metadata.json's `synthzoo`
block and goes on as a number, a boolean, one of the listed strings, or a text of bounded length that holds nothing
which a config would evaluate, and that the bundle itself checks word by word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from synthzoo.cases.values import MAX_SEED, allowed, check_value, is_unset, looks_like_program
from synthzoo.errors import UserError

LONGEST_TEXT = 200
MOST_SAMPLES = 64
IMAGE = "image"  # format of an option that names an image


@dataclass(frozen=True)
class Option:
    """One thing that a client may set.

    Args:
        name: the key in the bundle's inference.json.
        type: "number", "integer", "boolean" or "string".
        default: the value without a request; None leaves a condition unset.
        minimum, maximum: ends of the range of a number, both included.
        enum: the strings to choose from.
        max_length: characters of a free text, at most; None where there is an enum.
        unit, description: for people.
        condition: True for what the image shall show, False for how it is generated.
        examples: texts that a panel offers.
        format: "image" where a text that is none of `examples` is the id of an image of the server's datastore.
    """

    name: str
    type: str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    enum: tuple[str, ...] = ()
    unit: str = ""
    description: str = ""
    condition: bool = False
    max_length: int | None = None
    examples: tuple[str, ...] = ()
    format: str = ""

    def check(self, value: Any) -> Any:
        """The value, typed; None where a condition is unset.

        Raises:
            UserError: wrong type, out of range, not in the enum, text that is too long or looks like a program, a
                path in place of the id of an image.
        """
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise UserError(
                f"{self.name} is a text of {len(value)} characters, but at most {LONGEST_TEXT} are accepted: give "
                f"{self.allowed()}."
            )
        if isinstance(value, (list, tuple, dict)):
            raise UserError(f"{self.name} is a {type(value).__name__}, but must be {self.allowed()}.")
        if is_unset(value):
            return None if self.condition else self.default
        value = check_value(self.name, value, self.schema())
        is_path = any(part in str(value) for part in ("/", "\\", ".."))
        if self.format == IMAGE and value not in self.examples and is_path:
            raise UserError(f"{self.name} is '{value}', but must be {self.allowed()}; a server takes no path.")
        return value

    def schema(self) -> dict[str, Any]:
        """The option as a property of JSON Schema, without its default."""
        stated = {
            "type": self.type,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "enum": list(self.enum) or None,
            "maxLength": self.max_length,
            "format": self.format or None,
            "examples": list(self.examples) or None,
            "unit": self.unit or None,
            "description": self.description or None,
        }
        return {key: value for key, value in stated.items() if value is not None}

    def allowed(self) -> str:
        """What is allowed, as part of a sentence."""
        if self.format == IMAGE:
            return f"one of {', '.join(self.examples)}, or the id of an image of the datastore"
        return allowed(self.schema())

    def describe(self) -> dict[str, Any]:
        """The option for a client that builds a panel of it: the property, its default, and whether it may be unset."""
        return {**self.schema(), "default": self.default, "condition": self.condition}


def bundle_options(metadata: Mapping, config: Mapping) -> dict[str, Option]:
    """The options of a bundle by name: its conditions, then seed and number, then the settings that metadata lists.

    Args:
        metadata: content of configs/metadata.json; `synthzoo.conditions` and `synthzoo.options` are read.
        config: content of configs/inference.json, whose top-level values are the defaults.
    """
    block = metadata.get("synthzoo", {})
    found: dict[str, Option] = {}
    for name, schema in block.get("conditions", {}).items():
        if name in config:
            found[name] = option_of(name, schema, plain_value(config[name]), condition=True)
    if "seed" in config:
        text = "decides the start noise: the same seed and options give the same voxels"
        found["seed"] = Option("seed", "integer", plain_value(config["seed"]) or 0, 0, MAX_SEED - 1, description=text)
    if "num_samples" in config:
        text = "how many to generate; each has the next seed"
        found["num_samples"] = Option("num_samples", "integer", 1, 1, MOST_SAMPLES, description=text)
    for name, schema in block.get("options", {}).items():
        if name in config:
            found[name] = option_of(name, schema, plain_value(config[name]), condition=False)
    return found


def option_of(name: str, schema: Mapping[str, Any], default: Any, condition: bool) -> Option:
    """An option from its property in metadata.json and its default in inference.json."""
    return Option(
        name,
        schema["type"],
        default,
        schema.get("minimum"),
        schema.get("maximum"),
        tuple(schema.get("enum", ())),
        schema.get("unit", ""),
        schema.get("description", ""),
        condition,
        schema.get("maxLength"),
        tuple(schema.get("examples", ())),
        schema.get("format", ""),
    )


def plain_value(value: Any) -> Any:
    """A literal of a config, or None for an expression or a structure."""
    if isinstance(value, (bool, int, float)):
        return value
    return value if isinstance(value, str) and not looks_like_program(value) else None


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

"""The task panel as data for the page: a field per option of a model, and what a filled-in panel requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from SynthZooLib.models import Model

MOST_BUTTONS = 4


def panel_fields(model: Model) -> list[dict[str, Any]]:
    """A field per option, in the server's order: "slider", "number", "buttons", "menu", "switch" or "text"."""
    fields = []
    for option in model.options.values():
        widget = {"string": "menu", "boolean": "switch"}.get(option.type, "slider" if option.bounded else "number")
        if option.max_length is not None:
            widget = "text"
        if widget == "menu" and len(option.enum) <= MOST_BUTTONS:
            widget = "buttons"
        fields.append(
            {
                "name": option.name,
                "label": f"{option.title} ({option.unit})" if option.unit else option.title,
                "widget": widget,
                "minimum": option.minimum,
                "maximum": option.maximum,
                "step": option.step,
                "enum": list(option.enum),
                "longest": option.max_length,
                "examples": list(option.examples),
                "help": option.help(),
                "asked": option.asked,
                "optional": option.may_be_unset,
            }
        )
    return fields


def start_values(model: Model) -> tuple[dict[str, Any], dict[str, bool]]:
    """The panel as it opens: a value per option, and whether it is sent; what has no default is not."""
    values = {name: option.start for name, option in model.options.items()}
    return values, {name: option.default is not None for name, option in model.options.items()}


def request_of(model: Model, values: Mapping[str, Any], given: Mapping[str, bool]) -> dict[str, Any]:
    """What a filled-in panel requests, typed; None for a condition that is unset.

    Raises:
        ZooError: a value of another type or out of range.
    """
    return {
        name: option.check(values.get(name) if given.get(name) and values.get(name) != "" else None)
        for name, option in model.options.items()
    }

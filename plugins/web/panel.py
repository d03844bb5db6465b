"""The task panel as data for the page: a field per option of a model, and what a filled-in panel asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from SynthZooLib.models import Model

MOST_BUTTONS = 4


def panel_fields(model: Model) -> list[dict[str, Any]]:
    """A field per option, in the server's order; widgets are "slider", "number" (typed), "buttons", "words", "flag"."""
    fields = []
    for option in model.options.values():
        widget = {"word": "words", "flag": "flag"}.get(option.kind, "slider" if option.bounded else "number")
        if widget == "words" and len(option.choices) <= MOST_BUTTONS:
            widget = "buttons"
        fields.append(
            {
                "name": option.name,
                "label": f"{option.title} ({option.unit})" if option.unit else option.title,
                "widget": widget,
                "low": option.low,
                "high": option.high,
                "step": option.step,
                "choices": list(option.choices),
                "help": option.help(),
                "condition": option.condition,
                "optional": option.may_be_left_out,
            }
        )
    return fields


def start_values(model: Model) -> tuple[dict[str, Any], dict[str, bool]]:
    """The panel as it opens: a value per option, and whether it is sent; what has no default is not."""
    values = {name: option.start for name, option in model.options.items()}
    return values, {name: option.default is not None for name, option in model.options.items()}


def request_of(model: Model, values: Mapping[str, Any], given: Mapping[str, bool]) -> dict[str, Any]:
    """What a filled-in panel asks for, typed; None for a condition that is left out.

    Raises:
        ZooError: a value of another kind or out of range.
    """
    return {
        name: option.check(values.get(name) if given.get(name) and values.get(name) != "" else None)
        for name, option in model.options.items()
    }

"""The kinds of output that a bundle may state in metadata.json: how each is stored by a server and shown by a viewer.

A new kind is an entry here and in the schema, and a way of showing it in each viewer: the server, the panel in Slicer
and the page read `view` and `stored` from `/zoo/index` and name no kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OutputKind:
    """What an output is to those that store and show it.

    Args:
        title: a noun for people.
        view: how it is shown: "image" (a volume or a flat image), "video", "overlay" (floats over the input), "labels",
            "scores" (a table of classes and their probabilities, beside the input) or "text".
        stored: what a server keeps it as: "study", an image of its own; "label", of the image that it was made from;
            "info", what is known of that image; "" is sent only.
        tag: of a label; "" takes the tag that the request names.
    """

    title: str
    view: str
    stored: str = ""
    tag: str = ""


# In the order in which a viewer needs them: labels are drawn on the grid of what lies behind them.
OUTPUT_KINDS = {
    "image": OutputKind("image", "image", "study"),
    "video": OutputKind("video", "video", "study"),
    "heat_map": OutputKind("map", "overlay", "label", "heatmap"),
    "confidence": OutputKind("confidence map", "overlay", "label", "confidence"),
    "label": OutputKind("labels", "labels", "label"),
    "class_scores": OutputKind("class scores", "scores", "info"),
    "table": OutputKind("table", "text"),
}


def describe_outputs(outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The outputs of a bundle as metadata states them, each with its title, view and place, in the registry's order."""
    found = {}
    for name, kind in OUTPUT_KINDS.items():
        if name in outputs:
            found[name] = {"title": kind.title, "view": kind.view, "stored": kind.stored, **outputs[name]}
    return found


def kinds_shown_as(view: str, outputs: Iterable[str]) -> list[str]:
    """The kinds among a bundle's outputs that have this view."""
    return [name for name, kind in OUTPUT_KINDS.items() if kind.view == view and name in set(outputs)]


def kinds_stored_as(place: str, outputs: Iterable[str]) -> list[str]:
    """The kinds among a bundle's outputs that a server keeps as a "study", as a "label" or as "info"."""
    return [name for name, kind in OUTPUT_KINDS.items() if kind.stored == place and name in set(outputs)]


def can_be_shown(outputs: Iterable[str]) -> bool:
    """Whether a viewer of images has use for a bundle: it gives more than text."""
    return any(kind.view != "text" and name in set(outputs) for name, kind in OUTPUT_KINDS.items())

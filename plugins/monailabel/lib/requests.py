"""The parameters of a request: the bundle's own options, and the few that say how the answer shall look."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib.plain_json import plain_json
from synthzoo.bundle.outputs import kinds_shown_as
from synthzoo.errors import UserError
from synthzoo.serving.options import Option, check_options
from synthzoo.serving.served import ServedBundle

LONGEST_PARAMS = 100_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# What stock clients send along and this app has no use for.
PASSED_OVER = (
    "client_id",
    "device",
    "logging",
    "multi_gpu",
    "gpus",
    "max_workers",
    "max_batch_size",
    "timeout",
    "result_compress",
    "restore_label_idx",
)


@dataclass
class Request:
    """A checked request.

    Args:
        values: options of the bundle by name, typed; unset ones are the bundle's defaults.
        extras: result, result_extension, result_dtype, model_version, store, save_label, label_tag, job, source_tag.
    """

    values: dict[str, Any]
    extras: dict[str, Any]


def extra_options(bundle: ServedBundle) -> dict[str, Option]:
    """How the answer shall look: which output, which file format, which weights, and what is stored."""
    kinds = (*bundle.outputs, *(["bands"] if kinds_shown_as("overlay", bundle.outputs) else []))
    versions = tuple(bundle.known_versions())
    newest = "weights; newest by default"
    mark = "tag of the image's label that says which voxels are meant"
    marks = (
        {} if bundle.mark is None else {"source_tag": Option("source_tag", "string", description=mark, max_length=128)}
    )
    return marks | {
        "result": Option("result", "string", None, enum=("auto", *kinds), description="which output comes back"),
        "result_extension": Option("result_extension", "string", None, enum=(".nii.gz", ".nii", ".nrrd")),
        "result_dtype": Option("result_dtype", "string", None, enum=("uint8", "float32")),
        "model_version": Option("model_version", "string", None, enum=versions, description=newest),
        "store": Option("store", "boolean", True, description="add generated images to the datastore"),
        "save_label": Option("save_label", "boolean", False, description="store maps of a stored image as its labels"),
    }


def read_params(text: str | None, name: str = "params") -> dict[str, Any]:
    """The JSON object of a form field."""
    text = text or "{}"
    if len(text) > LONGEST_PARAMS:
        raise UserError(f"{name} has {len(text)} characters, but at most {LONGEST_PARAMS} are taken.")
    return expect_object(plain_json(text, name), name)


def expect_object(params: Any, name: str = "params") -> dict[str, Any]:
    """The parameters, if they are an object of names and values."""
    if params is None:
        return {}
    if not isinstance(params, dict):
        raise UserError(f'{name} is a {type(params).__name__}, but must be an object such as {{"seed": 1}}.')
    return params


def read_request(bundle: ServedBundle, requested: Mapping[str, Any]) -> Request:
    """Check everything that a client sent.

    Raises:
        UserError: an unknown name, a value of the wrong type or out of range, text that could be a program or a path.
    """
    extras_known = extra_options(bundle)
    extras: dict[str, Any] = {name: option.default for name, option in extras_known.items()}
    extras |= {"label_tag": "original", "job": None, "source_tag": None}
    own: dict[str, Any] = {}
    for name, value in requested.items():
        if name in ("label_tag", "job", "source_tag"):
            extras[name] = expect_name(name, value) if value not in (None, "") else extras[name]
        elif name in extras_known:
            extras[name] = extras_known[name].check(value)
        elif name in PASSED_OVER:
            expect_plain(name, value)
        else:
            own[name] = value
    values = check_options(bundle.options, own, bundle.name)
    return Request(values, extras)


def expect_name(key: str, value: Any) -> str:
    """A name that is safe as part of a path."""
    if not isinstance(value, str) or not NAME.fullmatch(value) or ".." in value:
        shown = str(value)[:60]
        raise UserError(f"{key} is '{shown}', but must be 1 to 128 letters, digits, ., - or _, a letter first.")
    return value


def expect_plain(key: str, value: Any) -> None:
    """A number, a boolean or a short harmless text."""
    if value is None or isinstance(value, (bool, int, float)):
        return
    if not isinstance(value, str) or len(value) > 200 or "$" in value or "/" in value or "\\" in value:
        raise UserError(f"{key} is {str(value)[:60]!r}, but must be a plain text or number.")

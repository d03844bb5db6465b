"""Configs of the bundle as this system runs them in one process: inference.json, overlays on it, overrides last."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

READ_BY_MONAI = re.compile("[#@%$]")  # references, separators, copies and expressions


def load_stage(bundle: str | Path, overlays: Sequence[str] = (), overrides: Mapping[str, Any] | None = None) -> Any:
    """A `ConfigParser` over configs of a bundle.

    Args:
        bundle: its folder.
        overlays: stems in order, such as ("train_teacher", "student").
        overrides: values by id, such as {"train#trainer#max_epochs": 2}; a `Path` is text from first to last.
    """
    parser = ConfigParser()
    parser.read_config([str(Path(bundle) / "configs" / f"{stem}.json") for stem in ("inference", *overlays)])
    for key, value in {"bundle_root": Path(bundle), **dict(overrides or {})}.items():
        parser.set(literal(value) if isinstance(value, Path) else value, key)
    return parser


def run_stage(bundle: str | Path, overlays: Sequence[str], overrides: Mapping[str, Any] | None = None) -> None:
    """Run what a config names as `run`."""
    load_stage(bundle, overlays, overrides).get_parsed_content("run")


def literal(value: Any) -> Any:
    """A value whose texts and paths, at any depth, MONAI's parser reads as they stand, and not as references."""
    if isinstance(value, Mapping):
        return {key: literal(item) for key, item in value.items()}
    if not isinstance(value, (str, Path)):
        return value
    text = str(value)
    return "$'" + "".join(f"\\U{ord(letter):08x}" for letter in text) + "'" if READ_BY_MONAI.search(text) else text

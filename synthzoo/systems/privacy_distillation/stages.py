"""Configs of the bundle as this system runs them in one process: inference.json, overlays on it, overrides last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser


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
        parser.set(spelled(value) if isinstance(value, Path) else value, key)
    return parser


def run_stage(bundle: str | Path, overlays: Sequence[str], overrides: Mapping[str, Any] | None = None) -> None:
    """Run what a config names as `run`."""
    load_stage(bundle, overlays, overrides).get_parsed_content("run")


def spelled(path: Path) -> str:
    """A path as an expression of which MONAI's parser reads no letter as a reference or a separator."""
    return "$'" + "".join(f"\\U{ord(letter):08x}" for letter in str(path)) + "'"

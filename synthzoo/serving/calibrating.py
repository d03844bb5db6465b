"""The calibration of fine-tuned weights, by the bundle's own `calibrate.json` where it has one.

A calibration belongs to its weights: what a network says of healthy anatomy changes with every step of a training, and
a threshold that was set for the released map says little about another one.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from synthzoo.bundle.compose import load_config
from synthzoo.bundle.find import read_json, read_metadata
from synthzoo.errors import find_user_error
from synthzoo.io.files import atomic_path
from synthzoo.serving.options import bundle_options

CONFIG = "calibrate"


def calibration_subjects(bundle: str | Path) -> int | None:
    """Number of subjects that the bundle's calibration takes by default; None for a bundle without one."""
    path = Path(bundle) / "configs" / f"{CONFIG}.json"
    return int(read_json(path)["calibration"]["subjects"]) if path.is_file() else None


def calibrate(
    bundle: str | Path, weights: str | Path, subjects: int | None = None, device: str | None = None
) -> dict[str, Any]:
    """Run `calibrate.json` on a weights file, which is replaced whole in the end or stays as it was.

    Args:
        bundle: its folder, with configs/calibrate.json: `weights`, `save_to` and `calibration#subjects` are set in it,
            and what its `run` gives are settings of the bundle that the calibration has found, by name.
        weights: the file.
        subjects: None takes that of the config.
        device: None takes that of the config.

    Returns:
        For version.json: `calibrated`, `calibration_time`, and `settings`, the defaults that go with these weights.

    Raises:
        UserError: weights that do not fit, a full disk.
    """
    bundle, weights = Path(bundle), Path(weights)
    overrides: dict[str, Any] = {"weights": str(weights)}
    if subjects is not None:
        overrides["calibration#subjects"] = subjects
    if device is not None:
        overrides["device"] = f"$torch.device({device!r})"
    began = time.monotonic()
    try:
        with atomic_path(weights) as made:
            parser = load_config(bundle, overlays=(CONFIG,), overrides={**overrides, "save_to": str(made)})
            results = parser.get_parsed_content("run")
    except Exception as error:
        mistake = find_user_error(error)
        if mistake is not None:
            raise mistake from error
        raise
    options = bundle_options(read_metadata(bundle), read_json(bundle / "configs" / "inference.json"))
    found = {name: value for result in results or () if isinstance(result, dict) for name, value in result.items()}
    settings = {name: options[name].check(value) for name, value in found.items() if name in options}
    return {"calibrated": True, "calibration_time": f"{time.monotonic() - began:.0f} s", "settings": settings}


def settings_of(weights: str | Path) -> dict[str, Any]:
    """The settings that a calibration has found for a weights file; none for the released ones."""
    path = Path(weights).with_name("version.json")
    return read_json(path).get("settings", {}) if path.is_file() else {}

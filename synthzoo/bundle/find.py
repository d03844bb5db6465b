"""Where bundles are, what their JSON files say, and which names they may have; reads files only, loads no torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from synthzoo.errors import UserError

TASKS = (
    "synthesis",
    "translation",
    "anomaly_map",
    "counterfactual",
    "grounding",
    "segmentation",
    "classification",
    "privacy_audit",
)
# MONAI Label guesses a model's type from these substrings of its folder name.
MISLEADING = ("detection", "deepedit", "deepgrow")


def find_bundles(root: str | Path = ".") -> list[Path]:
    """The bundle folders in `root`, in `root/bundles`, or `root` itself if it is one; sorted by name.

    A bundle is a folder with `configs/metadata.json`; there is nothing to register.
    """
    root = Path(root)
    if (root / "configs" / "metadata.json").is_file():
        return [root]
    folder = root / "bundles" if (root / "bundles").is_dir() else root
    return sorted(meta.parents[1] for meta in folder.glob("*/configs/metadata.json") if meta.parents[1].name[0] != ".")


def find_bundle(name: str | Path, root: str | Path = ".") -> Path:
    """The folder of one bundle, by name or by path; UserError lists the names that exist."""
    if (Path(name) / "configs" / "metadata.json").is_file():
        return Path(name)
    bundles = {bundle.name: bundle for bundle in find_bundles(root)}
    if str(name) not in bundles:
        known = ", ".join(bundles) or "none"
        raise UserError(f"{name}: there is no bundle of this name or path in {root}; bundles here: {known}.")
    return bundles[str(name)]


def read_json(path: str | Path) -> Any:
    """The content of a JSON file; UserError names the file and the line that does not parse."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: this file does not exist.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); mend the file.") from error


def read_metadata(bundle: str | Path) -> dict:
    """`configs/metadata.json` of a bundle folder."""
    return read_json(Path(bundle) / "configs" / "metadata.json")


def bundle_files(bundle: str | Path) -> list[Path]:
    """Every file of a bundle that belongs to it, sorted by its relative path.

    Left out are hidden files and folders, caches, checkpoints and what a run writes: `eval/`, `output/`, `runs/`.
    """
    bundle = Path(bundle)
    skipped = {"__pycache__", "eval", "out", "output", "outputs", "runs", "checkpoints", "logs"}
    files = []
    for path in bundle.rglob("*"):
        parts = path.relative_to(bundle).parts
        if path.is_file() and not any(part.startswith(".") or part in skipped for part in parts):
            files.append(path)
    return sorted(files, key=lambda path: path.relative_to(bundle).as_posix())


def check_name(name: str, task: str | None = None) -> str:
    """Return `name` if it is `<anatomy>_<modality>_<task>_<method>` and safe for the stock tools.

    Raises:
        UserError: `_v` anywhere (MONAI splits index names there and never finds the bundle), a word from which
            MONAI Label guesses another task, capitals or signs, or fewer than four words.
    """
    why = None
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", name):
        why = "only lower-case letters, digits and single underscores are allowed"
    elif "_v" in name:
        why = "'_v' is not allowed anywhere, because MONAI cuts index names there and could not find the bundle"
    elif word := next((word for word in MISLEADING if word in name), None):
        why = f"'{word}' is not allowed, because MONAI Label guesses the task from it"
    elif "classification" in name and task not in (None, "classification"):
        why = "'classification' is allowed only if that is the task, because MONAI Label guesses the task from it"
    elif len(name.split("_")) < 4:
        why = "it needs at least four words, <anatomy>_<modality>_<task>_<method>"
    if why:
        raise UserError(f"bundle name '{name}': {why}; for example brain_mr_synthesis_ldm.")
    return name

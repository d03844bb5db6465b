"""What people type: the stacks of configs that the bundles' files name, and the functions that scripts call."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from bundle_runs import ROOT

from synthzoo.bundle.compose import load_config
from synthzoo.bundle.find import find_bundles, read_metadata

BUNDLES = find_bundles(ROOT)
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))


def bases(bundle: Path) -> list[str]:
    """The configs that are complete alone: inference.json and those of further tasks."""
    tasks = read_metadata(bundle).get("synthzoo", {}).get("tasks", {})
    return ["inference", *(task["config"] for task in tasks.values())]


def stacks(bundle: Path) -> list[list[str]]:
    """Every list of configs that a file of the bundle tells to run together, those that are complete alone first."""
    texts = [path.read_text() for path in [*bundle.glob("configs/*.json"), bundle / "docs" / "README.md"]]
    told = {
        tuple(re.findall(r"configs/(\w+)\.json", found)) for text in texts for found in re.findall(r"\[[^]]+\]", text)
    }
    alone = bases(bundle)
    return [[base] for base in alone] + sorted(list(stems) for stems in told if len(stems) > 1 and stems[0] in alone)


STACKS = [(bundle, tuple(stems)) for bundle in BUNDLES for stems in stacks(bundle)]


def command(bundle: Path, stems: tuple[str, ...] = ("inference",)) -> list[str]:
    return ["--config_file", str([str(bundle / "configs" / f"{stem}.json") for stem in stems])]


@cache
def merged(bundle: Path, stems: tuple[str, ...]) -> dict:
    return load_config(bundle, stems[1:], base=stems[0]).get()


def plain(config: dict) -> dict:
    """The keys that hold no component."""
    return {key: held for key, held in config.items() if key[0] != "_" and not isinstance(held, dict)}


@cache
def functions(script: Path) -> list[Callable]:
    """What the command line of a script calls: the argument of `run` at its end."""
    calls = [
        node
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run"
    ]
    assert len(calls) == 1, f"{script.name}: ends in one run(...) of synthzoo.cli"
    spec = importlib.util.spec_from_file_location(f"script_{script.stem}", script)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    commands = eval(compile(ast.Expression(calls[0].args[0]), script.name, "eval"), vars(module))
    return list(commands.values()) if isinstance(commands, dict) else [commands]

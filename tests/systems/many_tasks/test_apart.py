"""Lesions of the evaluation stay apart from what training sees: another generator, other subjects, other seeds."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from synthzoo.datasets.brain.phantoms import SPLITS
from synthzoo.evaluation import large_lesions
from synthzoo.phantoms.brain.pathology.pool import FIRST_ANATOMY

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "bundles" / "brain_mr_anomaly_map_manytasks" / "configs"
# What makes and paints the lesions of the evaluation; what surrounds a brain in training is in pathology.views.
GROWN = {f"synthzoo.phantoms.brain.pathology.{name}" for name in ("growing", "lesion", "subject")}
LESIONS = GROWN | {f"synthzoo.phantoms.brain.pathology.{name}" for name in ("pool", "scans", "looks")}
LESIONS |= {"synthzoo.evaluation.large_lesions", "synthzoo.phantoms.brain.stripped"}


def file_of(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def reached(modules: set[str]) -> set[str]:
    """The modules of the library that these import, directly or not."""
    found, open_ones = set(), list(modules)
    while open_ones:
        module = open_ones.pop()
        path = file_of(module)
        if path is None or module in found:
            continue
        found.add(module)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("synthzoo"):
                open_ones += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                open_ones += [alias.name for alias in node.names if alias.name.startswith("synthzoo")]
    return found


def test_no_module_that_training_reads_makes_lesions_of_the_evaluation():
    for path in CONFIGS.glob("train*.json"):
        text = path.read_text(encoding="utf-8")
        named = {target.rpartition(".")[0] for target in re.findall(r'"_target_": "(synthzoo[\w.]+)"', text)}
        if not named:
            continue
        assert reached(named), path.name
        assert not reached(named) & LESIONS, f"{path.name} reads {reached(named) & LESIONS}"
    assert reached({"synthzoo.evaluation.large_lesions"}) > GROWN


def test_subjects_of_training_calibration_and_evaluation_are_of_different_splits():
    train = json.loads((CONFIGS / "train.json").read_text(encoding="utf-8"))
    low, high = SPLITS["test"]
    assert train["train_size"] <= SPLITS["train"][1] < low <= large_lesions.FIRST_SEED < high - 10_000
    assert high <= FIRST_ANATOMY  # of the pool of sick brains, from which segmenters learn

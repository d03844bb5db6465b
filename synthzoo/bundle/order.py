"""The order of a bundle's configs, common keys in one order and expressions that fit on a line; and all problems."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthzoo.bundle.find import bundle_files, find_bundles, read_json, read_metadata
from synthzoo.bundle.form import canonical_files, form_problems

# Keys of every inference.json; the conditions and then the sampler's settings stand between HEAD and BODY.
HEAD = ("imports", "bundle_root", "device", "seed", "dataset_dir", "output_dir")
REQUEST_KEYS = ("num_samples", "requests")  # of bundles that make images from nothing
IMAGE_KEYS = ("images",)  # of bundles that take images; label-to-image synthesis has both, text-to-image a number alone
BODY = (
    "network_def",
    "network",
    "preprocessing",
    "dataset",
    "dataloader",
    "inferer",
    "postprocessing",
    "handlers",
    "evaluator",
    "initialize",
    "run",
)
LONGEST_EXPRESSION = 200
REFERENCE = re.compile(r"@\w*(?:(?:#|::)\w*)*")


def walk(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value inside a JSON document with its id in MONAI's notation, for example `evaluator#handlers#0`."""
    yield path, node
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from walk(child, f"{path}#{key}" if path else str(key))


def order_problems(bundle: str | Path) -> list[str]:
    """What is missing or out of order in a bundle's inference.json; one sentence each, an empty list if all is well."""
    config = read_json(Path(bundle) / "configs" / "inference.json")
    block = read_metadata(bundle).get("synthzoo", {})
    conditions = list(block.get("conditions", {}))
    middle = [key for keys in (REQUEST_KEYS, IMAGE_KEYS) if set(keys) & set(config) for key in keys]
    if set(IMAGE_KEYS) <= set(config) and "requests" not in config:  # images, or as many of a text
        middle = [key for key in middle if key in config]
    wanted = [*HEAD, *middle, *conditions, *BODY]
    problems = [f"inference.json lacks the key '{key}'" for key in wanted if key not in config]
    if not middle:
        problems.append("inference.json has neither 'requests' nor 'images': nothing says what is run")
    present = [key for key in config if key in wanted]
    expected = [key for key in wanted if key in config]
    for found, right in zip(present, expected):
        if found != right:
            problems.append(f"inference.json has '{found}' where '{right}' belongs; the order is {', '.join(wanted)}")
            break
    keys = [key for key in config if not key.startswith("_")]
    if keys and keys[-1] != "run":
        problems.append(f"inference.json ends with '{keys[-1]}'; the last key is 'run'")
    return problems


def expression_problems(path: str | Path) -> list[str]:
    """Expressions and references of one config that break the rules of the codebase, a sentence each.

    `%file.json::key` resolves against the working directory and `@_meta_` does not exist under MONAI Label; both make
    a config that works only from one place. What does not fit on a line belongs into a tested function.
    """
    path = Path(path)
    problems = []
    for where, value in walk(read_json(path)):
        if not isinstance(value, str):
            continue
        if value.startswith("%") and ".json" in value:
            problems.append(f"{path.name}: {where}: '{value}' copies from another file; write the value here")
        if "@_meta_" in value:
            problems.append(f"{path.name}: {where}: '{value}' reads the metadata; write the value here")
        if value.startswith("$") and ("\n" in value or len(value) > LONGEST_EXPRESSION):
            problems.append(f"{path.name}: {where}: an expression of {len(value)} characters; make it a named function")
        if value.startswith("$"):
            try:  # as MONAI evaluates it: before Python 3.12 the quotes it puts in end a surrounding f-string
                compile(REFERENCE.sub("__local_refs['id']", value[1:]), "expression", "exec")
            except SyntaxError as error:
                problems.append(f"{path.name}: {where}: '{value}' is no Python once @ids are replaced ({error.msg})")
    return problems


def all_problems(root: str | Path = ".") -> list[str]:
    """The problems of every JSON file of every bundle under `root`, and of the index."""
    problems = []
    canonical = canonical_files(root)
    for path in canonical:
        problems += form_problems(path, canonical=True)
    for bundle in find_bundles(root):
        for path in bundle_files(bundle):
            problems += form_problems(path) if path.suffix == ".json" and path not in canonical else []
        for path in sorted((bundle / "configs").glob("*.json")):
            problems += [f"{bundle.name}: {problem}" for problem in expression_problems(path)]
        problems += [f"{bundle.name}: {problem}" for problem in order_problems(bundle)]
    return problems

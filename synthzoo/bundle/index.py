"""bundle_index.json from every metadata.json and metrics.json, and the results copied where people read them.

One pass plans the text of every generated file; writing and `--check` differ only in what they do with the plan, so
nothing can be fresh in one place and stale in another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthzoo.bundle import cards
from synthzoo.bundle.adaptability import adaptability_text, configs_text
from synthzoo.bundle.find import bundle_files, find_bundles, read_json, read_metadata
from synthzoo.bundle.form import dump
from synthzoo.bundle.schema import verify_metadata
from synthzoo.errors import UserError
from synthzoo.io.files import write_text

INDEX = "bundle_index.json"
METHODS = Path("docs", "anomaly_maps.md")  # compares the anomaly maps of the brain
ADAPTABILITY = Path("docs", "adaptability.md")  # generators of every modality, from the report beside it
FORMAT = 1


def build_index(root: str | Path = ".", base_url: str | None = None, check: bool = False) -> list[str]:
    """Bring all generated files up to date; returns the paths that were stale, relative to `root`.

    Args:
        root: the checkout, with `bundles/` and README.md.
        base_url: where the zips of a release will lie; None keeps the one in the present index.
        check: only say what is stale, write nothing.
    """
    root = Path(root)
    stale = [path for path, text in plan(root, base_url).items() if not path.is_file() or read_text(path) != text]
    if not check:
        planned = plan(root, base_url)
        for path in stale:
            write_text(path, planned[path])
    return [path.relative_to(root).as_posix() for path in stale]


def plan(root: Path, base_url: str | None = None) -> dict[Path, str]:
    """Every generated file below `root` with the text that it ought to have."""
    old = read_json(root / INDEX) if (root / INDEX).is_file() else {}
    base_url = (old.get("base_url", "") if base_url is None else base_url).rstrip("/")
    planned: dict[Path, str] = {}
    entries = []
    for bundle in find_bundles(root):
        planned |= plan_bundle(bundle)
        entries.append(entry(bundle, planned))
    index = {"format": FORMAT, "base_url": base_url, "bundles": {item["name"]: item for item in entries}}
    planned[root / INDEX] = dump(index)
    planned |= plan_official(root / "models", index)
    readme = root / "README.md"
    if readme.is_file() and "<!-- bundles -->" in read_text(readme):
        planned[readme] = cards.fill(read_text(readme), "bundles", cards.bundles_text(entries), readme)
    methods = root / METHODS
    if methods.is_file():
        text = cards.methods_text([named for bundle in find_bundles(root) for named in figures_of(bundle)])
        planned[methods] = cards.fill(read_text(methods), "methods", text, methods)
    return planned | plan_adaptability(root / ADAPTABILITY, {bundle.name: bundle for bundle in find_bundles(root)})


def plan_adaptability(page: Path, bundles: Mapping[str, Path]) -> dict[Path, str]:
    """The page of adaptability with the tables of its report, where both are there."""
    report_path = page.with_suffix(".json")
    if not (page.is_file() and report_path.is_file()):
        return {}
    report = read_json(report_path)
    text = cards.fill(read_text(page), "adaptability", adaptability_text(report, bundles), page)
    return {page: cards.fill(text, "configs", configs_text(report, bundles), page)}


def plan_bundle(bundle: Path) -> dict[Path, str]:
    """A bundle's metadata.json and card with the results of its docs/metrics.json."""
    verify_metadata(bundle)
    metadata, metrics = read_metadata(bundle), read_metrics(bundle)
    updated = json.loads(json.dumps(metadata))
    if metrics is not None:
        figures = metrics.get("figures", {})
        block = updated["synthzoo"]
        block["results"] = {"command": metrics["command"], "file": "docs/metrics.json"}
        updated["eval_metrics"] = {name: value for name, value in figures.items() if isinstance(value, (int, float))}
        for device in ("cpu", "gpu"):
            if (seconds := figures.get(f"seconds_per_sample_{device}")) is not None:
                block.setdefault("seconds_per_sample", {})[device] = seconds
        if (memory := figures.get("peak_memory_gb")) is not None:
            block["peak_memory_gb"] = memory
    path, card = bundle / "configs" / "metadata.json", bundle / "docs" / "README.md"
    same = json.dumps(updated) == json.dumps(metadata)  # order counts: lists show the first figures
    planned = {path: read_text(path) if same else dump(updated)}
    if not card.is_file():
        raise UserError(f"{card}: a bundle needs a model card; write one with the headings in CONTRIBUTING.md.")
    more = [report for report in reports_of(bundle) if report != metrics]
    planned[card] = cards.fill(read_text(card), "results", cards.results_text(metrics, bundle.name, more), card)
    return planned


def reports_of(bundle: Path) -> list[dict]:
    """All reports in a bundle's docs/, in the order of their names."""
    found = [read_metrics(bundle, path.name) for path in sorted((bundle / "docs").glob("*.json"))]
    return [report for report in found if report is not None]


def figures_of(bundle: Path) -> list[tuple[str, dict[str, Any]]]:
    """The bundle's name and the figures of each of its reports."""
    return [(bundle.name, dict(report.get("figures", {}))) for report in reports_of(bundle)]


def read_metrics(bundle: Path, name: str = "metrics.json") -> dict | None:
    """docs/metrics.json, or another report beside it, or None; UserError if it has not the agreed form."""
    path = bundle / "docs" / name
    if not path.is_file():
        return None
    metrics = read_json(path)
    if not isinstance(metrics, Mapping) or not isinstance(metrics.get("command"), str):
        raise UserError(f"{path}: needs the key 'command', the command line that measured these numbers.")
    for number, item in enumerate(metrics.get("tables", [])):
        if not {"title", "columns", "rows"} <= set(item):
            raise UserError(f"{path}: tables[{number}] needs 'title', 'columns' and 'rows'.")
        if any(len(row) != len(item["columns"]) for row in item["rows"]):
            raise UserError(f"{path}: tables[{number}] has a row whose length differs from its columns.")
    if not isinstance(metrics.get("figures", {}), Mapping):
        raise UserError(f"{path}: 'figures' must be an object of name: value.")
    return dict(metrics)


def entry(bundle: Path, planned: Mapping[Path, str] | None = None) -> dict[str, Any]:
    """The index entry of one bundle; files that are planned count with their planned text."""
    planned = planned or {}
    path = bundle / "configs" / "metadata.json"
    metadata = json.loads(planned[path]) if path in planned else read_metadata(bundle)
    block = metadata["synthzoo"]
    files = {}
    for file in bundle_files(bundle):
        content = planned[file].encode() if file in planned else file.read_bytes()
        name = file.relative_to(bundle).as_posix()
        files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return {
        "name": bundle.name,
        "title": metadata.get("name", bundle.name),
        "version": metadata["version"],
        "task": block["task"],
        "description": metadata["description"],
        "licence": licence(bundle),
        "monai_version": metadata["monai_version"],
        "pytorch_version": metadata["pytorch_version"],
        "requires": metadata["required_packages_version"],
        "tensors": metadata["network_data_format"],
        "conditions": block["conditions"],
        "outputs": block["outputs"],
        "instruments": block.get("instruments", {}),
        "seconds_per_sample": block.get("seconds_per_sample", {}),
        "peak_memory_gb": block.get("peak_memory_gb"),
        "results": block.get("results", {}),
        "eval_metrics": metadata.get("eval_metrics", {}),
        "exceptions": block.get("exceptions", {}),
        "bytes": sum(file["bytes"] for file in files.values()),
        "weights_bytes": files.get("models/model.pt", {}).get("bytes", 0),
        "files": files,
    }


def licence(bundle: Path) -> str:
    """The SPDX name of the bundle's LICENSE file, or "unknown"."""
    path = bundle / "LICENSE"
    head = read_text(path)[:2000] if path.is_file() else ""
    for words, name in (("Apache License", "Apache-2.0"), ("MIT License", "MIT"), ("Creative Commons", "CC")):
        if words in head:
            return name
    return "unknown"


def plan_official(folder: Path, index: Mapping) -> dict[Path, str]:
    """model_info.json in the official zoo's shape and one <name>.download.json a bundle, for the stock commands.

    The arguments files are only written when the index knows a base URL, since stock MONAI wants a whole URL.
    """
    path = folder / "model_info.json"
    info = read_json(path) if path.is_file() else {}
    planned = {}
    for name, item in index["bundles"].items():
        key = f"{name}_v{item['version']}"
        url = zip_url(index["base_url"], item)
        checksum = item.get("zip", {}).get("sha1", info.get(key, {}).get("checksum", ""))
        info[key] = {"checksum": checksum, "source": url}
        if index["base_url"]:
            planned[folder / f"{name}.download.json"] = dump({"name": name, "url": url})
    planned[path] = dump(dict(sorted(info.items())))
    return planned


def zip_name(item: Mapping) -> str:
    """File name of a bundle's zip, as the official zoo names them."""
    return f"{item['name']}_v{item['version']}.zip"


def zip_url(base_url: str, item: Mapping) -> str:
    """Address of a bundle's zip; only the file name without a base URL."""
    return f"{base_url}/{zip_name(item)}" if base_url else zip_name(item)


def read_text(path: Path) -> str:
    """Text of a file as UTF-8."""
    return path.read_text(encoding="utf-8")

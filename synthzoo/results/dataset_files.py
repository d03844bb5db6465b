"""The texts of a whole set, gathered from the sidecars: participants, description, preview."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import synthzoo
from synthzoo.cases.table import CaseTable, bids_suffix, is_label, process_rank
from synthzoo.io.files import text_of, write_json, write_text
from synthzoo.io.kinds import stem
from synthzoo.io.marks import Mark, mark_of, stated

BIDS_VERSION = "1.9.0"
BIDS_ENDINGS = (".nii.gz", ".nii", ".json")
ANATOMY = ("T1w", "T2w", "PDw", "T2starw", "FLAIR", "inplaneT1", "inplaneT2", "PDT2", "angio", "T2star", "PD", "UNIT1")


def unknown_to_bids(suffixes: Iterable[str], folder: str) -> list[str]:
    """Lines of .bidsignore for the files with these suffixes that BIDS does not know in this folder of a subject."""
    lines = []
    for suffix in map(bids_suffix, suffixes):
        name = stem(suffix)
        known = folder != "anat" or (suffix.endswith(BIDS_ENDINGS) and name.rsplit("_", 1)[-1] in ANATOMY)
        if not known and not is_label(suffix):
            lines += [f"sub-*/{folder}/*_{name}.{ending}" for ending in ("json", suffix.removeprefix(f"{name}."))]
            if suffix.endswith(".png"):
                lines.append(f"sub-*/{folder}/*_{name}_overlay.png")
    return list(dict.fromkeys(lines))


def gather_failures(table: CaseTable) -> list[str] | None:
    """The sentences of all processes' bad inputs, given to the last process to end; None to the others.

    A process that ended with an error would make `torchrun` end the others too; so each leaves its sentences in a small
    file, and only the last one reports. To be called inside `locked`.
    """
    rank, world = process_rank()
    if world == 1:
        return table.failures
    run = f"{os.environ.get('TORCHELASTIC_RUN_ID', 'run')}-{os.getppid()}"
    if os.environ.get("LOCAL_WORLD_SIZE", str(world)) != str(world):  # several machines have no common parent process
        run = run.rsplit("-", 1)[0]
    for old in table.output_dir.glob(".ended_*"):
        if not old.name.startswith(f".ended_{run}_"):
            old.unlink(missing_ok=True)  # of a run that was killed
    write_json(table.output_dir / f".ended_{run}_{rank}", table.failures)
    marks = sorted(table.output_dir.glob(f".ended_{run}_*"))
    if len(marks) < world:
        return None
    try:
        failures = [sentence for mark in marks for sentence in json.loads(mark.read_text(encoding="utf-8"))]
        marks[0].unlink()
    except FileNotFoundError:  # another process was faster, which happens where the file system gives no lock
        return None
    for mark in marks[1:]:
        mark.unlink()
    return failures


def remove_leftovers(table: CaseTable) -> None:
    """Remove the temporary files and folders of a run that was killed: those which are older than this run.

    To be called when every process of this run has ended its work.
    """
    for pattern in (".tmp[0-9]*_*", ".ended_*"):
        for path in sorted(table.output_dir.rglob(pattern)):
            with suppress(OSError):
                if path.stat().st_mtime < table.started:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def sidecars(table: CaseTable) -> list[Path]:
    """The sidecars in the output folder, of this run and of earlier ones, sorted by case."""
    below = f"*/{table.folder}" if table.folder else "*"
    found = [path for path in table.output_dir.glob(f"{below}/*_{stem(table.suffix)}.json") if path.name[0] != "."]
    found = [path for path in found if _is_sidecar(path)]
    return sorted(found, key=lambda path: (len(os.fsencode(path.name)), os.fsencode(path.name)))


def _is_sidecar(path: Path) -> bool:
    """Whether a file holds a record; one that a copy or a full disk has damaged is named, and its case left out."""
    try:
        if isinstance(json.loads(path.read_text(encoding="utf-8")), dict):
            return True
    except (OSError, ValueError):
        pass
    print(f"warning: {path} is no sidecar that can be read: its case is left out of the tables", file=sys.stderr)
    return False


def write_dataset_files(
    table: CaseTable,
    draw: Callable[[CaseTable, list[Path], str | None], None],
    preview: int = 8,
    overlay: str | None = None,
    name: str | None = None,
) -> None:
    """Write participants.tsv and .json, dataset_description.json and the preview beside the cases.

    Args:
        table: says the folder, the suffix, the conditions and the bundle.
        draw: writes the preview from the table, sidecars and overlay.
        preview: cases in the preview, 0 for none.
        overlay: suffix of a second file of each case for the preview, or None.
        name: `Name` of the set; None takes the bundle's.
    """
    paths = sidecars(table)
    if not paths:
        return
    _write_participants(table, paths)
    write_json(table.output_dir / "dataset_description.json", _description(table, name))
    if table.folder and table.derivatives.is_dir():
        label_maps = {**_description(table, f"Label maps of {name or table.bundle}"), "DatasetType": "derivative"}
        write_json(table.derivatives / "dataset_description.json", label_maps)
    if preview:
        draw(table, paths[:preview], overlay)


def mark_of_row(table: CaseTable, row: int, synthetic: bool) -> Mark:
    """The mark of a picture of one case, made before its sidecar."""
    return Mark(synthetic, {**stated(synthetic, table.bundle, table.version), **table.request(row)})


def mark_of_set(table: CaseTable, paths: list[Path]) -> Mark | None:
    """The mark of a picture of several cases: what the first sidecar says, with the names of all."""
    record = json.loads(paths[0].read_text(encoding="utf-8"))
    kept = {key: record[key] for key in ("Synthetic", "DerivedBy", "bundle", "version") if key in record}
    return mark_of({**kept, "cases": [text_of(case_of(path, table)) for path in paths]})


def case_of(sidecar: Path, table: CaseTable) -> str:
    """The case of a sidecar: its name without the suffix."""
    return sidecar.name[: -len(f"_{stem(table.suffix)}.json")]


def _cell(value: Any) -> str:
    if value is None:
        return "n/a"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _write_participants(table: CaseTable, paths: list[Path]) -> None:
    """One line per case. Read sidecar by sidecar; only the short lines are kept."""
    lines, measured = [], []
    for path in paths:
        record = json.loads(path.read_text(encoding="utf-8"))
        values: dict[str, Any] = {"participant_id": text_of(case_of(path, table))}
        if "seed" in record:
            values["seed"] = record["seed"]
        values.update(record.get("requested") or {})
        numbers = {k: v for k, v in (record.get("measured") or {}).items() if isinstance(v, (int, float))}
        values.update({f"measured_{key}": float(value) for key, value in numbers.items()})
        measured += [key for key in values if key not in measured]
        lines.append(values)
    text = ["\t".join(measured)] + ["\t".join(_cell(line.get(key)) for key in measured) for line in lines]
    write_text(table.output_dir / "participants.tsv", "\n".join(text) + "\n")
    columns: dict[str, dict[str, Any]] = {}
    for key in measured[1:]:
        rule = table.conditions.get(key.removeprefix("measured_"), {})
        if key == "seed":
            columns[key] = {"Description": "Seed of the start noise; the same seed and values give the same image."}
            continue
        said = "Measured on the image" if key.startswith("measured_") else "Requested"
        columns[key] = {"Description": f"{said}: {rule.get('description') or key.removeprefix('measured_')}"}
        if rule.get("unit"):
            columns[key]["Units"] = rule["unit"]
        if "enum" in rule:
            columns[key]["Levels"] = {str(item): str(item) for item in rule["enum"]}
    write_json(table.output_dir / "participants.json", columns)


def _description(table: CaseTable, name: str | None) -> dict:
    with_library = f"MONAI bundle, run with synthzoo {synthzoo.__version__}"
    made = {"Name": table.bundle or "synthzoo", "Description": with_library}
    if table.version:
        made["Version"] = table.version
    return {
        "Name": name or f"Made by {table.bundle or 'synthzoo'}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative" if table.cases and not hasattr(table, "seeds") else "raw",
        "GeneratedBy": [made],
    }


def title(record: dict, case: str, conditions: dict[str, dict]) -> str:
    """Case, requested values and, in brackets, the measured ones."""
    case, parts = text_of(case), []
    for name, value in (record.get("requested") or {}).items():
        if value is None:
            continue
        unit = conditions.get(name, {}).get("unit", "")
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        found = (record.get("measured") or {}).get(name)
        label = name.removesuffix(f"_{unit.lower()}").replace("_", " ")
        parts.append(f"{label} {shown} {unit}".strip() + (f" [{found:.4g}]" if isinstance(found, (int, float)) else ""))
    if isinstance(record.get("score"), (int, float)):
        parts.append(f"score {record['score']:.2f}")
    return f"{case}: {', '.join(parts)}" if parts else case

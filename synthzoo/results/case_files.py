"""What each case of a data set holds, read from its sidecar: images by what they show, label maps, names of values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from synthzoo.cases.table import CaseTable, is_label
from synthzoo.errors import UserError
from synthzoo.io.kinds import stem
from synthzoo.results.dataset_files import case_of, sidecars
from synthzoo.results.kinds.base import is_map

NO_IMAGES = (".tsv", ".json", "_overlay.png")


class CaseFiles(NamedTuple):
    """The files of one complete case.

    Args:
        case: its name.
        images: what an image shows, the end of its name such as `T1w` -> its file or folder.
        labels: the same of label maps, such as `dseg`.
    """

    case: str
    images: dict[str, Path]
    labels: dict[str, Path]


class CaseSet(NamedTuple):
    """All complete cases of a data set.

    Args:
        cases: sorted as their sidecars.
        names: value of a label map -> name, 0 left out; empty where nobody says what the values mean.
    """

    cases: list[CaseFiles]
    names: dict[int, str]


def read_case_set(table: CaseTable) -> CaseSet:
    """Read the sidecars of a data set.

    Names come from the sidecars' `labels` (value -> name), else from `synthzoo.outputs.label.names` of the bundle's
    metadata.

    Raises:
        UserError: a sidecar's labels are no names of values, or two sidecars give one value two names.
    """
    cases: list[CaseFiles] = []
    names: dict[int, str] = {}
    for path in sidecars(table):
        record = json.loads(path.read_text(encoding="utf-8"))
        cases.append(_case_files(table, case_of(path, table), record))
        for value, name in _names_in(record.get("labels"), path).items():
            if names.setdefault(value, name) != name:
                raise UserError(
                    f"{path}: label {value} is '{name}' there and '{names[value]}' in another case of the set."
                )
    stated = label_output(table).get("names") or {}
    return CaseSet(cases, dict(sorted((names or {int(value): name for name, value in stated.items()}).items())))


def label_output(table: CaseTable) -> Mapping[str, Any]:
    """What the bundle's metadata says of its label maps; empty where it has none."""
    return table.metadata.get("synthzoo", {}).get("outputs", {}).get("label", {})


def _case_files(table: CaseTable, case: str, record: Mapping[str, Any]) -> CaseFiles:
    found = CaseFiles(case, {}, {})
    for name in record.get("files") or []:
        suffix = str(name)[len(case) + 1 :]
        if not suffix or suffix.endswith(NO_IMAGES):
            continue
        if is_label(suffix):
            found.labels[stem(suffix)] = table.path(case, suffix)
        elif not is_map(suffix):
            found.images[stem(suffix)] = table.path(case, suffix)
    return found


def _names_in(labels: Any, path: Path) -> dict[int, str]:
    """A sidecar's `labels` with integers as keys, without background."""
    if labels is None:
        return {}
    try:
        return {int(value): str(name) for value, name in labels.items() if int(value)}
    except (AttributeError, TypeError, ValueError):
        raise UserError(
            f"{path}: labels is {str(labels)[:60]!r}, but must be value -> name: delete it to have it again."
        ) from None

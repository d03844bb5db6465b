"""Request tables: each row states the conditions and the seed of one image to be generated.

Rows come from the keys of a config (`--num_samples 4 --age 70`) or from a CSV or TSV file with one column per
condition. The start noise of a row depends on its own seed alone, so neither the number of processes nor a restart
changes an image.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.cases.table import CaseTable
from synthzoo.cases.values import check_seed, check_value, is_unset
from synthzoo.errors import UserError
from synthzoo.io.tables import csv_rows, table_lines

OTHER_COLUMNS = ("participant_id", "seed")


class RequestTable(CaseTable):
    """Requests as a data set: item -> {"image": noise, "conditions": values, "case": "sub-0001", "row": 0}.

    `image` is float32 [*noise_shape] standard normal noise from the row's seed; `conditions` is float32 [K] in the
    order of `conditions`, in the user's units, a string as its index in `enum`, NaN where it is unset.

    Args:
        conditions: name -> JSON Schema property, such as {"type": "number", "minimum": 20, "maximum": 90, "unit":
            "years", "description"} or {"type": "string", "enum": [...]}; see `synthzoo.cases.values`.
        values: name -> one value for all rows, a list with one value per row, or None (unset).
        requests: path of a CSV or TSV file; its columns are condition names and optionally `seed` and
            `participant_id`; `n/a` or an empty cell leaves a value unset. The file then decides the number of rows.
        num_samples: number of rows without a file; None takes the length of the lists in `values`.
        seed: base seed; the row of `sub-0001` has seed + 0, `sub-0002` has seed + 1, ...
        noise_shape: shape [C, ...] of the start noise of one image.
        first_index: number in the name of the first row, to extend a set that exists.
        kwargs: see `synthzoo.cases.table.CaseTable`: folder, bundle, bundle_root, weights, settings, block, overwrite.

    Raises:
        UserError: unknown condition, value of a wrong type or out of range, unreadable row (named by file and line),
            num_samples below 1, or results of another request in output_dir.
    """

    def __init__(
        self,
        conditions: dict[str, dict],
        values: dict[str, Any] | None = None,
        requests: str | None = None,
        num_samples: int | None = 1,
        seed: int = 0,
        noise_shape: Sequence[int] = (1,),
        output_dir: str | None = None,
        suffix: str = "T1w.nii.gz",
        first_index: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(output_dir=output_dir, suffix=suffix, **kwargs)
        self.conditions = {name: dict(schema) for name, schema in conditions.items()}
        self.noise_shape = tuple(int(n) for n in noise_shape)
        self.seed = check_seed(seed, "seed")
        first = _positive("first_index", first_index)
        values = dict(values or {})
        for name in values:
            self._known(name, "")
        if requests:
            table = read_table(requests, self.conditions)
            for name, value in values.items():
                if isinstance(value, (list, tuple)):
                    raise UserError(f"{name} is a list, but {requests} decides the rows: make {name} a column there.")
                value = check_value(name, value, self.conditions[name])
                for row in table:
                    row["requested"].setdefault(name, value)
        else:
            table = self._rows_of_values(values, num_samples)
        self.requested, self.seeds = [], []
        for index, row in enumerate(table):
            self.requested.append({name: row["requested"].get(name) for name in self.conditions})
            self.seeds.append(self.seed + first - 1 + index if row["seed"] is None else row["seed"])
            self.cases.append(row["case"] or f"sub-{first + index:04d}")
        _unique(self.cases, requests)
        self.share_out()

    def _known(self, name: str, where: str) -> None:
        if name not in self.conditions:
            raise UserError(f"{where}unknown condition '{name}': the known ones are {', '.join(self.conditions)}.")

    def _rows_of_values(self, values: dict[str, Any], num_samples: int | None) -> list[dict]:
        lists = {name: list(v) for name, v in values.items() if isinstance(v, (list, tuple, np.ndarray))}
        if num_samples is None:
            count = max([len(v) for v in lists.values()], default=1)
        else:
            count = _positive("num_samples", num_samples)
        for name, items in lists.items():
            if len(items) != count:
                raise UserError(
                    f"{name} has {len(items)} values, but there are {count} samples: give one for all, or one each."
                )
        rows = []
        for index in range(count):
            requested = {
                name: check_value(name, lists[name][index] if name in lists else value, self.conditions[name])
                for name, value in values.items()
            }
            rows.append({"requested": requested, "seed": None, "case": None})
        return rows

    def record(self, row: int) -> dict:
        """Seed and requested values of a row."""
        return {"seed": self.seeds[row], "requested": self.requested[row]}

    def vector(self, row: int) -> torch.Tensor:
        """The conditions of a row as float32 [K], NaN where unset."""
        return encode(self.requested[row], self.conditions)

    def load(self, row: int) -> dict:
        """Noise and conditions of a row."""
        generator = torch.Generator().manual_seed(self.seeds[row])
        return {"image": torch.randn(self.noise_shape, generator=generator), "conditions": self.vector(row)}


def encode(requested: dict[str, Any], conditions: dict[str, dict]) -> torch.Tensor:
    """Requested values by name -> float32 [K] in the order of `conditions`; a string as its index, NaN if unset."""
    numbers = []
    for name, schema in conditions.items():
        value = requested.get(name)
        if value is None:
            numbers.append(math.nan)
        else:
            numbers.append(float(schema["enum"].index(value) if "enum" in schema else value))
    return torch.tensor(numbers, dtype=torch.float32)


def read_table(path: str | Path, conditions: Mapping[str, dict]) -> list[dict]:
    """Rows of a CSV or TSV file as {"requested": {name: value}, "seed": int or None, "case": str or None}.

    Columns named `measured_*` are passed over, so that `participants.tsv` of one run can be the requests of another.

    Args:
        path: the file; a tab in the first line makes it TSV, else CSV; UTF-8.
        conditions: name -> property, as for `check_value`.

    Raises:
        UserError: the file is missing, empty or not text; a column or a row is wrong (named by its line).
    """
    path = Path(path)
    lines = table_lines(
        path,
        missing="give the path of a CSV or TSV file",
        empty=f"the first line names the columns, {', '.join(conditions)}",
        form="CSV or TSV",
        what="requests file",
    )
    table = csv_rows(path, lines)
    columns = [name.strip() for name in next(table)[1]]
    _check_columns(path, columns, conditions)
    rows = []
    for line, cells in table:
        where = f"{path} line {line}: "
        if not cells or not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            raise UserError(f"{where}has {len(cells)} cells, but the header names {len(columns)} columns.")
        rows.append(_read_row(dict(zip(columns, cells)), conditions, where))
    if not rows:
        raise UserError(f"requests file {path} has a header but no rows: add one line per image.")
    _unique([row["case"] for row in rows if row["case"]], path)
    return rows


def _check_columns(path: Path, columns: list[str], conditions: Mapping[str, dict]) -> None:
    allowed = [*conditions, *OTHER_COLUMNS]
    for name in columns:
        if name not in allowed and not name.startswith("measured_"):
            raise UserError(f"{path} line 1: unknown condition '{name}': the known columns are {', '.join(allowed)}.")
        if columns.count(name) > 1:
            raise UserError(f"{path} line 1: column '{name}' stands twice.")
    if not any(name in allowed for name in columns):
        raise UserError(f"{path} line 1: misses every column; it needs at least one of {', '.join(allowed)}.")


def _read_row(cells: dict[str, str], conditions: Mapping[str, dict], where: str) -> dict:
    schemas = {name: schema for name, schema in conditions.items() if name in cells}
    requested = {name: check_value(name, cells[name], schema, where) for name, schema in schemas.items()}
    seed, case = cells.get("seed", "").strip(), cells.get("participant_id", "").strip()
    if is_unset(case):
        case = ""
    if case and not re.fullmatch(r"sub-[A-Za-z0-9]{1,64}", case):
        raise UserError(f"{where}participant_id is '{case}', but must be sub- and letters or digits, such as sub-0001.")
    return {
        "requested": requested,
        "seed": None if is_unset(seed) else check_seed(seed, "seed", where),
        "case": case or None,
    }


def _positive(name: str, value: Any) -> int:
    """An integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise UserError(f"{name} is {value!r}, but must be an integer of at least 1.")
    return int(value)


def _unique(cases: list[str], path: str | Path | None) -> None:
    if len(set(cases)) != len(cases):
        twice = next(case for case in cases if cases.count(case) > 1)
        raise UserError(f"{path}: participant_id {twice} stands twice; each row needs its own.")

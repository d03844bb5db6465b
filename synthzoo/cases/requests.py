"""The table of requests: one row says what one generated image shall be.

Rows come from the keys of a config (`--num_samples 4 --age 70`) or from a CSV or TSV file with one column per
condition. The start noise of a row depends on its own seed alone, so neither the number of processes nor a restart
changes an image.
"""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.cases.table import CaseTable
from synthzoo.errors import UserError
from synthzoo.io.tables import table_lines

LEFT_OUT = ("", "n/a", "na", "nan", "none", "null")
OTHER_COLUMNS = ("participant_id", "seed")
MAX_SEED = 2**62
FIRST_ROUNDED = 2**53  # from here on a float stands for more than one whole number


class RequestTable(CaseTable):
    """Requests as a data set: item -> {"image": noise, "conditions": values, "case": "sub-0001", "row": 0}.

    `image` is float32 [*noise_shape] standard normal noise from the row's seed; `conditions` is float32 [K] in the
    order of `conditions`, in the user's units, a choice as its index in the list of choices, NaN where it was left out.

    Args:
        conditions: name -> {"unit", "range": [low, high], "meaning"} for a number or {"choices": [...]} for a word.
        values: name -> one value for all rows, a list with one value per row, or None (left out).
        requests: path of a CSV or TSV file; its columns are condition names and optionally `seed` and
            `participant_id`; `n/a` or an empty cell leaves a value out. The file then decides how many rows there are.
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
        noise_shape=(1,),
        output_dir: str | None = None,
        suffix: str = "T1w.nii.gz",
        first_index: int = 1,
        **kwargs,
    ):
        super().__init__(output_dir=output_dir, suffix=suffix, **kwargs)
        self.conditions = {name: dict(rule) for name, rule in conditions.items()}
        self.noise_shape = tuple(int(n) for n in noise_shape)
        self.seed = check_seed(seed, "seed")
        first = _whole("first_index", first_index)
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

    def _rows_of_values(self, values: dict[str, Any], num_samples) -> list[dict]:
        lists = {name: list(v) for name, v in values.items() if isinstance(v, (list, tuple, np.ndarray))}
        if num_samples is None:
            count = max([len(v) for v in lists.values()], default=1)
        else:
            count = _whole("num_samples", num_samples)
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
        """The conditions of a row as float32 [K], NaN where left out."""
        return encode(self.requested[row], self.conditions)

    def load(self, row: int) -> dict:
        """Noise and conditions of a row."""
        generator = torch.Generator().manual_seed(self.seeds[row])
        return {"image": torch.randn(self.noise_shape, generator=generator), "conditions": self.vector(row)}


def encode(requested: dict[str, Any], conditions: dict[str, dict]) -> torch.Tensor:
    """Requested values by name -> float32 [K] in the order of `conditions`; a choice as its index, NaN if left out."""
    numbers = []
    for name, rule in conditions.items():
        value = requested.get(name)
        if value is None:
            numbers.append(math.nan)
        else:
            numbers.append(float(rule["choices"].index(value) if "choices" in rule else value))
    return torch.tensor(numbers, dtype=torch.float32)


def check_value(name: str, value: Any, rule: dict, where: str = "") -> float | str | None:
    """The value of a condition, typed and within its range; None where it was left out.

    Args:
        name: name of the condition.
        value: a number, a word or its text; None, an empty text or `n/a` leave the condition out.
        rule: {"range": [low, high], "unit"} or {"choices": [...]}.
        where: file and line for the sentence, ending with a colon and a space.

    Raises:
        UserError: wrong type, not one of the choices, or out of range.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        value = value.strip()
        if "$" in value or value.startswith(("@", "%")):
            raise UserError(f"{where}{name} is '{value}', which looks like a program, not a value: give a plain value.")
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str) and value.lower() in LEFT_OUT:
        return None
    if "choices" in rule:
        for choice in rule["choices"]:
            if str(value).lower() == str(choice).lower():
                return choice
        raise UserError(f"{where}{name} is '{value}', but must be one of {', '.join(map(str, rule['choices']))}.")
    unit = f" {rule['unit']}" if rule.get("unit") else ""
    low, high = rule.get("range", (-math.inf, math.inf))
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        shown = str(value)[:60]
        raise UserError(f"{where}{name} is '{shown}', but must be a number from {low:g} to {high:g}{unit}.") from None
    if not low <= number <= high:
        raise UserError(f"{where}{name} is {number:g}{unit}, but must lie between {low:g} and {high:g}{unit}.")
    return number


def check_seed(value: Any, name: str, where: str = "") -> int:
    """A seed: a whole number from 0 to 2^62."""
    try:
        value = exact_whole(value)
    except ValueError:
        raise UserError(f"{where}{name} is '{value}', but must be a whole number in digits, such as 0 or 42.") from None
    if not 0 <= value < MAX_SEED:
        raise UserError(f"{where}{name} is {value}, but must lie between 0 and {MAX_SEED - 1}.")
    return value


def exact_whole(value: Any) -> int:
    """A whole number as it was meant, whatever its size: digits never pass through float, which rounds above 2^53.

    Args:
        value: an int, its text, or a float below 2^53 without a fraction; beyond that a float may have been rounded.

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            value = float(value)  # "30.0" of a spreadsheet
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, (float, np.floating)) and abs(value) < FIRST_ROUNDED and value == int(value):
        return int(value)
    raise ValueError


def read_table(path: str | Path, conditions: dict[str, dict]) -> list[dict]:
    """Rows of a CSV or TSV file as {"requested": {name: value}, "seed": int or None, "case": str or None}.

    Columns named `measured_*` are passed over, so that `participants.tsv` of one run can be the requests of another.

    Args:
        path: the file; a tab in the first line makes it TSV, else CSV; UTF-8.
        conditions: name -> rule, as for `check_value`.

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
    reader = csv.reader(lines, delimiter="\t" if "\t" in lines[0] else ",")
    columns = [name.strip() for name in next(reader)]
    _check_columns(path, columns, conditions)
    rows = []
    try:
        for cells in reader:
            where = f"{path} line {reader.line_num}: "
            if not cells or not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(columns):
                raise UserError(f"{where}has {len(cells)} cells, but the header names {len(columns)} columns.")
            rows.append(_read_row(dict(zip(columns, cells)), conditions, where))
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num}: cannot be read ({error}).") from None
    if not rows:
        raise UserError(f"requests file {path} has a header but no rows: add one line per image.")
    _unique([row["case"] for row in rows if row["case"]], path)
    return rows


def _check_columns(path: Path, columns: list[str], conditions: dict[str, dict]) -> None:
    allowed = [*conditions, *OTHER_COLUMNS]
    for name in columns:
        if name not in allowed and not name.startswith("measured_"):
            raise UserError(f"{path} line 1: unknown condition '{name}': the known columns are {', '.join(allowed)}.")
        if columns.count(name) > 1:
            raise UserError(f"{path} line 1: column '{name}' stands twice.")
    if not any(name in allowed for name in columns):
        raise UserError(f"{path} line 1: misses every column; it needs at least one of {', '.join(allowed)}.")


def _read_row(cells: dict[str, str], conditions: dict[str, dict], where: str) -> dict:
    rules = {name: rule for name, rule in conditions.items() if name in cells}
    requested = {name: check_value(name, cells[name], rule, where) for name, rule in rules.items()}
    seed, case = cells.get("seed", "").strip(), cells.get("participant_id", "").strip()
    if case.lower() in LEFT_OUT:
        case = ""
    if case and not re.fullmatch(r"sub-[A-Za-z0-9]{1,64}", case):
        raise UserError(f"{where}participant_id is '{case}', but must be sub- and letters or digits, such as sub-0001.")
    return {
        "requested": requested,
        "seed": None if seed.lower() in LEFT_OUT else check_seed(seed, "seed", where),
        "case": case or None,
    }


def _whole(name: str, value: Any) -> int:
    """A whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise UserError(f"{name} is {value!r}, but must be a whole number of at least 1.")
    return int(value)


def _unique(cases: list[str], path) -> None:
    if len(set(cases)) != len(cases):
        twice = next(case for case in cases if cases.count(case) > 1)
        raise UserError(f"{path}: participant_id {twice} stands twice; each row needs its own.")

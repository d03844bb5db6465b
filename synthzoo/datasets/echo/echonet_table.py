"""The tables of the echo data sets, read cell by cell, with file, line and column in every sentence."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from synthzoo.errors import UserError
from synthzoo.io.tables import table_lines

FILE_LIST, TRACINGS, VIDEOS, LATENTS = "FileList.csv", "VolumeTracings.csv", "Videos", "Latents"
COLUMNS = ("FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split")
CHORDS, CONTOUR = ("FileName", "X1", "Y1", "X2", "Y2", "Frame"), ("FileName", "X", "Y", "Frame")
EMPTY = ("", "nan", "n/a", "none")


def number_in(cells: dict[str, str], column: str, where: str, low: float, high: float, unit: str = "") -> float | None:
    """A number from a cell; None where the column or its value is missing."""
    text = cells.get(column.lower(), "").strip()
    if text.lower() in EMPTY:
        return None
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{where}{column}: '{text}' is no number; correct the cell or remove the row.") from None
    if not (math.isfinite(value) and low <= value <= high):
        raise UserError(
            f"{where}{column}: {text}{unit} does not lie between {low:g} and {high:g}; correct the cell or remove "
            "the row."
        )
    return value


def integer_in(cells: dict[str, str], column: str, where: str, low: int, high: int) -> int | None:
    """An integer from a cell, which a spreadsheet may have written as 120.0; None where it is missing."""
    value = number_in(cells, column, where, low, high)
    if value is not None and value != int(value):
        raise UserError(f"{where}{column}: {value:g} is no integer; correct the cell or remove the row.")
    return None if value is None else int(value)


def table_of(path: Path, needed: Sequence[str], hint: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line and cells by lower-case column of a CSV with a header."""
    lines = table_lines(path, missing=f"dataset_dir is a folder with {FILE_LIST} and {VIDEOS}/", empty=hint)
    reader = csv.reader(lines)
    columns = [name.strip().lower() for name in next(reader)]
    for name in needed:
        if name.lower() not in columns:
            raise UserError(f"{path} line 1: has no column {name}; {hint}.")
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path} line 1: column {twice} stands twice; keep one.")
    empty = True
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(columns):
                raise UserError(
                    f"{path} line {reader.line_num}: has {len(cells)} cells, but the header names {len(columns)} "
                    "columns; correct the line."
                )
            empty = False
            yield reader.line_num, dict(zip(columns, cells))
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num}: cannot be read ({error}); correct the line.") from None
    if empty:
        raise UserError(f"{path} has a header but no rows: add one line per video.")

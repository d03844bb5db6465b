"""Tables that a user wrote: every way in which one may be no text, or a cell no number, is said in one sentence."""

from __future__ import annotations

import csv
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from synthzoo.errors import UserError

EMPTY = ("", "nan", "n/a", "none")  # cells that hold nothing
LARGEST = 1 << 30  # bytes of a table when it is unpacked
GZIP = b"\x1f\x8b"


def table_lines(path: str | Path, missing: str, empty: str, form: str = "CSV", what: str = "") -> list[str]:
    """Lines of a text table, UTF-8 with or without a byte order mark; the first is not empty.

    Args:
        path: the file, plain or packed by gzip.
        missing: remedy when it is not there.
        empty: remedy when it has no first line.
        form: what to save it as.
        what: goes before the path in every sentence, such as "requests file".

    Raises:
        UserError: the file is missing, a folder, unreadable, empty or not text.
    """
    named = f"{what} {path}".strip()
    try:
        data = Path(path).read_bytes()
        text = (_unpacked(data, named) if data.startswith(GZIP) else data).decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{named} does not exist: {missing}.") from None
    except IsADirectoryError:
        raise UserError(f"{named} is a folder: give the path of a {form} file.") from None
    except UnicodeDecodeError:
        raise UserError(f"{named} is not UTF-8 text: save it as {form}.") from None
    except OSError as error:
        raise UserError(f"{named} cannot be read ({error.strerror}).") from None
    if "\0" in text:
        raise UserError(f"{named} is not text: save it as {form}.")
    # Lines end as editors and spreadsheets end them; U+2028, U+0085 or a form feed are letters of a cell.
    lines = re.split("\r\n|\n|\r", text)
    if not lines[0].strip():
        raise UserError(f"{named} is empty: {empty}.")
    return lines


def csv_rows(path: str | Path, lines: Sequence[str], delimiter: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each row, the header first; None splits at tabs where the first line has one, else at commas.

    Raises:
        UserError: a row that cannot be split, such as one with a cell of more than 128 KiB.
    """
    reader = csv.reader(lines, delimiter=delimiter or ("\t" if "\t" in lines[0] else ","))
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(f"{path} line {reader.line_num}: cannot be read ({error}); correct the line.") from None
        if cells is None:
            return
        yield reader.line_num, cells


def _unpacked(data: bytes, named: str) -> bytes:
    """What gzip packed, of one member or several."""
    parts, size = [], 0
    try:
        while data:
            member = zlib.decompressobj(wbits=31)
            parts.append(member.decompress(data, LARGEST + 1 - size))
            size += len(parts[-1])
            if size > LARGEST:
                raise UserError(f"{named} holds more than {LARGEST >> 20} MiB: no table of radiographs or videos does.")
            if not member.eof:
                raise zlib.error("cut short")
            data = member.unused_data.lstrip(b"\0")
    except zlib.error:
        raise UserError(f"{named} is damaged or cut short (gzip): copy it again.") from None
    return b"".join(parts)


def table_cells(
    path: str | Path, needed: Sequence[str], missing: str, hint: str, one: str = "row", delimiter: str | None = ","
) -> Iterator[tuple[int, dict[str, str]]]:
    """Line and cells by lower-case column of a CSV with a header; commas at the end of a line are passed over.

    Args:
        path: the file, plain or packed by gzip.
        needed: columns that it has to have.
        missing: remedy when it is not there.
        hint: which columns it has, for the sentences.
        one: what a line stands for, such as "video".
        delimiter: between cells; None takes tabs where the first line has one.

    Raises:
        UserError: what `table_lines` says; a column that is missing or stands twice; a line with another number of
            cells than the header; no line but the header.
    """
    lines = table_lines(path, missing=missing, empty=hint)
    table = csv_rows(path, lines, delimiter)
    columns = [name.strip().lower() for name in next(table)[1]]
    while columns and not columns[-1]:
        columns.pop()
    for name in needed:
        if name.lower() not in columns:
            raise UserError(f"{path} line 1: has no column {name}; {hint}.")
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path} line 1: column {twice or 'without a name'} stands twice; keep one.")
    empty = True
    for line, cells in table:
        if not any(cell.strip() for cell in cells):
            continue
        while len(cells) > len(columns) and not cells[-1].strip():
            cells.pop()
        if len(cells) != len(columns):
            raise UserError(
                f"{path} line {line}: has {len(cells)} cells, but the header names {len(columns)} columns; correct the "
                "line."
            )
        empty = False
        yield line, dict(zip(columns, cells))
    if empty:
        raise UserError(f"{path} has a header but no rows: add one line per {one}.")


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

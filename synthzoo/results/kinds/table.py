"""Tables as TSV: what was measured of an input, a line for each frame, region or pair."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from synthzoo.errors import UserError
from synthzoo.io.files import plain, write_text
from synthzoo.io.marks import Mark
from synthzoo.results.kinds.base import Content, Kind


class Table(Kind):
    """TSV of columns: name -> equally many numbers or texts; None is n/a. Its mark stands in the sidecar alone.

    Args:
        digits: digits behind the point of numbers that are not whole.
    """

    endings = (".tsv",)
    pixels = False

    def __init__(self, digits: int = 4) -> None:
        self.digits = int(digits)

    def prepare(self, value: Any, key: str, suffix: str, sample: Mapping) -> Content:
        columns = {str(name): list(plain(np.asarray(cells, dtype=object))) for name, cells in dict(value).items()}
        lengths = {name: len(cells) for name, cells in columns.items()}
        if len(set(lengths.values())) > 1:
            raise UserError(f"{key} of {sample['case']} has columns of different lengths: {lengths}.")
        rows = list(zip(*columns.values()))
        facts = {"rows": len(rows)}
        return Content(np.array(rows, dtype=object), None, facts, list(columns))

    def write(self, path: Path, content: Content, mark: Mark) -> None:
        lines = [content.extra, *([self._cell(value) for value in row] for row in content.array)]
        write_text(path, "\n".join("\t".join(line) for line in lines) + "\n")

    def _cell(self, value: Any) -> str:
        if value is None:
            return "n/a"
        if isinstance(value, bool):
            return str(int(value))
        return f"{value:.{self.digits}f}" if isinstance(value, float) else str(value).replace("\t", " ")

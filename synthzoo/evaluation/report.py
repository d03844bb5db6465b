"""The end of every evaluation: figures against acceptance criteria, `metrics.json`, and the printed verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthzoo.evaluation.criteria import count, judge
from synthzoo.io.files import plain, write_json

CRITERIA = "Acceptance criteria"  # title of the table of verdicts


class Report:
    """Report of an evaluation: the metrics file, the command that repeats it, and the acceptance criteria.

    Args:
        save_to: the metrics file; pictures and tables of an evaluation lie beside it.
        command: the command line that gives the same numbers, for the card.
        criteria: see `synthzoo.evaluation.criteria.judge`.

    Raises:
        UserError: a criterion that has not the agreed form.
    """

    def __init__(self, save_to: str | Path, command: str = "", criteria: Sequence[Mapping[str, Any]] = ()) -> None:
        judge(criteria, {})
        self.save_to, self.command, self.criteria = Path(save_to), command, list(criteria)

    def write(
        self, tables: Sequence[dict], figures: Mapping[str, Any], settings: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Write and print figures and verdicts; returns what was written.

        Args:
            tables: each with "title", "columns" and "rows"; the acceptance criteria are put before them.
            figures: name -> number or word; `criteria_met` and `criteria` are added.
            settings: what was measured under, where the file shall say it.
        """
        rows, tables, figures = judge(self.criteria, figures), list(tables), dict(figures)
        if rows:
            tables.insert(0, {"title": CRITERIA, "columns": ["figure", "requested", "reached", "met"], "rows": rows})
            figures |= count(rows)
        content = {"command": self.command, "settings": settings, "tables": tables, "figures": figures}
        content = plain({key: value for key, value in content.items() if value is not None})
        write_json(self.save_to, content)
        for name, value in figures.items():
            print(f"{name}: {value}")
        for row in rows:
            print(*row, sep=" | ")
        print(f"wrote {self.save_to}")
        return content

    def beside(self, name: str) -> Path:
        """A file beside the metrics file."""
        return self.save_to.with_name(name)

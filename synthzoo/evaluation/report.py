"""The end of every evaluation: figures against acceptance criteria, `metrics.json`, and the printed verdicts."""

from __future__ import annotations

import json
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
        self,
        tables: Sequence[dict],
        figures: Mapping[str, Any],
        settings: Mapping[str, Any] | None = None,
        evaluation: str | None = None,
        keep: bool = False,
    ) -> dict[str, Any]:
        """Write and print figures and verdicts; returns what was written.

        Args:
            tables: each with "title", "columns" and "rows"; the acceptance criteria are put before them.
            figures: name -> number or word; `criteria_met` and `criteria` are added.
            settings: what was measured under, where the file shall say it.
            evaluation: what changes with the network and with every setting that decides a number; the file says it.
            keep: these are some of the figures: what the file holds of the same `evaluation` stays, tables of another
                title and figures of another name.
        """
        tables, figures = list(tables), dict(figures)
        if keep and evaluation is not None:
            tables, figures = self._beside_those_known(tables, figures, evaluation)
        rows = judge(self.criteria, figures)
        if rows:
            tables.insert(0, {"title": CRITERIA, "columns": ["figure", "requested", "reached", "met"], "rows": rows})
            figures |= count(rows)
        content: dict[str, Any] = {"command": self.command, "evaluation": evaluation, "settings": settings}
        content |= {"tables": tables, "figures": figures}
        content = plain({key: value for key, value in content.items() if value is not None})
        write_json(self.save_to, content)
        for name, value in figures.items():
            print(f"{name}: {value}")
        for row in rows:
            print(*row, sep=" | ")
        print(f"wrote {self.save_to}")
        return content

    def _beside_those_known(
        self, tables: list[dict], figures: dict[str, Any], evaluation: str
    ) -> tuple[list[dict], dict[str, Any]]:
        """Tables and figures of the metrics file with these in their places, and what is new at the end."""
        if not self.save_to.is_file():
            return tables, figures
        known = json.loads(self.save_to.read_text(encoding="utf-8"))
        if known.get("evaluation") != evaluation:
            print(f"{self.save_to}: what it says of another network or other settings is left out.")
            return tables, figures
        titled = {table["title"]: table for table in tables}
        kept = [titled.pop(old["title"], old) for old in known["tables"] if old["title"] != CRITERIA]
        return [*kept, *titled.values()], known["figures"] | figures

    def beside(self, name: str) -> Path:
        """A file beside the metrics file."""
        return self.save_to.with_name(name)

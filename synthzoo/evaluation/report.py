"""The end of an evaluation: what was requested against what was reached, and `metrics.json`."""

from __future__ import annotations

import json
from pathlib import Path

from synthzoo.io.files import write_json


def write_report(save_to: str | Path, command: str, tables: list[dict], figures: dict, bars: list[list]) -> dict:
    """Write and print what an evaluation found; gives what was written.

    Args:
        save_to: the metrics file.
        command: what a reader types to get the same numbers.
        tables: each with "title", "columns" and "rows"; the table of the bars is added.
        figures: name -> number; `bars_met` and `bars` are added.
        bars: [what, requested, reached, whether it is met], one a row.
    """
    rows = [[what, wanted, value, "yes" if met else "no"] for what, wanted, value, met in bars]
    tables.append({"title": "What was requested", "columns": ["figure", "requested", "reached", "met"], "rows": rows})
    figures |= {"bars_met": sum(bool(bar[3]) for bar in bars), "bars": len(bars)}
    result = {"command": command, "tables": tables, "figures": figures}
    write_json(save_to, json.loads(json.dumps(result)))
    for row in rows:
        print(*row, sep=" | ")
    return result


def at_least(what: str, least: float, value: float) -> list:
    """A row of bars: [what, requested, reached, whether it is met]."""
    return [what, f"at least {least:.2f}", value, bool(value >= least)]

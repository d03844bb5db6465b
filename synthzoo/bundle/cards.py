"""Generated text between markers: a card's results from metrics.json, and the README's table of bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthzoo.errors import UserError
from synthzoo.io.files import write_text


def fill(text: str, marker: str, content: str, path: str | Path = "") -> str:
    """`text` with what stands between `<!-- marker -->` and `<!-- /marker -->` replaced by `content`."""
    start, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise UserError(f"{path}: needs the line '{start}' and after it the line '{end}', once each; add them.")
    before, rest = text.split(start)
    return f"{before}{start}\n{content.strip()}\n{end}{rest.split(end)[1]}"


def fill_page(page: str | Path, marker: str, content: str) -> None:
    """`fill` on a file; a page that is not there is passed over, as when a report is written elsewhere.

    Raises:
        UserError: the page lacks the marker's lines.
    """
    page = Path(page)
    if page.is_file():
        write_text(page, fill(page.read_text(encoding="utf-8"), marker, content, page))


def table(columns: Sequence[str], rows: Sequence[Sequence]) -> str:
    """A Markdown table; numbers with four significant digits, None as a dash."""
    lines = ["| " + " | ".join(cell(column) for column in columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def cell(value: Any) -> str:
    """One value as text of a table cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def results_text(metrics: dict | None, name: str, more: Sequence[dict] = ()) -> str:
    """The results section of a card: the command, each table, and where the numbers lie.

    Args:
        metrics: what docs/metrics.json holds, or None.
        name: of the bundle.
        more: further reports of docs/ in the same form, such as benchmark.json.
    """
    parts = []
    if metrics is None:
        parts = [f"Not measured yet: `bundles/{name}/docs/metrics.json` does not exist; `evaluate.json` writes it."]
    for report in [*([metrics] if metrics is not None else []), *more]:
        source = "`docs/metrics.json`" if report is metrics else "`docs/`"
        parts.append(f"Numbers from {source}, written by:\n\n```\n{report['command']}\n```")
        for entry in report.get("tables", []):
            parts.append(f"**{entry['title']}**\n\n{table(entry['columns'], entry['rows'])}")
    return "\n\n".join(parts)


def bundles_text(entries: Sequence[dict]) -> str:
    """The README's table: one row a bundle, from the entries of bundle_index.json."""
    rows = []
    for entry in entries:
        seconds = entry["seconds_per_sample"]
        shown = [f"{name} {cell(value)}" for name, value in list(entry["eval_metrics"].items())[:3]]
        rows.append(
            [
                f"[{entry['name']}](bundles/{entry['name']}/docs/README.md)",
                entry["task"],
                ", ".join(entry["conditions"]) or None,
                ", ".join(entry["outputs"]),
                f"{entry['weights_bytes'] / 1e6:.1f} MB" if entry["weights_bytes"] else None,
                seconds.get("cpu"),
                seconds.get("gpu"),
                "; ".join(shown) or None,
            ]
        )
    columns = ["bundle", "task", "conditions", "gives", "weights", "s on CPU", "s on GPU", "measured"]
    return table(columns, rows)


# Columns of the table of methods -> endings of the figures that `evaluation.anomaly_maps` gives each contrast.
CONTRASTS = ("T1w", "T1Gd", "T2w", "FLAIR")
LESIONS = {"whole": "lesions_whole_ap", "cut": "lesions_cut_ap", "with remains": "lesions_remains_ap"}
LESIONS |= {"to 20 mL": "lesions_small_ap", "from 120 mL": "lesions_large_ap"}
SHORTCUTS = {"equalised intensity, smoothed": "equalised_ap", "intensity z-score": "z_score_ap", "chance": "chance"}


def methods_text(reports: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Anomaly maps of the brain side by side, by the reports (bundle, figures) that measured one."""
    keys = {f"{CONTRASTS[0]}_ap", f"{CONTRASTS[0]}_equalised_ap"}
    measured = [(name, figures) for name, figures in reports if keys <= set(figures)]
    if not measured:
        return "Not measured yet."
    rows = [[f"`{name}`", *(figures.get(f"{c}_ap") for c in CONTRASTS)] for name, figures in measured]
    known = measured[0][1]
    rows += [[name, *(known.get(f"{c}_{ending}") for c in CONTRASTS)] for name, ending in SHORTCUTS.items()]
    parts = ["**Voxel AP on the same phantoms, by contrast**", table(["method", *CONTRASTS], rows)]
    for contrast in ("FLAIR", "T1Gd"):
        of = [(name, figures) for name, figures in measured if f"{contrast}_lesions_whole_ap" in figures]
        rows = [
            [f"`{name}`", *(figures.get(f"{contrast}_{ending}") for ending in LESIONS.values())] for name, figures in of
        ]
        if rows:
            title = f"**{contrast}: voxel AP on the same lesions of 5 to 200 mL, by view and by volume**"
            parts += [title, table(["method", *LESIONS], rows)]
    return "\n\n".join(parts)

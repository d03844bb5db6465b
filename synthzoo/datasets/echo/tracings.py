"""Tracings of the left ventricle: read from VolumeTracings.csv, and turned into outlines and areas.

A tracing is float32, in pixels: [n, 4] the long axis and then n - 1 chords (x1, y1, x2, y2) from apex to base, or
[n, 2] the points of the contour.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from synthzoo.datasets.echo.echonet_table import CHORDS, CONTOUR, table_of
from synthzoo.errors import UserError
from synthzoo.io.tables import integer_in, number_in

NOT_TRACED = ("no systolic", "no diastolic")  # what the pediatric tables write for a frame that was not drawn


def add_tracings(rows: list[dict], path: Path, failures: list[str] | None = None) -> None:
    """Give each row of `read_file_list` its `tracings`, `es_frame` and `ed_frame`.

    A few videos of the published sets have no tracings, and the table may name videos that are not among the rows, but
    a table that names none of them is told.

    Args:
        rows: the rows, changed in place.
        path: VolumeTracings.csv.
        failures: None raises on the first bad line; a list collects the sentences, and the frame is left out.

    Raises:
        UserError: a wrong column or cell, or a frame that the video does not have, named by file, line and column.
    """
    by_name = {row["name"]: row for row in rows}
    drawn: dict[tuple[str, int], list] = {}
    hint = f"the columns are {','.join(CHORDS)} or {','.join(CONTOUR)}"
    bad, joined, name = set(), 0, ""
    for line, cells in table_of(path, ("FileName", "Frame"), hint):
        columns = CHORDS if "x1" in cells else CONTOUR
        lacking = next((name for name in columns if name.lower() not in cells), None)
        if lacking is not None:
            raise UserError(f"{path} line 1: has no column {lacking}; {hint}.")
        name = cells["filename"].strip()
        name = name[:-4] if name.lower().endswith(".avi") else name
        joined += name in by_name
        if name not in by_name or cells["frame"].strip().lower() in NOT_TRACED:
            continue
        where = f"{path} line {line}, column "
        try:
            frame = integer_in(cells, "Frame", where, 0, 100_000)
            points = [number_in(cells, column, where, -1e4, 1e4) for column in columns[1:-1]]
            if frame is None or None in points:
                raise UserError(f"{path} line {line}: has an empty cell; fill it or remove the video's tracing.")
            frames = by_name[name]["frames"]
            if frames is not None and frame >= frames:
                raise UserError(
                    f"{where}Frame: {frame} is traced, but {name} has the frames 0 to {frames - 1}; correct the cell "
                    "or remove the frame's rows."
                )
        except UserError as error:
            if failures is None:
                raise
            said = cells["frame"].strip().removesuffix(".0")
            if (name, said) not in bad:
                bad.add((name, said))
                failures.append(str(error))
            continue
        drawn.setdefault((name, frame), []).append(points)
    if by_name and not joined:
        said = f"{path} traces none of the videos of the list, which has {next(iter(by_name))} where it has {name}"
        if failures is None:
            raise UserError(f"{said}; correct the names, or remove the file to go without tracings.")
        failures.append(f"{said}; correct the names.")
    for (name, frame), points in drawn.items():
        if (name, str(frame)) not in bad:
            by_name[name]["tracings"][frame] = np.asarray(points, dtype=np.float32)
    for row in rows:
        if len(row["tracings"]) > 1:
            area = {frame: traced_area(tracing) for frame, tracing in row["tracings"].items()}
            row["es_frame"], row["ed_frame"] = min(area, key=area.get), max(area, key=area.get)


def outline(tracing: np.ndarray) -> np.ndarray:
    """The closed outline (x, y) [m, 2] of a tracing: down one end of the chords and up the other.

    Args:
        tracing: [n, 4], the long axis and n - 1 chords (x1, y1, x2, y2), or [n, 2], the outline itself; pixels.
    """
    tracing = np.asarray(tracing, dtype=np.float64)
    if tracing.shape[1] == 2:
        return tracing
    chords = tracing[1:]
    return np.concatenate([chords[:, :2], chords[::-1, 2:]])


def traced_area(tracing: np.ndarray) -> float:
    """The area within a tracing in square pixels (shoelace formula)."""
    x, y = outline(tracing).T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))

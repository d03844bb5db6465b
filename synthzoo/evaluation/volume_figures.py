"""The files beside a generator's metrics: measurements as CSV, requested against measured, volumes to look at."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from synthzoo.evaluation.pictures import new_figure, save_figure
from synthzoo.io.files import write_text
from synthzoo.results.preview import montage


def write_csv(path: str | Path, columns: Mapping[str, np.ndarray]) -> None:
    """Columns of one length (N,) as CSV, rounded to four decimals."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([round(float(value), 4) for value in row] for row in zip(*columns.values(), strict=True))
    write_text(path, buffer.getvalue())


def draw_agreement(
    path: str | Path, requested: Mapping[str, np.ndarray], measured: Mapping[str, Mapping], units: Mapping[str, str]
) -> None:
    """One panel per condition, requested against measured, one colour per kind of image.

    Args:
        path: the PNG.
        requested: condition -> (N,).
        measured: kind of image -> condition -> (N,).
        units: condition -> unit.
    """
    figure = new_figure(4.2 * len(requested), 4.2)
    colours = ("0.65", "tab:orange", "tab:blue")
    for axis, (name, values) in zip(np.atleast_1d(figure.subplots(1, len(requested))), requested.items(), strict=True):
        for (kind, found), colour in zip(measured.items(), colours):
            r = np.corrcoef(values, found[name])[0, 1]
            axis.plot(values, found[name], ".", color=colour, markersize=4, label=f"{kind}, r = {r:.3f}")
        ends = [values.min(), values.max()]
        axis.plot(ends, ends, "k-", linewidth=0.8)
        axis.set(xlabel=f"requested {name} ({units[name]})", ylabel=f"measured {name} ({units[name]})")
        axis.legend(fontsize=8)
    save_figure(figure, path)


def draw_volumes(path: str | Path, requests: Sequence[str], kinds: Mapping[str, np.ndarray], count: int = 4) -> None:
    """The first `count` requests, said in words, as rows, the kinds of images (N, D, H, W) as columns."""
    titles, volumes = [], []
    for row, request in enumerate(requests[:count]):
        titles += [f"{kind}: {request}" if first == 0 else kind for first, kind in enumerate(kinds)]
        volumes += [images[row] for images in kinds.values()]
    montage(volumes, titles, path, columns=len(kinds))

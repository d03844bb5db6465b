"""Pictures of an evaluation: a Matplotlib figure without a screen, written whole and without a date."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from synthzoo.io.files import write_bytes


def new_figure(width: float, height: float, **settings: Any) -> Any:
    """An empty figure of this size in inches; `settings` as of `matplotlib.figure.Figure`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), **settings)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: str | Path, dpi: int = 80, pad: float | None = None) -> None:
    """Write a figure as PNG with its parts close together; the same figure gives the same bytes.

    Args:
        dpi: pixels an inch.
        pad: space around the parts as a share of the font's size; None takes Matplotlib's.
    """
    figure.tight_layout(**({} if pad is None else {"pad": pad}))
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor=figure.get_facecolor(), metadata={"Software": None})
    write_bytes(path, buffer.getvalue())

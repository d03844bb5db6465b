"""The tables of the echo data sets: their names and columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from synthzoo.io.tables import table_cells

FILE_LIST, TRACINGS, VIDEOS, LATENTS = "FileList.csv", "VolumeTracings.csv", "Videos", "Latents"
COLUMNS = ("FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split")
CHORDS, CONTOUR = ("FileName", "X1", "Y1", "X2", "Y2", "Frame"), ("FileName", "X", "Y", "Frame")


def table_of(path: Path, needed: Sequence[str], hint: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line and cells by lower-case column of a CSV with a header."""
    return table_cells(path, needed, f"dataset_dir is a folder with {FILE_LIST} and {VIDEOS}/", hint, "video")

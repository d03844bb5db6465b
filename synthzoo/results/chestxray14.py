"""Writes chest phantoms in ChestX-ray14's layout, with boxes, lists of splits and, in phantom.csv, the truth beyond it.

An image is written whole or not at all, and one that is there is not made again, so a run that was killed goes on; the
tables come last. `synthzoo.datasets.chest.chestxray14` reads what is written here.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthzoo.datasets.chest.chestxray14 import BOXES, HEALTHY, SIDE, TABLES, TEST_LIST, TRAIN_LIST
from synthzoo.errors import UserError
from synthzoo.io.files import write_bytes, write_text
from synthzoo.io.images import png_bytes
from synthzoo.io.marks import Mark, with_mark
from synthzoo.phantoms.chest.phantom import VERSION
from synthzoo.phantoms.chest.pool import ChestPool

PARAMETERS = "phantom.csv"
LABELS = {
    "nodule": "Nodule",
    "consolidation": "Consolidation",
    "effusion": "Effusion",
    "pneumothorax": "Pneumothorax",
    "cardiomegaly": "Cardiomegaly",
}
MASS_MM = 15.0  # radius from which a nodule is called a mass
ENTRY = (
    "Image Index",
    "Finding Labels",
    "Follow-up #",
    "Patient ID",
    "Patient Age",
    "Patient Gender",
    "View Position",
    "OriginalImage[Width",
    "Height]",
    "OriginalImagePixelSpacing[x",
    "y]",
)
BOX = ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]", "", "", "")
TRUTH = ("Image Index", "report", "ctr", "heart_ml", "pixel_mm", "findings")


def write_chestxray14(
    folder: str | Path,
    pool: ChestPool,
    style: str = "clinic",
    progress: Callable[[Iterable], Iterable] | None = None,
) -> Path:
    """Write every radiograph of a pool, one exposure each, as 8-bit PNG, with its tables.

    Args:
        folder: the data set's folder; one that holds another pool is refused.
        pool: from `synthzoo.phantoms.chest.pool.load_pool`.
        style: of the exposures, see `synthzoo.phantoms.chest.exposure.draw_exposure`.
        progress: wraps the iteration over images, for instance `tqdm`.

    Returns:
        the folder.

    Raises:
        UserError: the folder cannot be written or holds another pool.
    """
    folder = Path(folder)
    origin = folder / "phantom.txt"
    said = f"synthzoo chest phantoms, pool {pool.settings.key}, style {style}\n"
    if origin.is_file() and origin.read_text(encoding="utf-8") != said:
        raise UserError(f"{folder} holds another set ({origin.name} says which): choose another folder.")
    write_text(origin, said)
    for row in (progress or iter)(range(len(pool))):
        path = folder / "images" / image_name(pool.records[row])
        if not path.is_file():
            grey = np.rint(pool.expose(row, row, style) * 255).astype(np.uint8)
            record = {"Synthetic": True, "phantom": "chest", "version": VERSION, "seed": row}
            write_bytes(path, with_mark(png_bytes(grey), Mark(True, record)))
    records = pool.records
    _table(folder / TABLES[1], ENTRY, [_entry(record, pool.settings.size) for record in records])
    boxes = [line for record in records for line in _boxes(record, SIDE / pool.settings.size)]
    _table(folder / BOXES, BOX, boxes)
    _table(folder / PARAMETERS, TRUTH, [_truth(record) for record in records])
    for name, splits in ((TRAIN_LIST, ("TRAIN", "VAL")), (TEST_LIST, ("TEST",))):
        names = [image_name(record) for record in records if record["split"] in splits]
        write_text(folder / name, "".join(f"{name}\n" for name in names))
    return folder


def image_name(record: dict) -> str:
    """Name of a study's file, as ChestX-ray14 has them: patient and follow-up."""
    return f"{record['patient'] + 1:08d}_{record['study']:03d}.png"


def label_of(found: dict) -> str | None:
    """ChestX-ray14's word for a finding; None for a device, which it does not name."""
    if found["kind"] == "nodule" and found["size_mm"] >= MASS_MM:
        return "Mass"
    return LABELS.get(found["kind"])


def _entry(record: dict, size: int) -> list:
    labels = sorted({label_of(found) for found in record["findings"]} - {None})
    spacing = f"{record['pixel_mm']:.4f}"
    return [
        image_name(record),
        "|".join(labels) or HEALTHY,
        record["study"],
        record["patient"] + 1,
        round(record["age"]),
        record["sex"],
        record["view"],
        *(size, size, spacing, spacing),
    ]


def _boxes(record: dict, scale: float) -> list[list]:
    """Lines of a record's boxes, in pixels of 1024 x 1024."""
    named = [(label_of(found), found["box"]) for found in record["findings"]]
    return [
        [image_name(record), label, *(f"{value * scale:g}" for value in box), "", "", ""]
        for label, box in named
        if label
    ]


def _truth(record: dict) -> list:
    findings = json.dumps(record["findings"])
    return [image_name(record), record["report"], record["ctr"], record["heart_ml"], record["pixel_mm"], findings]


def _table(path: Path, header: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    # The published header is not quoted though its names hold commas: they are cells of their own.
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    write_text(path, text.getvalue())

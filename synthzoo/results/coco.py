"""Masks of a run as one COCO file: a category, an annotation for each connected region, run lengths of its pixels.

    {"info", "images": [{"id", "file_name", "case", "width", "height"}], "categories": [{"id", "name"}],
     "annotations": [{"id", "image_id", "category_id", "iscrowd": 0, "area", "bbox": [x, y, w, h],
                      "segmentation": {"size": [h, w], "counts": [...]}}]}

Run lengths go down the columns and begin with the background, as COCO has them, not packed into text. Pixels and boxes
count from 0 at the upper left. `case` is the folder of the
result, as names of photographs may repeat. Source: cocodataset.org, "Data format".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from scipy import ndimage as ndi

from synthzoo.cases.table import CaseTable
from synthzoo.errors import UserError
from synthzoo.io.files import write_json
from synthzoo.io.images import read_label_picture
from synthzoo.io.locks import locked
from synthzoo.io.marks import stated

NAME = "coco.json"


def run_lengths(mask: np.ndarray) -> list[int]:
    """Lengths of the runs of a mask (H, W), down its columns, that of 0 first.

    >>> run_lengths(np.array([[0, 1], [0, 1]]))
    [2, 2]
    """
    flat = np.asarray(mask, bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]]))
    return [int(n) for n in ([0, *lengths] if flat.size and flat[0] else lengths)]


def mask_of(counts: list[int], size: tuple[int, int]) -> np.ndarray:
    """The mask bool (H, W) of run lengths, see `run_lengths`."""
    values = np.repeat(np.arange(len(counts)) % 2, counts)
    return values.reshape(size, order="F").astype(bool)


def annotations_of(mask: np.ndarray, least: int = 1) -> list[dict[str, Any]]:
    """The connected regions of a mask (H, W), the largest first: "area", "bbox" and "segmentation".

    Args:
        least: pixels below which a region is left out.
    """
    numbered, count = ndi.label(mask, np.ones((3, 3), int))
    found = []
    for number, (rows, columns) in enumerate(ndi.find_objects(numbered), start=1):
        area = int((numbered[rows, columns] == number).sum())
        if area >= least:
            box = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
            counts = run_lengths(numbered == number)
            segmentation = {"size": list(mask.shape), "counts": counts}
            found.append({"area": area, "bbox": box, "segmentation": segmentation})
    return sorted(found, key=lambda one: -one["area"])


class WriteCoco:
    """Handler for the end of a run: `<output_dir>/coco.json` of all masks that lie there, those of earlier runs too.

    Under `torchrun` each process writes what is there when it ends, so that the last one writes all of it.

    Args:
        table: the table of the run.
        category: name of what is masked.
        suffix: of the masks.
        least: pixels below which a region is left out.
    """

    served = False  # a server answers with results, not with a file of a whole set

    def __init__(self, table: CaseTable, category: str, suffix: str = "dseg.png", least: int = 4) -> None:
        self.table, self.category, self.suffix, self.least = table, str(category), suffix, int(least)

    def attach(self, engine: Engine) -> None:
        """Run at the engine's end, or now when no row is left (MONAI then does not run the engine at all)."""
        if len(self.table) == 0:
            self(engine)
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine | None = None) -> None:
        if self.table.output_dir is not None:
            with locked(self.table.output_dir):
                write_json(self.table.output_dir / NAME, self.content())

    def content(self) -> dict[str, Any]:
        """The file's content."""
        images, annotations = [], []
        for row, case in enumerate(self.table.cases):
            sidecar, path = self.table.sidecar(case), self.table.path(case, self.suffix)
            if not (sidecar.is_file() and path.is_file()):
                continue
            try:
                mask = read_label_picture(path) > 0
                record = json.loads(sidecar.read_text(encoding="utf-8"))
            except (UserError, ValueError):  # of a case that another process is writing
                continue
            height, width = mask.shape
            name = record.get("input", {}).get("name") or Path(str(self.table.paths[row])).name
            images.append({"id": row + 1, "file_name": name, "case": case, "width": width, "height": height})
            for one in annotations_of(mask, self.least):
                known = {"id": len(annotations) + 1, "image_id": row + 1, "category_id": 1, "iscrowd": 0}
                annotations.append({**known, **one})
        info = {"description": f"masks of '{self.category}'", **stated(False, self.table.bundle, self.table.version)}
        categories = [{"id": 1, "name": self.category}]
        return {"info": info, "images": images, "categories": categories, "annotations": annotations}

"""Folders of photographs in the published layout of foreground-background separation (Dombrowski et al., ICCV 2023).

    <root>/images.txt                 a photograph a line: <path below images/> <split>, 1 train, 2 validation, 0 test
    <root>/images/<path>              JPEG or PNG
    <root>/segmentations/<path>.png   optional: grey, an object where a pixel is at least half of the highest level
    <root>/captions.csv               optional: columns path, caption

Without captions.csv each photograph gets one caption, such as "a photo of a bird".
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.errors import UserError
from synthzoo.io.images import read_label_picture, read_picture
from synthzoo.io.tables import table_cells, table_lines
from synthzoo.phantoms.cache import settings_key
from synthzoo.transforms.radiograph_grid import place

SPLITS = {"train": "1", "validation": "2", "test": "0"}


def read_photographs(dataset_dir: str | Path, split: str | None = None, caption: str = "") -> list[dict[str, Any]]:
    """Rows {"path", "caption", "segmentation": path or None, "case"} of a folder, in the order of images.txt.

    Args:
        dataset_dir: the root.
        split: "train", "validation" or "test"; None gives all.
        caption: of photographs that captions.csv does not name.

    Raises:
        UserError: a file is missing, a line is none of the layout or leads out of the folder, a split is empty, a
            photograph has no caption.
    """
    root = Path(dataset_dir)
    if split is not None and split not in SPLITS:
        raise UserError(f"split = {split!r}: photographs have the splits {', '.join(SPLITS)}.")
    table = root / "images.txt"
    lines = table_lines(table, "name the photographs and their splits there", "name a photograph a line", "text")
    said = _captions(root / "captions.csv")
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, _, code = line.strip().rpartition(" ")
        inner = PurePosixPath(name.strip())
        if code not in SPLITS.values() or not name.strip():
            raise UserError(
                f"{table} line {number}: '{line.strip()[:80]}' is no path and 1 (train), 2 (validation) or 0 (test)."
            )
        if inner.is_absolute() or ".." in inner.parts:
            raise UserError(f"{table} line {number}: {name[:80]} leads out of the folder images: give a path below it.")
        if split is not None and code != SPLITS[split]:
            continue
        text = said.get(str(inner), caption)
        if not text:
            raise UserError(
                f"{table} line {number}: {inner} has no caption: name it in captions.csv, or give one caption for all."
            )
        mask = (root / "segmentations" / inner).with_suffix(".png")
        found = {"path": root / "images" / inner, "caption": text, "case": inner.stem}
        rows.append({**found, "segmentation": mask if mask.is_file() else None})
    if not rows:
        raise UserError(
            f"{table} names no photograph of the split {split}: end some lines with {SPLITS.get(split or '', 1)}."
        )
    return rows


def _captions(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    hint = "it has the columns path and caption"
    rows = table_cells(path, ("path", "caption"), "give it, or leave it out", hint, "photograph")
    return {str(PurePosixPath(cells["path"])): " ".join(cells["caption"].split()) for _, cells in rows}


class Photographs(Dataset):
    """Photographs on a square grid as {"image": float32 (3, size, size) in [0, 1], "caption": str, "row": int}.

    Args:
        rows: of `read_photographs`.
        size: of the grid.
        fit: "pad" shows all of a photograph between black bars, "crop" the square in its middle, as published.
        masks: rows have "mask" float32 (1, size, size), nowhere 1 where no segmentation is known.
        cache_dir: folder below which what is computed from the images is kept; None keeps nothing.

    Raises:
        UserError: what `read_picture` says of a file, when its row is read.
    """

    def __init__(
        self,
        rows: list[dict[str, Any]],
        size: int = 96,
        fit: str = "crop",
        masks: bool = False,
        cache_dir: str | Path | None = None,
    ) -> None:
        place(1, 1, size, fit)
        key = settings_key([[str(row["path"]), row["caption"]] for row in rows] + [size, fit])
        self.cache_dir = Path(cache_dir) / f"photographs-{key}" if cache_dir else None
        self.rows, self.size, self.fit, self.masks = list(rows), int(size), fit, masks

    def __len__(self) -> int:
        return len(self.rows)

    def truth(self, row: int) -> dict[str, Any]:
        """What a row says besides its image and mask."""
        return {"caption": self.rows[row]["caption"], "row": row}

    def mask(self, row: int) -> torch.Tensor:
        """The pixels of the object, float32 (1, size, size)."""
        path = self.rows[row]["segmentation"]
        if path is None:
            return torch.zeros(1, self.size, self.size)
        levels = read_label_picture(path).astype(np.float32)
        inside = torch.from_numpy(levels / max(float(levels.max()), 1.0))[None]
        return (self._placed(inside) >= 0.5).float()

    def _placed(self, picture: torch.Tensor) -> torch.Tensor:
        return place(picture.shape[-2], picture.shape[-1], self.size, self.fit).to_grid(picture)

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not 0 <= row < len(self.rows):
            raise IndexError(row)
        image = self._placed(torch.from_numpy(read_picture(self.rows[row]["path"], 3).levels))
        item = {"image": image, **self.truth(row)}
        return {**item, "mask": self.mask(row)} if self.masks else item

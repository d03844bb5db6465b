"""Sources of chest radiographs: a folder in one of the published layouts, read by one function and one data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.datasets.chest.chestxray14 import read_chestxray14
from synthzoo.datasets.chest.mimic import read_mimic, read_report
from synthzoo.datasets.chest.mscxr import read_mscxr
from synthzoo.datasets.chest.phantoms import ChestPhantomDataset
from synthzoo.datasets.chest.rows import chosen_split
from synthzoo.datasets.chest.vindr import read_vindr
from synthzoo.errors import UserError
from synthzoo.io.radiographs import read_radiograph
from synthzoo.transforms.radiograph_grid import ToRadiographGridd, place

READERS: dict[str, Callable[..., list[dict]]] = {
    "mimic": read_mimic,
    "mscxr": read_mscxr,
    "chestxray14": read_chestxray14,
    "vindr": read_vindr,
}
PHANTOM_SPLITS = {"train": "TRAIN", "validation": "VAL", "test": "TEST"}


def read_chest(dataset_dir: str | Path, data_format: str, split: str | None = None, **settings: Any) -> list[dict]:
    """Rows of a data set of chest radiographs, see `synthzoo.datasets.chest.rows`.

    Args:
        dataset_dir: its folder.
        data_format: "mimic", "mscxr", "chestxray14" or "vindr".
        split: "train", "validation" or "test"; None gives all.
        settings: of the reader of that format.

    Raises:
        UserError: an unknown format, a folder that is not there, and what the reader says.
    """
    if data_format not in READERS:
        raise UserError(f"data_format = {data_format!r}: chest radiographs are read as {', '.join(READERS)}.")
    if not dataset_dir:
        raise UserError(f"data_format is {data_format}, but dataset_dir is empty: give the folder of that data set.")
    if not Path(dataset_dir).is_dir():
        raise UserError(f"dataset_dir {dataset_dir} is no folder: check the path.")
    return READERS[data_format](dataset_dir, split, **settings)


class ChestRadiographs(Dataset):
    """Radiographs on a square grid as {"image", "labels", "box_mask", "report", "patient", "study", "row"}.

    "image" is float32 (1, size, size) in [0, 1], "labels" float32 (K,) with NaN where a finding is uncertain,
    "box_mask" uint8 (1, size, size), 1 within a box, "report" its impression, or else the first phrase, or "".

    Args:
        rows: of `read_chest`.
        size: of the grid.
        findings: K names in their order; None takes those of the first row.
        fit, intensity: see `synthzoo.transforms.radiograph_grid`.

    Raises:
        UserError: a finding that the rows lack; what `read_radiograph` says of a file, when its row is read.
    """

    def __init__(
        self,
        rows: Sequence[dict],
        size: int = 256,
        findings: Sequence[str] | None = None,
        fit: str = "pad",
        intensity: str = "percentiles",
    ) -> None:
        self.rows, self.size, self.fit = list(rows), int(size), fit
        known = list(rows[0]["labels"]) if rows else []
        self.findings = known if findings is None else list(findings)
        unknown = [name for name in self.findings if name not in known]
        if unknown:
            raise UserError(f"finding '{unknown[0]}' is none of this data set, which has {', '.join(known) or 'none'}.")
        self.to_grid = ToRadiographGridd("image", size, fit, intensity)

    def __len__(self) -> int:
        return len(self.rows)

    def boxes_of(self, row: int) -> np.ndarray:
        """The boxes of one row on the grid, float64 (N, 4) as x0, y0, x1, y1; those that a crop cut off are empty."""
        return self._boxes(row, read_radiograph(self.rows[row]["path"], check=False).levels.shape)

    def _boxes(self, row: int, shape: Sequence[int]) -> np.ndarray:
        boxes = np.array([box.corners for box in self.rows[row]["boxes"]], dtype=np.float64).reshape(-1, 4)
        return place(shape[-2], shape[-1], self.size, self.fit).boxes_to_grid(boxes)

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not 0 <= row < len(self.rows):
            raise IndexError(row)
        known = self.rows[row]
        levels = torch.from_numpy(read_radiograph(known["path"], check=False).levels)
        image = self.to_grid({"image": levels})["image"].as_tensor()
        mask = np.zeros((1, self.size, self.size), np.uint8)
        for x0, y0, x1, y1 in self._boxes(row, levels.shape):
            if x1 > x0 and y1 > y0:  # at least a pixel of what a crop left
                mask[:, round(y0) : max(round(y1), round(y0) + 1), round(x0) : max(round(x1), round(x0) + 1)] = 1
        sections = read_report(known["report"])
        text = sections.get("impression") or (known["phrases"] or [""])[0]
        labels = torch.tensor([known["labels"][name] for name in self.findings], dtype=torch.float32)
        who = {"patient": known["patient"], "study": known["study"], "row": row}
        return {"image": image, "labels": labels, "box_mask": torch.from_numpy(mask), "report": text, **who}


def training_radiographs(
    data_format: str = "phantom",
    dataset_dir: str | Path = "",
    split: str = "train",
    size: int = 128,
    findings: Sequence[str] | None = None,
    fit: str = "pad",
    intensity: str = "percentiles",
    phantom: Mapping[str, Any] | None = None,
    **reader: Any,
) -> Dataset:
    """Rows for training with "image" (1, size, size) in [0, 1], "labels" (K,), "report", "patient", "study" and "row".

    Args:
        data_format: "phantom" draws chest phantoms; "mimic", "mscxr", "chestxray14" and "vindr" read `dataset_dir`.
        dataset_dir: the data set's folder; empty for phantoms.
        split: "train", "validation" or "test".
        size: of the grid in pixels.
        findings, fit, intensity: see `ChestRadiographs`; phantoms have all of their kinds.
        phantom: settings of `ChestPhantomDataset`, such as patients, studies and cache_dir.
        reader: settings of the format's reader, such as views or boxed.

    Raises:
        UserError: an unknown format or split, a format without its folder or a folder without its format, and what the
            readers say.
    """
    if data_format not in ("phantom", *READERS):
        raise UserError(f"data_format = {data_format!r}: the known ones are phantom, {', '.join(READERS)}.")
    name = chosen_split(split) or "train"
    if data_format != "phantom":
        rows = read_chest(dataset_dir, data_format, name, **reader)
        return ChestRadiographs(rows, size, findings, fit, intensity)
    if dataset_dir:
        raise UserError(
            f"dataset_dir is {dataset_dir}, but data_format is phantom: add --data_format {', '.join(READERS)} to "
            "read it."
        )
    return ChestPhantomDataset(PHANTOM_SPLITS[name], **{"size": size, **dict(phantom or {})})

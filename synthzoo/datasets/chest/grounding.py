"""Phrases with boxes as an evaluation set for grounding: MS-CXR, and the boxes of ChestX-ray14 and VinDr-CXR.

A row is one of `synthzoo.datasets.chest.rows` for each finding and phrase of an image, with their boxes alone and

    finding      as the data set names it
    phrase       the sentence of the report; where there is none, the finding's name
    words        parts of words that name the finding: the maps of the tokens of such words are averaged

Truth is the union of a row's boxes. As published, the shorter side of an image becomes 512 pixels and its middle is cut
out; boxes take the same way, and a row whose boxes are cut off is left out and counted.

Reference: Dombrowski et al., "Trade-offs in Fine-tuned Diffusion Models Between Accuracy and Interpretability", AAAI
2024, arXiv 2303.17908.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthzoo.datasets.chest.rows import Box, image_size
from synthzoo.datasets.chest.sources import ChestRadiographs, read_chest
from synthzoo.errors import UserError
from synthzoo.transforms.radiograph_grid import place

FORMATS = ("mscxr", "chestxray14", "vindr")
SIZE, FIT = 512, "crop"
# Finding -> parts of the words that name it, as published; what is not here is sought by its own name.
QUERY_WORDS: dict[str, tuple[str, ...]] = {
    "atelectasis": ("atelectasis", "atelectatic"),
    "cardiomegaly": ("cardiomegaly", "cardiac"),
    "consolidation": ("consolidation", "consolidations", "consolidative"),
    "edema": ("edema",),
    "lung opacity": ("opacity", "opacities", "opacification"),
    "pleural effusion": ("pleural", "effusion", "effusions"),
    "effusion": ("pleural", "effusion", "effusions"),  # what ChestX-ray14 calls it
    "pneumonia": ("pneumonia",),
    "pneumothorax": ("pneumothorax", "pneumothoraces"),
}


def plain_finding(finding: str) -> str:
    """The name of a finding as a report would write it: small letters, spaces.

    >>> plain_finding("Pleural_Thickening")
    'pleural thickening'
    """
    return " ".join(finding.replace("_", " ").lower().split())


def query_words(finding: str) -> tuple[str, ...]:
    """Parts of the words that name a finding, in small letters.

    >>> query_words("Pneumothorax"), query_words("Nodule/Mass")
    (('pneumothorax', 'pneumothoraces'), ('nodule', 'mass'))
    """
    name = plain_finding(finding)
    return QUERY_WORDS.get(name, tuple(name.replace("/", " ").split()))


def grounding_rows(
    dataset_dir: str | Path,
    data_format: str = "mscxr",
    split: str | None = None,
    named_only: bool = False,
    size: int = SIZE,
    fit: str = FIT,
    **reader: Any,
) -> list[dict]:
    """Rows of a data set with boxes, one a finding and phrase of an image; what is left out is counted on stderr.

    Args:
        dataset_dir: its folder.
        data_format: "mscxr", "chestxray14" or "vindr".
        split: "train", "validation" or "test"; None gives all, as published for MS-CXR.
        named_only: True takes only phrases that hold the finding's name.
        size, fit: of the grid, see `synthzoo.transforms.radiograph_grid`; what it cuts off is no truth.
        reader: settings of the format's reader.

    Raises:
        UserError: another format, what its reader says, or no phrase is left.
    """
    if data_format not in FORMATS:
        raise UserError(f"data_format = {data_format!r}: phrases and boxes are read of {', '.join(FORMATS)}.")
    if data_format == "chestxray14":
        reader = {"boxed": True, **reader}
    found: list[dict] = []
    left_out: Counter[str] = Counter()
    for row in read_chest(dataset_dir, data_format, split, **reader):
        groups: dict[tuple[str, str], list[Box]] = {}
        for box in row["boxes"]:
            groups.setdefault((box.label, box.phrase or plain_finding(box.label)), []).append(box)
        wide, high = image_size(row["path"]) if groups else (1, 1)
        placed = place(high, wide, size, fit)
        for (finding, phrase), boxes in groups.items():
            corners = placed.boxes_to_grid(np.array([box.corners for box in boxes]))
            if named_only and plain_finding(finding) not in plain_finding(phrase):
                left_out["without the finding's name"] += 1
            elif not ((corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])).any():
                left_out[f"whose boxes the {fit} to a square cuts off"] += 1
            else:
                words = query_words(finding)
                found.append({**row, "finding": finding, "phrase": phrase, "words": words, "boxes": boxes})
    parts = "; ".join(f"{count} {reason}" for reason, count in left_out.most_common()) or "nothing is left out"
    if not found:
        raise UserError(f"{dataset_dir} has no phrase with a box to evaluate; left out: {parts}.")
    images = len({row["case"] for row in found})
    print(
        f"{dataset_dir}: {len(found)} phrases with boxes on {images} radiographs; left out: {parts}.", file=sys.stderr
    )
    return found


class GroundingRadiographs(ChestRadiographs):
    """Radiographs with a phrase and its boxes on the grid.

    As `ChestRadiographs`, where "box_mask" is the truth, with "phrase", "finding" and "words", and "boxes" float64
    (N, 4) as x0, y0, x1, y1 on the grid, without those that were cut off.

    Args:
        rows: of `grounding_rows`.
        size, fit: likewise.
        intensity: see `synthzoo.transforms.radiograph_grid`; as the model was trained.
    """

    def __init__(self, rows: Sequence[dict], size: int = SIZE, fit: str = FIT, intensity: str = "percentiles") -> None:
        super().__init__(rows, size, None, fit, intensity)

    def __getitem__(self, row: int) -> dict[str, Any]:
        found, known = super().__getitem__(row), self.rows[row]
        boxes = self._boxes(row, image_size(known["path"])[::-1])
        seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return {**found, **{name: known[name] for name in ("phrase", "finding", "words")}, "boxes": boxes[seen]}

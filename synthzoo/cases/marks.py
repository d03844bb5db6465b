"""Marks: which voxels of a scan a mask, a label map, a heat map or the segmenter calls sick."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from synthzoo.errors import UserError
from synthzoo.io.files import sha256
from synthzoo.io.kinds import ENDINGS, stem
from synthzoo.io.volumes import read_volume
from synthzoo.transforms.head_grid import resample, same_grid

WORDS = ("mask", "dseg", "heatmap")  # last word of a mark's name, the first that is there is taken


class LoadMarkd(Transform):
    """Load the mark that belongs to the scan of a sample; without marks the sample goes on as it is.

    Args:
        marks: "" for none; a file, for the one scan; files in the order of the scans; or a folder, in which (or in a
            folder below) it is the file of the scan's own name, or of its name and `_mask`, `_dseg` or `_heatmap`.
        above: values above it are marked. None takes what a file says of itself: of a label map with names the labels
            that begin with "lesion", of a heat map the threshold in its JSON file, of other integers all above 0.
        values: of a label map that are marked, whatever it says of itself.
        image_key: path of the scan.
        row_key: its number.
        mark_key: gets bool (1, D, H, W) on the mark's own grid, a MetaTensor.

    Raises:
        UserError: no mark for a scan, several, a file that cannot be read, a heat map without a threshold.
    """

    def __init__(
        self,
        marks: str | Path | Sequence[str | Path] = "",
        above: float | None = None,
        values: Sequence[int] | None = None,
        image_key: Hashable = "image",
        row_key: Hashable = "row",
        mark_key: Hashable = "mark",
    ) -> None:
        self.marks, self.above, self.values = marks, above, values
        self.image_key, self.row_key, self.mark_key = image_key, row_key, mark_key

    def __call__(self, data: Mapping) -> dict:
        data = dict(data)
        if isinstance(self.marks, (str, Path)) and not str(self.marks):
            return data
        marked, affine = read_mark(self.path(data), self.above, self.values)
        data[self.mark_key] = MetaTensor(torch.from_numpy(marked)[None], affine=torch.from_numpy(affine))
        return data

    def path(self, data: Mapping) -> Path:
        """The file of a sample's mark."""
        image = Path(str(data[self.image_key]))
        if not isinstance(self.marks, (str, Path)):
            row = int(data.get(self.row_key, 0))
            if row >= len(self.marks):
                raise UserError(f"marks: has {len(self.marks)} files, and none for image {image}: give one for each.")
            return Path(self.marks[row])
        marks = Path(self.marks)
        if not marks.is_dir():
            return marks
        name = stem(image.name)
        files = [path for path in sorted(marks.rglob("*")) if path.name.lower().endswith(ENDINGS["nifti"])]
        for wanted in (name, *(f"{name}_{word}" for word in WORDS)):
            found = [path for path in files if stem(path.name) == wanted and path.resolve() != image.resolve()]
            if len(found) > 1:
                raise UserError(f"marks: {found[0]} and {found[1]} are both for image {image}: keep one.")
            if found:
                return found[0]
        raise UserError(f"marks: {marks} has no file for image {image}: call it {name}.nii.gz or {name}_mask.nii.gz.")


def read_mark(
    path: str | Path, above: float | None = None, values: Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read what a file marks.

    Args:
        path: NIfTI.
        above, values: see `LoadMarkd`.

    Returns:
        bool (D, H, W), affine [4, 4].

    Raises:
        UserError: it cannot be read, has values between integers and no threshold, or marks nothing.
    """
    path = Path(path)
    array, affine = read_volume(path, blank=True)
    voxels, said = array[0], _said(path)
    lesions = [int(value) for value, name in said.get("labels", {}).items() if str(name).startswith("lesion")]
    if values:
        marked = np.isin(np.rint(voxels).astype(int), list(values))
    elif above is not None:
        marked = voxels > above
    elif said.get("labels"):
        marked = np.isin(np.rint(voxels).astype(int), lesions)
    elif (voxels == np.rint(voxels)).all():
        marked = voxels > 0
    else:
        threshold = said.get("threshold")
        threshold = threshold.get("value") if isinstance(threshold, Mapping) else threshold
        if not isinstance(threshold, (int, float)):
            raise UserError(f"mark {path} has values between 0 and 1 and states no threshold: set above, such as 0.5.")
        marked = voxels > threshold
    if not marked.any():
        raise UserError(f"mark {path} marks nothing: leave its image out, or set above.")
    return marked, affine


def _said(path: Path) -> dict[str, Any]:
    """What the JSON file of a result says; nothing where there is none."""
    name = stem(path.name)
    for beside in (f"{name}.json", f"{name.rsplit('_', 1)[0]}.json"):
        try:
            found = json.loads(path.with_name(beside).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(found, dict):
            return found
    return {}


def on_grid(mark: np.ndarray, mark_affine: np.ndarray, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """A mark, bool, on the grid of a scan, bool (D, H, W)."""
    if same_grid(mark.shape, mark_affine, shape, affine):
        return mark
    return resample(mark.astype(np.float32), mark_affine, shape, affine) > 0.5


def digest_of_marks(marks: str | Path | Sequence[str | Path]) -> str | None:
    """What tells one set of marks from another: SHA-256 over their files; None without marks.

    Raises:
        UserError: a file or folder that does not exist.
    """
    if isinstance(marks, (str, Path)) and not str(marks):
        return None
    given = [Path(marks)] if isinstance(marks, (str, Path)) else [Path(mark) for mark in marks]
    files: list[Path] = []
    for path in given:
        if not path.exists():
            raise UserError(f"marks: {path} does not exist: check the path.")
        inside = [path] if path.is_file() else sorted(path.rglob("*"))
        files += [file for file in inside if file.name.lower().endswith(ENDINGS["nifti"])]
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()

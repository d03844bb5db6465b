"""Volumes as NIfTI: images float32, label maps uint8; the preview shows three planes of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from synthzoo.cases.table import CaseTable
from synthzoo.io.files import plain
from synthzoo.io.marks import Mark
from synthzoo.io.nifti import affine_of, write_nifti
from synthzoo.results.dataset_files import case_of, mark_of_set, title
from synthzoo.results.kinds.base import Content, Kind, finite_array
from synthzoo.results.preview import montage


class Volume(Kind):
    """NIfTI volumes [1, D, H, W] or [D, H, W]; suffixes `dseg` and `mask` hold whole numbers, written as uint8.

    Args:
        affine: [4, 4] voxel to world in mm (RAS); a tensor, an array or nested lists.
        spacing_mm: instead of `affine`: the spacing, with the volume's middle at the origin. With neither, the
            sample's own affine (MetaTensor) is taken.
    """

    endings = (".nii.gz", ".nii")

    def __init__(self, affine: Any = None, spacing_mm: Any = None) -> None:
        self.affine = None if affine is None else np.asarray(plain(affine), dtype=np.float64).reshape(4, 4)
        self.spacing_mm = spacing_mm

    def prepare(self, value: Any, key: str, suffix: str, sample: Mapping) -> Content:
        array = finite_array(value, str(sample["case"]))
        if suffix.split(".")[0].rsplit("_", 1)[-1] in ("dseg", "mask"):
            array = np.rint(array).astype(np.uint8)
        affine = self._affine(value, array.shape)
        spacing = [float(mm) for mm in np.linalg.norm(affine[:3, :3], axis=0)]
        facts = {"shape": list(array.shape), "spacing_mm": [round(mm, 6) for mm in spacing]}
        return Content(array, spacing, facts, affine)

    def _affine(self, value: Any, shape: tuple[int, ...]) -> np.ndarray:
        if self.affine is not None:
            return self.affine
        if self.spacing_mm is not None:
            return affine_of(plain(self.spacing_mm), shape)
        affine = getattr(value, "affine", None)
        return np.eye(4) if affine is None else np.asarray(plain(affine), dtype=np.float64)

    def write(self, path: Path, content: Content, mark: Mark) -> None:
        write_nifti(path, content.array, content.extra, mark=mark)

    @classmethod
    def preview(cls, table: CaseTable, sidecars: list[Path], overlay: str | None = None) -> None:
        """Write preview.png: three planes of each volume, with a heat map over them if `overlay` is its suffix."""
        volumes, titles, heats = [], [], []
        for path in sidecars:
            record, case = json.loads(path.read_text()), case_of(path, table)
            titles.append(title(record, case, table.conditions))
            volumes.append(_canonical(table.path(case)))
            heat = table.path(case, overlay) if overlay else None
            heats.append(_canonical(heat) if heat is not None and heat.is_file() else None)
        target = table.output_dir / "preview.png"
        montage(volumes, titles, target, overlays=heats if overlay else None, mark=mark_of_set(table, sidecars))


def _canonical(path: Path) -> np.ndarray:
    return nib.as_closest_canonical(nib.load(path)).get_fdata(dtype="float32")

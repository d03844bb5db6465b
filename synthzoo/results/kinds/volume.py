"""Volumes as NIfTI or as MR, CT and SEG objects of DICOM; the preview shows three planes of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

from synthzoo.cases.table import CaseTable
from synthzoo.errors import UserError
from synthzoo.io.dicom import Study, series_of, write_segmentation, write_series
from synthzoo.io.files import plain
from synthzoo.io.marks import Mark, read_mark
from synthzoo.io.nifti import Spaces, affine_of, spaces_of, write_nifti
from synthzoo.io.stored import stored_again
from synthzoo.io.volumes import read_volume
from synthzoo.results.dataset_files import case_of, mark_of_set, title
from synthzoo.results.kinds.base import Content, Kind, bare, finite_array, is_map, last_word, written
from synthzoo.results.preview import montage

REGIONS = ("dseg", "mask")  # suffixes of label maps with integers
STORAGES = ("float32", "source")
SHOWN_HU = (-1000.0, 500.0)  # of a CT in a preview, from black to white


class Placed(NamedTuple):
    """Where a volume lies: its affine [4, 4], the spaces of the scan whose grid it is on, the file it is stored as."""

    affine: np.ndarray
    spaces: Spaces | None
    source: Path | None = None


class Volume(Kind):
    """NIfTI volumes [1, D, H, W] or [D, H, W]; suffixes `dseg` and `mask` hold integers, written as uint8.

    Args:
        affine: [4, 4] voxel to world in mm (RAS); a tensor, an array or nested lists.
        spacing_mm: instead of `affine`: the spacing, with the volume's middle at the origin. With neither, the
            sample's own affine (MetaTensor) is taken.
        storage: "float32", or "source": in the type and with the scaling of the NIfTI file that was given, to the bit
            where the volume is the same; for a scan that is changed in places.

    Raises:
        UserError: another storage.
    """

    endings = (".nii.gz", ".nii")

    def __init__(self, affine: Any = None, spacing_mm: Any = None, storage: str = "float32") -> None:
        if storage not in STORAGES:
            raise UserError(f"storage = {storage!r}: a volume's storage is one of {', '.join(STORAGES)}.")
        self.storage = storage
        self.affine = None if affine is None else np.asarray(plain(affine), dtype=np.float64).reshape(4, 4)
        self.spacing_mm = spacing_mm

    def prepare(self, value: Any, key: str, suffix: str, sample: Mapping) -> Content:
        array = finite_array(value, str(sample["case"]))
        if last_word(suffix) in REGIONS:
            array = np.rint(array).astype(np.uint8)
        affine = self._affine(value, array.shape)
        spacing = [float(mm) for mm in np.linalg.norm(affine[:3, :3], axis=0)]
        facts = {"shape": list(array.shape), "spacing_mm": [round(mm, 6) for mm in spacing]}
        source = sample.get("source_path")
        spaces = None if source is None else spaces_of(source, array.shape, affine)
        as_source = self.storage == "source" and source is not None and last_word(suffix) not in REGIONS
        return Content(array, spacing, facts, Placed(affine, spaces, Path(source) if as_source else None))

    def _affine(self, value: Any, shape: tuple[int, ...]) -> np.ndarray:
        if self.affine is not None:
            return self.affine
        if self.spacing_mm is not None:
            return affine_of(plain(self.spacing_mm), shape)
        affine = getattr(value, "affine", None)
        return np.eye(4) if affine is None else np.asarray(plain(affine), dtype=np.float64)

    def write(self, path: Path, content: Content, mark: Mark) -> None:
        placed = content.extra
        stored = None if placed.source is None else stored_again(placed.source, content.array)
        if stored is None:
            write_nifti(path, content.array, placed.affine, mark=mark, spaces=placed.spaces)
        else:
            write_nifti(path, stored.voxels, placed.affine, None, mark, placed.spaces, stored.scaling)

    def dicom_paths(self, path: Path, suffix: str, content: Content, study: Study) -> list[Path]:
        """A folder for an image, a SEG object for a label map in which something is marked; other maps stay NIfTI."""
        name = bare(path)
        if last_word(suffix) in REGIONS and content.array.any():
            beside = [path.with_name(f"{study.case}_source")] if study.given and not study.source else []
            return [path.with_name(f"{name}.dcm"), *beside]
        return [] if is_map(suffix) else [path.with_name(name)]

    def write_dicom(self, path: Path, suffix: str, content: Content, study: Study, mark: Mark) -> None:
        name = last_word(suffix)
        if name not in REGIONS:
            modality = "CT" if name == "ct" else "MR"
            slices = series_of(content.array, content.extra.affine, study, name, modality, mark)
            study.images = list(slices)
            write_series(path, slices)
            return
        if not study.images and not study.source and study.given:
            # A segmentation has to refer to an image in DICOM; a NIfTI file that was given becomes one beside it.
            array, affine = read_volume(study.given)
            slices = series_of(array[0], affine, study, "source", "MR", read_mark(study.given))
            study.images = list(slices)
            write_series(path.with_name(f"{study.case}_source"), slices)
        write_segmentation(path, content.array, content.extra.affine, study, name, mark)

    @classmethod
    def preview(cls, table: CaseTable, sidecars: list[Path], overlay: str | None = None) -> None:
        """Write preview.png: three planes of each volume, with a heat map over them if `overlay` is its suffix."""
        volumes, titles, heats = [], [], []
        for path in sidecars:
            record, case = json.loads(path.read_text(encoding="utf-8")), case_of(path, table)
            titles.append(title(record, case, table.conditions))
            volumes.append(_shown(_canonical(written(table.path(case))), table.suffix))
            heat = table.path(case, overlay) if overlay else None
            heats.append(_canonical(heat) if heat is not None and heat.is_file() else None)
        target = table.output_dir / "preview.png"
        montage(volumes, titles, target, overlays=heats if overlay else None, mark=mark_of_set(table, sidecars))


def _shown(volume: np.ndarray, suffix: str) -> np.ndarray:
    """A volume as a preview shows it: lungs and bones of a CT both, other images as they are."""
    if last_word(suffix) != "ct":
        return volume
    low, high = SHOWN_HU
    return np.clip((volume - low) / (high - low), 0, 1)


def _canonical(path: Path) -> np.ndarray:
    image = nib.load(path) if path.is_file() else None
    if image is None:
        array, affine = read_volume(path)
        image = nib.Nifti1Image(array[0], affine)
    return nib.as_closest_canonical(image).get_fdata(dtype="float32")

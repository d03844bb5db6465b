"""What every kind of result file does: prepare an output of a network, write it with its mark, draw a preview."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from synthzoo.cases.table import CaseTable
from synthzoo.errors import UserError
from synthzoo.io.dicom import Study
from synthzoo.io.kinds import stem
from synthzoo.io.marks import Mark

MAPS = ("dseg", "mask", "probseg", "heatmap", "confidence")  # last words of suffixes that say something of an image


def is_map(suffix: str) -> bool:
    """Whether a suffix such as `heatmap.nii.gz` names a map of an image rather than an image."""
    return last_word(suffix) in MAPS


class Content(NamedTuple):
    """One output of a sample, ready to be written.

    Args:
        array: what is written and measured.
        scale: what an instrument has to know beside it: spacing in mm, or frames per second.
        facts: what the sidecar tells of the case's main file.
        extra: what only the kind itself needs, such as an affine.
    """

    array: np.ndarray
    scale: Any
    facts: dict[str, Any]
    extra: Any = None


class Kind:
    """A kind of result file; a subclass states its endings and its settings, which are keywords of `SaveResult`."""

    endings: tuple[str, ...] = ()
    pixels = True  # False: a measurement, which is never a synthetic image itself

    def prepare(self, value: Any, key: str, suffix: str, sample: Mapping) -> Content:
        """Check one output of a sample and bring it into the form that is written.

        Args:
            value: `sample[key]`, what the network gave.
            key, suffix: its key in the sample, and the end of its file's name.
            sample: the decollated sample, which has the case's name under `case`.

        Raises:
            UserError: a shape, range or value that this kind cannot hold.
        """
        raise NotImplementedError

    def paths(self, path: Path, content: Content) -> list[Path]:
        """The files that `write` makes, the main one first."""
        return [path]

    def write(self, path: Path, content: Content, mark: Mark) -> None:
        """Write the files of `paths`, each whole or not at all, with the mark inside."""
        raise NotImplementedError

    def dicom_paths(self, path: Path, suffix: str, content: Content, study: Study) -> list[Path]:
        """The files and folders that `write_dicom` makes, the main one first; none where the native file stays."""
        return []

    def write_dicom(self, path: Path, suffix: str, content: Content, study: Study, mark: Mark) -> None:
        """Write the first of `dicom_paths`, and the others beside it, as DICOM objects of this study."""
        raise NotImplementedError

    @classmethod
    def preview(cls, table: CaseTable, sidecars: list[Path], overlay: str | None = None) -> None:
        """Draw the cases of these sidecars beside each other, in the output folder; nothing where nothing can be seen.

        Args:
            table: says where the files are.
            sidecars: JSON files of complete cases.
            overlay: suffix of a second file of each case, to be shown with the first, or None.
        """


def bare(path: Path) -> str:
    """The file's name without its ending, `sub-0001_T1w` of `sub-0001_T1w.nii.gz`."""
    return stem(path.name)  # a case's own name may hold points


def last_word(suffix: str) -> str:
    """What a suffix names: `T1w` of `acq-lowres_T1w.nii.gz`."""
    return suffix.split(".")[0].rsplit("_", 1)[-1]


def written(path: Path) -> Path:
    """Where a result lies: at its own path, or as a DICOM object or a folder with a DICOM series in its place."""
    choices = (path, path.with_name(f"{bare(path)}.dcm"), path.with_name(bare(path)))
    return next((choice for choice in choices if choice.exists()), path)


def finite_array(value: Any, case: str, dimensions: int = 3) -> np.ndarray:
    """What a network gave for a case as float32 of so many dimensions, or as it is where it has another shape.

    Args:
        value: tensor or array, with or without a channel of one in front.
        case: for the sentence.

    Raises:
        UserError: NaN or Inf.
    """
    array = torch.as_tensor(value).detach().float().cpu().numpy()
    if array.ndim == dimensions + 1 and array.shape[0] == 1:
        array = array[0]
    if not np.isfinite(array).all():
        raise UserError(f"the network gave NaN or Inf for {case}: run it in full precision, or check its weights.")
    return array

"""Label tables of other tools translated into the classes of our label maps; a value that no table has is named.

| table | whose | background, tissues, lesions |
|---|---|---|
| synthzoo | ours, `synthzoo.phantoms.brain.label_maps.VALUES` | all classes |
| freesurfer | FreeSurfer's aseg, aparc+aseg, wmparc; SynthSeg, with parcels or without | tissues, WM hypointensities |
| brats | BraTS: 1 core, 2 oedema, 4 (since 2023: 3) enhancing | parts of a tumour alone, which are laid over tissues |

Sources: FreeSurferColorLUT.txt (surfer.nmr.mgh.harvard.edu), Billot et al. (Medical Image Analysis 2023), Menze et al.
(IEEE TMI 2015).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from synthzoo.errors import UserError
from synthzoo.io.marks import read_mark
from synthzoo.phantoms.brain.label_maps import CLASSES, VALUES

AUTO = "auto"
BOTH_SIDES = {  # FreeSurfer's values of left and right
    "WM": (2, 41, 7, 46, 28, 60),  # cerebral, cerebellar, ventral diencephalon
    "GM": (3, 42, 8, 47, 17, 53, 18, 54),  # cortex, cerebellar cortex, hippocampus, amygdala
    "ventricle": (4, 43, 5, 44, 31, 63),  # lateral, its inferior horn, choroid plexus
    "deep_GM": (9, 48, 10, 49, 11, 50, 12, 51, 13, 52, 26, 58, 27, 59),  # basal ganglia, thalamus, substantia nigra
    "CSF": (24, 30, 62),  # outer fluid, vessels in it
    "WMH": (77, 78, 79, 99),  # hypointensities of white matter on T1w; lesions of SAMSEG
}
MIDDLE = {
    "ventricle": (14, 15, 72),  # third, fourth, fifth
    "WM": (16, 85, 192, *range(251, 256), 170, 173, 174, 175, 177, 178),  # brainstem and its parts, chiasm, callosum
    "GM": (80, 81, 82, 171, 172, 179),  # hypointensities elsewhere, dentate, vermis, flocculus
    "CSF": (257,),
    "background": (0, 1, 6, 40, 45, 165, 258, 259),  # outside, exteriors, skull, other head tissues
}
PARCELS = {  # first and last value of cortical and white-matter parcels
    "GM": ((1000, 1035), (2000, 2035), (11100, 11175), (12100, 12175), (19, 20), (55, 56)),
    "WM": ((3000, 3035), (4000, 4035), (13100, 13175), (14100, 14175), (5001, 5002)),
}
FREESURFER: dict[int, str] = {
    **{value: name for name, values in MIDDLE.items() for value in values},
    **{value: name for name, ranges in PARCELS.items() for low, high in ranges for value in range(low, high + 1)},
    **{value: name for name, values in BOTH_SIDES.items() for value in values},
}
TABLES: dict[str, dict[int, str]] = {
    "synthzoo": {value: name for name, value in VALUES.items()},
    "freesurfer": FREESURFER,
    "brats": {0: "background", 1: "core", 2: "oedema", 3: "enhancing", 4: "enhancing"},
}
OVERLAYS = ("brats",)  # hold lesions alone
SHOWN = 5  # values that a sentence names


def translate(values: np.ndarray, path: str | Path, table: str = AUTO) -> tuple[np.ndarray, str]:
    """Label values of any shape -> numbers in `CLASSES` as uint8, and the table that was taken.

    Args:
        values: integers, as floats or not.
        path: of the file, for sentences and for its own mark.
        table: a key of `TABLES`; "auto" takes ours where the file says that it is ours, and FreeSurfer's where a value
            is none of ours.

    Raises:
        UserError: an unknown table; values that are no integers, that the table has not, or that two tables have; all
            of them background.
    """
    if table not in (AUTO, *TABLES):
        raise UserError(f"label_table = {table!r}: the known ones are {AUTO}, {', '.join(TABLES)}.")
    rounded = np.rint(values)
    if not np.array_equal(rounded, values):
        odd = float(values[rounded != values].flat[0])
        raise UserError(f"label map {path} holds {odd:g}, which is no label: give integers, not an image or shares.")
    found, inverse = np.unique(rounded.astype(np.int64), return_inverse=True)
    chosen = table if table != AUTO else detected(found.tolist(), path)
    names = TABLES[chosen]
    unknown = [int(value) for value in found if int(value) not in names]
    if unknown:
        counts = np.bincount(inverse.ravel(), minlength=len(found))
        named = [f"{value} ({counts[found.tolist().index(value)]} voxels)" for value in unknown[:SHOWN]]
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        raise UserError(
            f"label map {path} holds the label {', '.join(named)}{more}, which the table {chosen} has not: set such "
            f"voxels to one of its values, or let label_table be another of {', '.join(TABLES)}."
        )
    numbers = np.array([CLASSES.index(names[int(value)]) for value in found], np.uint8)
    if not numbers.any():
        raise UserError(f"label map {path} holds background alone: check the file, or its label_table.")
    return numbers[inverse].reshape(values.shape), chosen


def detected(values: list[int], path: str | Path) -> str:
    """The table of a map with these values; see `translate`.

    Raises:
        UserError: the values are those of two tables, and the file does not say whose they are.
    """
    if is_ours(path):
        return "synthzoo"
    if any(value not in TABLES["synthzoo"] for value in values):
        return "freesurfer"
    if all(value in TABLES["brats"] for value in values):
        raise UserError(
            f"label map {path} holds the labels {', '.join(map(str, values))}, which are tissues in our table and "
            "parts of a tumour in that of BraTS: let label_table be synthzoo or brats."
        )
    return "synthzoo"


def is_ours(path: str | Path) -> bool:
    """Whether a file says that it is a label map of this codebase, generated or a phantom's."""
    try:
        mark = read_mark(path)
    except (UserError, OSError):
        return False
    return mark is not None and ("labels" in mark.record or mark.record.get("phantom") == "brain_labels")


def laid_over(tissues: np.ndarray, lesions: np.ndarray) -> np.ndarray:
    """Numbers of classes (D, H, W) of tissues, with those of lesions in their place within the brain."""
    return np.where((lesions > 0) & (tissues > 0), lesions, tissues)


def named_values(values: Mapping[str, int] = VALUES) -> dict[str, str]:
    """Value, as text, -> name, of a written label map, for its sidecar; parts of lesions begin with `lesion`."""
    lesions = CLASSES[CLASSES.index("WMH") :]
    return {str(value): f"lesion {name}" if name in lesions else name for name, value in values.items() if value}

"""Sets of images that an audit compares: folders of files, or rows of a data set; one image at a time is in memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from synthzoo.cases.finding import find_images, without_previews
from synthzoo.cases.names import case_names
from synthzoo.errors import UserError
from synthzoo.io.kinds import endings_of
from synthzoo.io.reading import kind_of_input, read_image

KINDS = ("volume", "video", "image")  # a folder that holds several is read as the first of them
BIDS_PATIENT = r"sub-[0-9A-Za-z]+"


class ImageSet:
    """Images of one set: `image(row)` is float32, (H, W), a volume (D, H, W) or a video (T, H, W).

    Args:
        name: what the set is called in reports.
        kind: "volume", "video" or "image".
        names: of the images, for reports.
        patients: whom each shows; images of one patient are never told apart as two people.
        read: gives the image of a row, or raises a UserError that says what is wrong with it.
    """

    def __init__(
        self, name: str, kind: str, names: Sequence[str], patients: Sequence[Any], read: Callable[[int], np.ndarray]
    ) -> None:
        self.name, self.kind, self.names, self.read = name, kind, list(names), read
        self.others = 0  # files of other kinds in the same folder, which do not count
        self.patients = np.array([str(patient) for patient in patients])

    def __len__(self) -> int:
        return len(self.names)

    def image(self, row: int) -> np.ndarray:
        """The image of a row."""
        return self.read(row)


def folder_set(folder: str | Path, role: str, patient: str | None = None, limit: int | None = None) -> ImageSet:
    """The images of a folder: NIfTI, PNG, JPEG, DICOM, AVI, MP4 and what else `synthzoo.io.reading` reads.

    Label maps, heat maps and previews beside videos or volumes do not count. Volumes are turned to one orientation.

    Args:
        folder: searched with all folders below it.
        role: "samples", "training" or "holdout", for sentences.
        patient: regular expression that finds the patient in a file's path below `folder`; None takes BIDS'
            `sub-<label>` where every path has it, else every file for a patient of its own.
        limit: only so many files, chosen at random; None takes all.

    Raises:
        UserError: no such folder, no images, or an expression that does not compile or is not found.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"--{role} {folder} is no folder: give the folder that holds the images.")
    try:
        paths = find_images(folder, kinds=KINDS, choose=without_previews)
    except UserError as error:
        kinds = ", ".join(endings_of(KINDS))
        raise UserError(f"--{role} {folder} holds no image ({kinds} or DICOM): give the images' folder.") from error
    kinds = [kind_of_input(path) for path in paths]
    kind = next(known for known in KINDS if known in kinds)
    others = sum(one != kind for one in kinds)
    paths = [path for path, one in zip(paths, kinds, strict=True) if one == kind]
    paths = [paths[row] for row in chosen(len(paths), limit)]
    labels = [path.relative_to(folder).as_posix() for path in paths]
    found = ImageSet(folder.name, kind, case_names(paths), _patients(labels, role, patient), lambda n: _read(paths[n]))
    found.others = others
    return found


def row_set(rows: Any, name: str, numbers: Sequence[int] | np.ndarray | None = None) -> ImageSet:
    """The images of a data set whose rows have "image" (1, ...) or "video" (1, T, H, W), and "patient" where known.

    Args:
        rows: the data set; whose its images are is said by its `videos` or its `owners`, a patient for each row; where
            it has neither, each is of a patient of its own.
        name: of the set.
        numbers: of the rows; None takes all.
    """
    numbers = list(range(len(rows)) if numbers is None else (int(number) for number in numbers))
    first = rows[numbers[0]]
    key = "video" if "video" in first else "image"
    kind = "video" if key == "video" else ("volume" if first[key].ndim == 4 else "image")
    videos, owners = getattr(rows, "videos", None), getattr(rows, "owners", None)
    patients = numbers if videos is None else [getattr(videos[number], "patient", number) for number in numbers]
    if owners is not None:
        patients = [owners[number] for number in numbers]

    def read(row: int) -> np.ndarray:
        return torch.as_tensor(rows[numbers[row]][key]).float().numpy()[0]

    return ImageSet(name, kind, [f"{name} {number}" for number in numbers], patients, read)


def chosen(count: int, limit: int | None, seed: int = 0) -> np.ndarray:
    """Numbers of at most `limit` of `count` rows, drawn at random and ascending, int64."""
    if limit is None or count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng([seed, count]).permutation(count)[:limit])


def expect_different(sets: dict[str, str | Path]) -> None:
    """Make sure that no folder was given twice and none lies in another one.

    Args:
        sets: role -> folder.

    Raises:
        UserError: two roles share files.
    """
    paths = {role: Path(folder).resolve() for role, folder in sets.items()}
    for role, path in paths.items():
        for other, place in paths.items():
            if role < other and (path == place or path in place.parents or place in path.parents):
                raise UserError(
                    f"--{role} {sets[role]} and --{other} {sets[other]} share files: give three folders of different "
                    "images, or the comparison says nothing."
                )


def one_kind(sets: Sequence[ImageSet]) -> str:
    """The kind of all sets.

    Raises:
        UserError: they differ.
    """
    kinds = Counter(one.kind for one in sets)
    if len(kinds) > 1:
        said = ", ".join(f"{one.name} holds {one.kind}s" for one in sets)
        raise UserError(f"{said}: an audit compares images of one kind; give folders of the same kind.")
    return sets[0].kind


def _patients(labels: list[str], role: str, pattern: str | None) -> list[str]:
    try:
        found = [re.search(pattern or BIDS_PATIENT, label) for label in labels]
    except re.error as error:
        raise UserError(f"--patient {pattern!r} is no regular expression ({error}): mend it or leave it out.") from None
    if all(found):
        return [match.group(match.lastindex or 0) for match in found]
    if pattern:
        missing = next(label for label, match in zip(labels, found, strict=True) if not match)
        raise UserError(f"--patient {pattern!r} finds nothing in {missing} of --{role}: mend it or leave it out.")
    return labels


def _read(path: Path) -> np.ndarray:
    found = read_image(path, colour="average")
    array = found.array[0]
    if found.kind == "volume" and found.affine is not None:
        turns = nib.orientations.io_orientation(found.affine)
        array = nib.orientations.apply_orientation(array, turns)
    if not np.isfinite(array).all():
        raise UserError(f"image {path} holds NaN or Inf: export it again.")
    return np.ascontiguousarray(array, np.float32)

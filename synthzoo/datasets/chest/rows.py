"""What every reader of chest radiographs gives: rows with labels and boxes, and a count of what was left out.

A row is a dict with

    case         name of the image, without its ending
    path         its file
    patient      who; patients are split, never images
    study        one visit, which may have several images
    sex, age     "F" or "M", years; None where nothing says
    view         "PA", "AP" or what else the data set says, None where it says nothing
    labels       finding -> 1.0 present, 0.0 absent, NaN uncertain
    boxes        list of `Box`, in pixels of the image file
    phrases      sentences that a box of this image belongs to
    report       file of the report, or None
    spacing_mm   between rows and between columns of the image file, or None
    split        "train", "validation" or "test"
    line         in the data set's main table
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pydicom
from PIL import Image, UnidentifiedImageError

from synthzoo.errors import UserError
from synthzoo.io.kinds import format_of
from synthzoo.io.opening import open_dicom

SPLITS = ("train", "validation", "test")
FRONTAL = ("PA", "AP")
EDGE = 1.0  # pixels by which a box may pass the image's edge; it is cut there
ASPECT = 0.01  # relative difference of aspect ratios that rounding may leave
SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}


class Box(NamedTuple):
    """A rectangle around a finding, in pixels; the image's left upper corner is (0, 0), its right lower one (W, H).

    Attributes:
        label: the finding.
        x0, y0, x1, y1: left, upper, right and lower edge.
        phrase: the sentence of a report that it belongs to, or "".
        readers: who drew it.
        line: in its table.
    """

    label: str
    x0: float
    y0: float
    x1: float
    y1: float
    phrase: str = ""
    readers: tuple[str, ...] = ()
    line: int = 0

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1."""
        return self.x0, self.y0, self.x1, self.y1

    def scaled(self, across: float, down: float) -> Box:
        """The box in an image that is `across` times as wide and `down` times as high."""
        return self._replace(x0=self.x0 * across, y0=self.y0 * down, x1=self.x1 * across, y1=self.y1 * down)


class LeftOut:
    """Counts what a reader leaves out, and says so in one sentence.

    Args:
        folder: of the data set.
        collect: True keeps the sentences of bad lines, which otherwise are raised.
    """

    def __init__(self, folder: Path, collect: bool) -> None:
        self.folder, self.collect = folder, collect
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self.failures: list[str] = []
        self.lines: dict[str, int] = {}
        self.splits: dict[str, tuple[str, int]] = {}

    def once(self, case: str, line: int, table: Path) -> None:
        """Refuse an image that stands twice in the main table."""
        if case in self.lines:
            raise UserError(f"{table} line {line}: {case} stands already in line {self.lines[case]}; keep one.")
        self.lines[case] = line

    def expect_one_split(self, row: dict, table: Path) -> None:
        """Refuse a patient who is in two splits, whether or not the row is used."""
        split, line = self.splits.setdefault(row["patient"], (row["split"], row["line"]))
        if split != row["split"]:
            raise UserError(
                f"{table} line {row['line']}: patient {row['patient']} is in {row['split']} here and in {split} in "
                f"line {line}; keep all images of a patient in one split."
            )

    def count(self, reason: str, example: str = "") -> None:
        """One more row is left out for this reason."""
        self.counts[reason] += 1
        self.first.setdefault(reason, example)

    def failed(self, error: UserError) -> None:
        """Raise it, or keep its sentence."""
        if not self.collect:
            raise error
        self.failures.append(str(error))

    def say(self, rows: Sequence[dict], split: str | None) -> None:
        """Print what is used and what is not to stderr.

        Raises:
            UserError: nothing is left.
        """
        for sentence in self.failures:
            print(f"warning: left out: {sentence}", file=sys.stderr)
        parts = [
            f"{count} {reason}{f' (the first: {self.first[reason]})' if self.first[reason] else ''}"
            for reason, count in self.counts.most_common()
        ]
        left_out = f"left out: {'; '.join(parts)}" if parts else "nothing is left out"
        if not rows:
            raise UserError(f"{self.folder} has no usable radiographs of the split {split or 'requested'}; {left_out}.")
        uncertain = sum(value != value for row in rows for value in row["labels"].values())
        labels = sum(len(row["labels"]) for row in rows)
        known = f"; {uncertain} of {labels} labels are uncertain" if uncertain else ""
        patients = len({row["patient"] for row in rows})
        print(f"{self.folder}: {len(rows)} radiographs of {patients} patients; {left_out}{known}.", file=sys.stderr)


def chosen_split(split: str | None) -> str | None:
    """A split's name as rows have it.

    Raises:
        UserError: another word.
    """
    if split is None:
        return None
    name = {"val": "validation", "validate": "validation", "valid": "validation"}.get(str(split).lower())
    name = name or str(split).lower()
    if name not in SPLITS:
        raise UserError(f"split is {split!r}, but must be {', '.join(SPLITS)}.")
    return name


def is_held_back(patient: str, share: float) -> bool:
    """Whether a patient of a training list is one of the `share` that validates; it depends on the patient alone."""
    digest = hashlib.sha256(f"chest validation {patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def safe_name(text: str, where: str) -> str:
    """A file's name from a cell.

    Raises:
        UserError: empty, or with marks of a path.
    """
    name = text.strip()
    if not name or name.startswith(".") or any(mark in name for mark in "/\\\0*?[:"):
        raise UserError(f"{where}: '{text}' is no name of an image; correct the cell or remove the row.")
    return name


def checked_box(box: Box, width: float, height: float, table: Path, name: str) -> Box:
    """The box, cut at the image's edge where it passes that by rounding.

    Args:
        box: in pixels.
        width, height: of the image that it belongs to.
        table, name: of the box and of the image, for the sentence.

    Raises:
        UserError: it has no area or lies outside, named by line.
    """
    inside = box.x0 >= -EDGE and box.y0 >= -EDGE and box.x1 <= width + EDGE and box.y1 <= height + EDGE
    cut = box._replace(
        x0=max(box.x0, 0.0), y0=max(box.y0, 0.0), x1=min(box.x1, float(width)), y1=min(box.y1, float(height))
    )
    if not inside or cut.x1 <= cut.x0 or cut.y1 <= cut.y0:
        raise UserError(
            f"{table} line {box.line}: the box from ({box.x0:g}, {box.y0:g}) to ({box.x1:g}, {box.y1:g}) does not lie "
            f"in {name}, which is {width:g} x {height:g} pixels; correct or remove the line, or read with leave_out."
        )
    return cut


def fit_boxes(row: dict, drawn_on: tuple[float | None, float | None], table: Path, left_out: LeftOut) -> None:
    """Bring a row's boxes from the image that they were drawn on to the pixels of its file, in place.

    Args:
        row: with `boxes` and `path`.
        drawn_on: width and height of the image that the boxes were drawn on; None is that of the file.
        table: of the boxes.
        left_out: takes the sentences of boxes that cannot be used.

    Raises:
        UserError: the file has another aspect ratio, so that it was cut or squeezed; a box outside.
    """
    if not row["boxes"]:
        return
    wide, high = image_size(row["path"])
    width, height = float(drawn_on[0] or wide), float(drawn_on[1] or high)
    if abs(wide * height / (high * width) - 1) > ASPECT:
        left_out.failed(
            UserError(
                f"{row['path']} is {wide} x {high} pixels, but its boxes in {table} were drawn on {width:g} x "
                f"{height:g}: give the images uncut, in their own aspect ratio, at any size."
            )
        )
        row["boxes"] = []
        return
    kept = []
    for box in row["boxes"]:
        try:
            kept.append(checked_box(box, width, height, table, row["case"]).scaled(wide / width, high / height))
        except UserError as error:
            left_out.failed(error)
    row["boxes"] = kept


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image by its header.

    Raises:
        UserError: it cannot be read.
    """
    try:
        if format_of(path) == "dicom":
            tags = ["Rows", "Columns"]
            header = open_dicom(path, stop_before_pixels=True, specific_tags=tags)
            return int(header.Columns), int(header.Rows)
        with Image.open(path, formats=["PNG", "JPEG"]) as opened:
            return opened.size
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, AttributeError, pydicom.errors.InvalidDicomError):
        raise UserError(f"{path} cannot be read as PNG, JPEG or DICOM: copy it again.") from None


def find_file(names: Iterable[Path]) -> Path | None:
    """The first of these that is a file."""
    return next((path for path in names if path.is_file()), None)


def find_table(folder: Path, *names: str) -> Path | None:
    """The first of these tables that is there, plain or packed; some copies have them in `annotations/`."""
    places = [folder / name for name in names] + [folder / "annotations" / name for name in names]
    return find_file(Path(f"{place}{ending}") for place in places for ending in ("", ".gz"))


def new_row(**known: Any) -> dict:
    """A row with its defaults."""
    empty = {"study": None, "sex": None, "age": None, "view": None, "report": None, "spacing_mm": None}
    return {**empty, "labels": {}, "boxes": [], "phrases": [], **known}

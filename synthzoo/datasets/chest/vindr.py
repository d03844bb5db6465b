"""Reads chest radiographs in the layout of VinDr-CXR, with the boxes of its readers or what they agree on.

    train/<image_id>.dicom, test/<image_id>.dicom     copies may be .dcm, .png or .jpg
    annotations/annotations_train.csv     image_id,rad_id,class_name,x_min,y_min,x_max,y_max   (three of R1 to R17)
    annotations/annotations_test.csv      image_id,class_name,x_min,y_min,x_max,y_max          (consensus of five)
    annotations/image_labels_train.csv    image_id,rad_id, and 28 findings: 1 or 0
    annotations/image_labels_test.csv     image_id, and 28 findings
    train_meta.csv, test_meta.csv         image_id,dim0,dim1: rows and columns of the originals of smaller copies

The tables may lie beside the folders, too. The set names no patients and has one radiograph of each, so the image is
the patient. Boxes are in pixels of the DICOM files; for copies of another size the last tables have to be there.

Reference: Nguyen et al., "VinDr-CXR", Scientific Data 2022.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

from synthzoo.datasets.chest.rows import (
    SEXES,
    Box,
    LeftOut,
    chosen_split,
    find_file,
    find_table,
    fit_boxes,
    is_held_back,
    new_row,
    safe_name,
)
from synthzoo.errors import UserError
from synthzoo.io.dicom_pixels import spacing_of
from synthzoo.io.kinds import format_of
from synthzoo.io.opening import open_dicom
from synthzoo.io.tables import integer_in, number_in, table_cells

FINDINGS = (
    "Aortic enlargement",
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Clavicle fracture",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Enlarged PA",
    "ILD",
    "Infiltration",
    "Lung Opacity",
    "Lung cavity",
    "Lung cyst",
    "Mediastinal shift",
    "Nodule/Mass",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary fibrosis",
    "Rib fracture",
    "Other lesion",
    "COPD",
    "Lung tumor",
    "Pneumonia",
    "Tuberculosis",
    "Other diseases",
    "No finding",
)
NAMES = {name.lower(): name for name in FINDINGS} | {"other disease": "Other diseases"}  # the two tables differ
NO_FINDING = "No finding"
FOLDERS = ("train", "test")
CORNERS = ("x_min", "y_min", "x_max", "y_max")
NOT_LABELS = ("image_id", "rad_id")
ENDINGS = (".dicom", ".dcm", ".png", ".jpg", ".jpeg")
OVERLAP = 0.4  # intersection over union from which two readers mean the same
MISSING = "dataset_dir is the folder of VinDr-CXR, with train/, test/ and annotations/"


def read_vindr(
    dataset_dir: str | Path,
    split: str | None = None,
    agreeing: int = 2,
    merge: bool = True,
    validation_share: float = 0.1,
    leave_out: bool = False,
) -> list[dict]:
    """Rows of VinDr-CXR, see `synthzoo.datasets.chest.rows`, checked against its files.

    A finding is 1 where at least `agreeing` readers see it, 0 where none does, and NaN, uncertain, between. Test images
    have one consensus reading, which decides alone. What is left out is counted and said on stderr.

    Args:
        dataset_dir: folder of `train`, `test` and the tables; a part of the images will do.
        split: "train", "validation" or "test"; None gives all. `validation_share` of the training images validate.
        agreeing: readers, from 1 to 3.
        merge: boxes of one finding that overlap by 0.4 or more become their mean, and one that fewer than `agreeing`
            readers drew is left out and counted; False keeps every reader's box.
        validation_share: from 0 to below 1; who, depends on the image's name alone.
        leave_out: True prints a warning for each bad line or box and goes on without it.

    Raises:
        UserError: a file, column or cell is missing or wrong, a box outside of its image, named by line; no row is
            left.
    """
    split, folder = chosen_split(split), Path(dataset_dir)
    if agreeing not in (1, 2, 3) or not 0 <= validation_share < 1:
        raise UserError(f"agreeing = {agreeing}, validation_share = {validation_share}: 1 to 3, and 0 to below 1.")
    left_out = LeftOut(folder, leave_out)
    rows = []
    for part in FOLDERS:
        if split is not None and (part == "test") != (split == "test"):
            continue
        labels_table, boxes_table = (
            find_table(folder, f"{name}_{part}.csv") for name in ("image_labels", "annotations")
        )
        if labels_table is None:
            if split is None and part == "test" and rows:
                continue
            raise UserError(f"{folder} has no image_labels_{part}.csv: {MISSING}.")
        needed = 1 if part == "test" else agreeing
        labels = _read_labels(labels_table, needed, left_out)
        boxes = _read_boxes(boxes_table, left_out) if boxes_table else {}
        sizes = _read_sizes(folder, part)
        for case, (line, found) in labels.items():
            row = new_row(case=case, patient=case, study=case, view="PA", labels=found, split=part, line=line)
            if part == "train" and is_held_back(case, validation_share):
                row["split"] = "validation"
            row["path"] = find_file(folder / part / f"{case}{ending}" for ending in ENDINGS)
            if split not in (None, row["split"]):
                continue
            if row["path"] is None:
                left_out.count("without a file", case)
                continue
            try:
                row["boxes"] = boxes.get(case, [])
                _add_header(row)
                fit_boxes(row, sizes.get(case, (None, None)), boxes_table or labels_table, left_out)
            except UserError as error:
                left_out.failed(error)
                continue
            if merge:
                drawn = len(row["boxes"])
                row["boxes"] = merge_boxes(row["boxes"], needed)
                for _ in range(drawn - sum(max(len(box.readers), 1) for box in row["boxes"])):
                    left_out.count(f"boxes that fewer than {needed} readers drew", case)
            rows.append(row)
    left_out.say(rows, split)
    return rows


def _read_sizes(folder: Path, part: str) -> dict[str, tuple[int | None, int | None]]:
    """Image -> width and height of the original, where a table says."""
    table = find_table(folder, f"{part}_meta.csv")
    needed, found = ("image_id", "dim0", "dim1"), {}
    for line, cells in table_cells(table, needed, MISSING, f"it has {', '.join(needed)}", "image") if table else ():
        rows, columns = (integer_in(cells, name, f"{table} line {line}, column ", 1, 65535) for name in needed[1:])
        found[cells["image_id"].strip()] = (columns, rows)
    return found


def _add_header(row: dict) -> None:
    """Set sex, age, view and size of a pixel from a DICOM header."""
    if format_of(row["path"]) != "dicom":
        return
    try:
        header = open_dicom(row["path"], stop_before_pixels=True)
    except Exception:  # pydicom raises many kinds for damaged files
        raise UserError(f"{row['path']} is not readable DICOM: copy it again.") from None
    row["sex"] = SEXES.get(str(header.get("PatientSex", "")).strip().lower())
    age = str(header.get("PatientAge", "")).strip().upper().rstrip("Y")
    row["age"] = float(age) if age.isdecimal() and 0 < int(age) <= 110 else None
    row["view"] = str(header.get("ViewPosition", "")).strip().upper() or row["view"]
    row["spacing_mm"] = spacing_of(header)


def _read_labels(table: Path, needed: int, left_out: LeftOut) -> dict[str, tuple[int, dict[str, float]]]:
    """Image -> its first line and its labels; several readers are counted."""
    votes: dict[str, list[dict[str, float]]] = defaultdict(list)
    lines: dict[str, int] = {}
    readers: set[tuple[str, str]] = set()
    for line, cells in table_cells(table, ("image_id",), MISSING, "it has image_id and a column a finding", "image"):
        where = f"{table} line {line}, column "
        try:
            case = safe_name(cells["image_id"], f"{where}image_id")
            reader = cells.get("rad_id", "").strip()
            if (case, reader) in readers:
                said = f"reader {reader} of {case}" if reader else case
                raise UserError(f"{table} line {line}: {said} stands twice; keep one.")
            cells = {plain_name(name).lower(): cell for name, cell in cells.items() if name not in NOT_LABELS}
            read = {plain_name(name): number_in(cells, plain_name(name), where, 0, 1) for name in cells}
            lacking = next((name for name, value in read.items() if value not in (0, 1)), None)
            if lacking is not None:
                raise UserError(f"{where}{lacking}: '{cells[lacking.lower()]}' must be 1 or 0; correct the cell.")
        except UserError as error:
            left_out.failed(error)
            continue
        readers.add((case, reader))
        lines.setdefault(case, line)
        votes[case].append(read)
    return {case: (lines[case], agreed(found, needed)) for case, found in votes.items()}


def agreed(votes: list[dict[str, float]], needed: int) -> dict[str, float]:
    """Finding -> 1 where `needed` readers (or all, where they are fewer) see it, 0 where none does, else NaN."""
    needed = min(needed, len(votes))
    sums = {name: sum(vote[name] for vote in votes) for name in votes[0]}
    return {name: 1.0 if count >= needed else 0.0 if count == 0 else math.nan for name, count in sums.items()}


def plain_name(name: str) -> str:
    """A finding as `FINDINGS` has it; one that is not there stays as it is."""
    return NAMES.get(name.strip().lower(), name.strip())


def _read_boxes(table: Path, left_out: LeftOut) -> dict[str, list[Box]]:
    found: dict[str, list[Box]] = defaultdict(list)
    needed = ("image_id", "class_name", *CORNERS)
    for line, cells in table_cells(table, needed, MISSING, f"it has {', '.join(needed)}", "box"):
        where = f"{table} line {line}, column "
        try:
            case = safe_name(cells["image_id"], f"{where}image_id")
            x0, y0, x1, y1 = (number_in(cells, column, where, -1e5, 1e5) for column in CORNERS)
            name = plain_name(cells["class_name"])
            if name == NO_FINDING:
                continue
            if x0 is None or y0 is None or x1 is None or y1 is None or not name:
                raise UserError(f"{table} line {line}: has an empty cell among {', '.join(needed[1:])}; fill it.")
        except UserError as error:
            left_out.failed(error)
            continue
        reader = cells.get("rad_id", "").strip()
        found[case].append(Box(name, x0, y0, x1, y1, "", (reader,) if reader else (), line))
    return found


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    across = min(one.x1, other.x1) - max(one.x0, other.x0)
    down = min(one.y1, other.y1) - max(one.y0, other.y0)
    both = max(across, 0.0) * max(down, 0.0)
    return both / ((one.x1 - one.x0) * (one.y1 - one.y0) + (other.x1 - other.x0) * (other.y1 - other.y0) - both)


def merge_boxes(boxes: list[Box], needed: int = 2) -> list[Box]:
    """What readers agree on: boxes of one finding that overlap by `OVERLAP` as their mean, drawn by `needed` at least.

    A box joins the group whose mean it overlaps most, unless its reader is in there already. Boxes without a reader are
    a consensus and stay as they are.
    """
    groups: list[list[Box]] = []
    for box in boxes:
        near = [
            (overlap(_mean(group), box), number)
            for number, group in enumerate(groups)
            if group[0].label == box.label and box.readers and not any(box.readers == other.readers for other in group)
        ]
        best, number = max(near, default=(0.0, -1))
        if best >= OVERLAP:
            groups[number].append(box)
        else:
            groups.append([box])
    return [_mean(group) for group in groups if not group[0].readers or len(group) >= needed]


def _mean(group: list[Box]) -> Box:
    x0, y0, x1, y1 = (sum(sides) / len(group) for sides in zip(*(box.corners for box in group)))
    return group[0]._replace(x0=x0, y0=y0, x1=x1, y1=y1, readers=tuple(name for box in group for name in box.readers))

"""Reads chest radiographs in the layout of NIH ChestX-ray14, with its boxes as they are published.

    Data_Entry_2017.csv or Data_Entry_2017_v2020.csv
        Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,
        OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]
    train_val_list.txt, test_list.txt     an image a line
    BBox_List_2017.csv                    Image Index,Finding Label,Bbox [x,y,w,h],,,
    images/*.png  or  images_001/images/*.png to images_012/images/*.png

Boxes were drawn on 1024 x 1024 pixels, to which the set's images were squeezed from their own size; sizes of pixels are
therefore not the same across and down. Where `Data_Entry` says 058Y, 58 years are meant, and days or months as 004D.

Reference: Wang et al., "ChestX-ray8", CVPR 2017.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from synthzoo.datasets.chest.rows import (
    FRONTAL,
    SEXES,
    Box,
    LeftOut,
    chosen_split,
    find_table,
    fit_boxes,
    image_size,
    is_held_back,
    new_row,
    safe_name,
)
from synthzoo.errors import UserError
from synthzoo.io.tables import number_in, table_cells, table_lines

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
TRAIN_LIST, TEST_LIST, BOXES = "train_val_list.txt", "test_list.txt", "BBox_List_2017.csv"
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
SYNONYMS = {"infiltrate": "Infiltration"}  # what the boxes call it
NEEDED = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "View Position")
HEALTHY = "No Finding"
SIDE = 1024  # pixels of the images on which the boxes were drawn
MISSING = f"dataset_dir is the folder of ChestX-ray14, with {TABLES[1]}, {TRAIN_LIST}, {TEST_LIST} and images/"
AGE = re.compile(r"0*(\d{1,3})([YMD]?)$")
PER_YEAR = {"": 1.0, "Y": 1.0, "M": 12.0, "D": 365.25}


def read_chestxray14(
    dataset_dir: str | Path,
    split: str | None = None,
    views: Sequence[str] = FRONTAL,
    validation_share: float = 0.1,
    boxed: bool = False,
    leave_out: bool = False,
) -> list[dict]:
    """Rows of ChestX-ray14, see `synthzoo.datasets.chest.rows`, checked against its files.

    What is left out is counted and said on stderr.

    Args:
        dataset_dir: folder of the tables and images; a part of the images will do.
        split: "train", "validation" or "test"; None gives all. `validation_share` of the patients of train_val_list.txt
            validate; who, depends on the patient's number alone.
        views: of View Position that are taken.
        validation_share: from 0 to below 1.
        boxed: True takes only images with boxes.
        leave_out: True prints a warning for each bad line or box and goes on without it.

    Raises:
        UserError: a file, column or cell is missing or wrong, a box outside of its image, named by line; a patient in
            two splits; no row is left.
    """
    split, folder = chosen_split(split), Path(dataset_dir)
    if not 0 <= validation_share < 1:
        raise UserError(f"validation_share is {validation_share!r}, but must be from 0 to below 1.")
    left_out = LeftOut(folder, leave_out)
    table = find_table(folder, *TABLES) or folder / TABLES[1]
    boxes_table = find_table(folder, BOXES)
    boxes = read_boxes(boxes_table, left_out) if boxes_table else {}
    if boxed and not boxes:
        raise UserError(f"{folder} has no {BOXES} (or {BOXES}.gz): add it, or take images without boxes too.")
    lists = {name: word for file, word in ((TRAIN_LIST, "train"), (TEST_LIST, "test")) for name in _list(folder / file)}
    files = {path.name: path for path in _images(folder)}
    rows = []
    for line, cells in table_cells(table, NEEDED, MISSING, f"it has {', '.join(NEEDED)}", "image"):
        try:
            row = _read_row(line, cells, table)
            left_out.once(row["case"], line, table)
            name = row.pop("name")
            row["split"] = lists.get(name)
            if row["split"] == "train" and is_held_back(row["patient"], validation_share):
                row["split"] = "validation"
            if row["split"] is not None:
                left_out.expect_one_split(row, table)
        except UserError as error:
            left_out.failed(error)
            continue
        row["path"], row["boxes"] = files.get(name), boxes.get(name, [])
        if row["split"] is None:
            left_out.count(f"in neither {TRAIN_LIST} nor {TEST_LIST}", name)
        elif split not in (None, row["split"]):
            continue
        elif row["view"] not in views:
            left_out.count(f"of other views than {', '.join(views)}", f"{name}, {row['view'] or 'no view'}")
        elif boxed and not row["boxes"]:
            left_out.count("without boxes")
        elif row["path"] is None:
            left_out.count("without a file", name)
        else:
            try:
                fit_boxes(row, (SIDE, SIDE), boxes_table or table, left_out)
                _fit_spacing(row)
            except UserError as error:
                left_out.failed(error)
                continue
            rows.append(row)
    left_out.say(rows, split)
    return rows


def _read_row(line: int, cells: dict[str, str], table: Path) -> dict:
    where = f"{table} line {line}, column "
    name = safe_name(cells["image index"], f"{where}Image Index")
    named = [word.strip() for word in cells["finding labels"].split("|") if word.strip()]
    unknown = [word for word in named if word not in (*FINDINGS, HEALTHY)]
    if unknown or not named or (HEALTHY in named and len(named) > 1):
        raise UserError(
            f"{where}Finding Labels: '{cells['finding labels']}' must be {HEALTHY}, or findings such as "
            f"{FINDINGS[0]}|{FINDINGS[4]}; correct the cell."
        )
    age = AGE.fullmatch(cells["patient age"].strip().upper().removesuffix(".0"))
    years = int(age.group(1)) / PER_YEAR[age.group(2)] if age else None
    patient = cells["patient id"].strip().removesuffix(".0")
    if not patient.isdecimal():
        raise UserError(f"{where}Patient ID: '{patient}' is no number; correct the cell.")
    return new_row(
        case=name.rsplit(".", 1)[0],
        name=name,
        patient=str(int(patient)),
        study=f"{int(patient)}_{cells.get('follow-up #', '').strip() or name}",
        sex=SEXES.get(cells["patient gender"].strip().lower()),
        age=years if years is not None and years <= 110 else None,  # a few say 412
        view=cells["view position"].strip().upper() or None,
        labels={finding: float(finding in named) for finding in FINDINGS},
        spacing_mm=_spacing(cells, where),
        line=line,
    )


def _spacing(cells: dict[str, str], where: str) -> tuple[float, float] | None:
    """Extent of the whole image in mm, down and across; the columns' names are split where their commas are."""
    names = ("OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]")
    width, height, x, y = (number_in(cells, name, where, 0, 1e5) for name in names)
    return None if not (width and height and x and y) else (height * y, width * x)


def _fit_spacing(row: dict) -> None:
    """From the extent in mm to the size of the file's pixels."""
    if row["spacing_mm"] is not None:
        wide, high = image_size(row["path"])
        down, across = row["spacing_mm"]
        row["spacing_mm"] = (down / high, across / wide)


def read_boxes(table: str | Path, left_out: LeftOut | None = None) -> dict[str, list[Box]]:
    """Image -> boxes of BBox_List_2017.csv, in pixels of 1024 x 1024; plain or packed, with the header as published.

    Args:
        table: the file.
        left_out: takes the sentences of bad lines; None raises them.

    Raises:
        UserError: a column or cell is missing or wrong, named by line.
    """
    table = Path(table)
    left_out = left_out or LeftOut(table.parent, collect=False)
    found: dict[str, list[Box]] = {}
    hint = "its header is Image Index,Finding Label,Bbox [x,y,w,h],,,"
    for line, cells in table_cells(table, ("Image Index", "Finding Label"), MISSING, hint, "box"):
        cells = {re.sub(r"^bbox\s*\[\s*|\]$", "", name).strip(): cell for name, cell in cells.items()}
        where = f"{table} line {line}, column "
        lacking = next((name for name in "xywh" if name not in cells), None)
        if lacking is not None:
            raise UserError(f"{table} line 1: has no column for {lacking} of the boxes; {hint}.")
        try:
            name = safe_name(cells["image index"], f"{where}Image Index")
            x, y, w, h = (number_in(cells, column, where, -1e5, 1e5) for column in "xywh")
            if None in (x, y, w, h):
                raise UserError(f"{table} line {line}: has an empty cell among x, y, w and h; remove the line.")
            word = cells["finding label"].strip()
            label = SYNONYMS.get(word.lower(), word)
            if label not in FINDINGS:
                raise UserError(f"{where}Finding Label: '{word}' must be one of {', '.join(FINDINGS)}.")
        except UserError as error:
            left_out.failed(error)
            continue
        found.setdefault(name, []).append(Box(label, x, y, x + w, y + h, "", (), line))
    return found


def _list(path: Path) -> list[str]:
    lines = table_lines(path, missing=MISSING, empty="it names an image a line", form="text")
    return [line.strip() for line in lines if line.strip()]


def _images(folder: Path) -> list[Path]:
    places = [folder / "images", *sorted(folder.glob("images_0*/images")), *sorted(folder.glob("images_0*")), folder]
    found = [path for place in places if place.is_dir() for path in sorted(place.glob("*.png"))]
    if not found:
        raise UserError(
            f"{folder} holds no images: unpack them to {folder / 'images'} or {folder / 'images_001'}/images."
        )
    return found

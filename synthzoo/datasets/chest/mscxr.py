"""Reads MS-CXR: phrases of reports with boxes on radiographs of MIMIC-CXR-JPG.

    MS_CXR_Local_Alignment_v1.0.0.csv    dicom_id,category_name,label_text,path,x,y,w,h,image_width,image_height[,split]
    MS_CXR_Local_Alignment_v1.0.0.json   the same as COCO: images, annotations (bbox, label_text), categories
    files/p10/p10000032/s50414267/<dicom_id>.jpg, as `path` says

A line is a box; a phrase may have several. The columns `split` came with version 1.1; without it all is for testing.

Reference: Boecking et al., "Making the Most of Text Semantics to Improve Biomedical Vision-Language Processing",
ECCV 2022.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from synthzoo.datasets.chest.mimic import ENDINGS, SPLIT_WORDS
from synthzoo.datasets.chest.rows import Box, LeftOut, chosen_split, find_file, fit_boxes, new_row, safe_name
from synthzoo.errors import UserError
from synthzoo.io.tables import integer_in, number_in, table_cells

COLUMNS = ("dicom_id", "category_name", "label_text", "path", "x", "y", "w", "h", "image_width", "image_height")
PLACE = re.compile(r"p(\d{2})/p(\d+)/s(\d+)/([^/]+)$")
MISSING = "dataset_dir holds MS_CXR_Local_Alignment_v1.0.0.csv (or .json) and files/ of MIMIC-CXR-JPG"


def read_mscxr(dataset_dir: str | Path, split: str | None = None, leave_out: bool = False) -> list[dict]:
    """Rows of MS-CXR, one an image, see `synthzoo.datasets.chest.rows`; labels are 1 where a phrase names a finding.

    Args:
        dataset_dir: folder of the table and of `files/`.
        split: "train", "validation" or "test"; None gives all.
        leave_out: True prints a warning for each bad line or box and goes on without it.

    Raises:
        UserError: a file, column or cell is missing or wrong, a box outside of its image, named by line; no row is
            left.
    """
    split, folder = chosen_split(split), Path(dataset_dir)
    left_out = LeftOut(folder, leave_out)
    tables = sorted([*folder.glob("MS_CXR_Local_Alignment_v*.csv"), *folder.glob("MS_CXR_Local_Alignment_v*.json")])
    table = tables[0] if tables else folder / "MS_CXR_Local_Alignment_v1.0.0.csv"
    rows: dict[str, dict] = {}
    for line, cells in _lines_of_json(table) if table.suffix == ".json" else _lines_of_csv(table):
        try:
            _add_line(rows, line, cells, table)
        except UserError as error:
            left_out.failed(error)
    findings = sorted({box.label for row in rows.values() for box in row["boxes"]})
    used = []
    for row in rows.values():
        left_out.expect_one_split(row, table)
        row["path"] = find_file(
            root / row["place"] / f"{row['case']}{ending}" for root in (folder / "files", folder) for ending in ENDINGS
        )
        if split not in (None, row["split"]):
            continue
        if row["path"] is None:
            left_out.count("without a file", row["case"])
            continue
        fit_boxes(row, row["drawn_on"], table, left_out)
        named = {box.label for box in row["boxes"]}
        row["labels"] = {name: 1.0 if name in named else float("nan") for name in findings}
        row["phrases"] = list(dict.fromkeys(box.phrase for box in row["boxes"]))
        if row["boxes"]:
            used.append({key: value for key, value in row.items() if key not in ("place", "drawn_on")})
    left_out.say(used, split)
    return used


def _lines_of_csv(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    yield from table_cells(table, COLUMNS, MISSING, f"it has {', '.join(COLUMNS)}", "box")


def _lines_of_json(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The annotations of the COCO file as lines of the CSV; a line's number is the annotation's place in the list."""
    try:
        content = json.loads(table.read_text(encoding="utf-8"))
        names = {item["id"]: item["name"] for item in content["categories"]}
        images = {item["id"]: item for item in content["images"]}
        for number, item in enumerate(content["annotations"], start=1):
            image = images[item["image_id"]]
            place = str(image.get("path") or image["file_name"])
            x, y, w, h = item["bbox"]
            yield (
                number,
                {
                    "dicom_id": PurePosixPath(place).stem,
                    "category_name": names[item["category_id"]],
                    "label_text": item["label_text"],
                    "path": place,
                    **{
                        key: str(value)
                        for key, value in zip(COLUMNS[4:], (x, y, w, h, image["width"], image["height"]))
                    },
                    "split": str(image.get("split") or item.get("split") or ""),
                },
            )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(
            f"{table} is not the COCO file of MS-CXR ({type(error).__name__}: {str(error)[:80]}): copy it again, or "
            "use the CSV."
        ) from None


def _add_line(rows: dict[str, dict], line: int, cells: dict[str, str], table: Path) -> None:
    """Add one box to the row of its image."""
    where = f"{table} line {line}, column "
    case = safe_name(cells["dicom_id"], f"{where}dicom_id")
    found = PLACE.search(cells["path"].strip())
    if found is None:
        raise UserError(f"{where}path: '{cells['path']}' is not like files/p10/p10000032/s50414267/<dicom_id>.jpg.")
    x, y, w, h = (number_in(cells, column, where, -1e5, 1e5) for column in "xywh")
    width, height = (integer_in(cells, f"image_{side}", where, 1, 65535) for side in ("width", "height"))
    if None in (x, y, w, h, width, height):
        raise UserError(f"{table} line {line}: has an empty cell among x, y, w, h, image_width and image_height.")
    phrase, label = " ".join(cells["label_text"].split()), cells["category_name"].strip()
    if not phrase or not label:
        raise UserError(f"{table} line {line}: label_text and category_name must not be empty.")
    word = cells.get("split", "").strip().lower() or "test"
    if word not in SPLIT_WORDS:
        raise UserError(f"{where}split: '{word}' is neither train, val nor test.")
    group, patient, study, _ = found.groups()
    row = rows.setdefault(
        case,
        new_row(
            case=case,
            patient=patient,
            study=study,
            split=SPLIT_WORDS[word],
            line=line,
            place=f"p{group}/p{patient}/s{study}",
            drawn_on=(width, height),
        ),
    )
    if (width, height) != row["drawn_on"]:
        raise UserError(
            f"{table} line {line}: {case} is {width} x {height} pixels here and {row['drawn_on'][0]} x "
            f"{row['drawn_on'][1]} in line {row['line']}; correct one."
        )
    row["boxes"].append(Box(label, x, y, x + w, y + h, phrase, (), line))

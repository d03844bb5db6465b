"""Reads chest radiographs in the layout of MIMIC-CXR-JPG, with reports, and the phrases and boxes of MS-CXR.

    mimic-cxr-2.0.0-metadata.csv.gz   dicom_id,subject_id,study_id,ViewPosition,Rows,Columns,StudyDate, ...
    mimic-cxr-2.0.0-split.csv.gz      dicom_id,study_id,subject_id,split   (train, validate or test)
    mimic-cxr-2.0.0-chexpert.csv.gz   subject_id,study_id, and 14 findings: 1.0, 0.0, -1.0 uncertain, or empty
    mimic-cxr-2.0.0-negbio.csv.gz     the same of another labeller
    patients.csv.gz                   of MIMIC-IV, for sex and age: subject_id,gender,anchor_age,anchor_year
    files/p10/p10000032/s50414267/<dicom_id>.jpg     files/p10/p10000032/s50414267.txt

References: Johnson et al., "MIMIC-CXR-JPG", PhysioNet 2019 and 2024; Irvin et al., "CheXpert", AAAI 2019 (labels).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from synthzoo.datasets.chest.rows import (
    FRONTAL,
    SEXES,
    LeftOut,
    chosen_split,
    find_file,
    find_table,
    new_row,
    safe_name,
)
from synthzoo.errors import UserError
from synthzoo.io.tables import EMPTY, integer_in, number_in, table_cells

METADATA, SPLIT = "mimic-cxr-2.0.0-metadata.csv", "mimic-cxr-2.0.0-split.csv"
LABELLERS = ("chexpert", "negbio")
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)
KEYS = ("dicom_id", "subject_id", "study_id")
MISSING = f"dataset_dir is the folder of MIMIC-CXR-JPG, with {METADATA}.gz, {SPLIT}.gz and files/"
SPLIT_WORDS = {"train": "train", "validate": "validation", "validation": "validation", "val": "validation"} | {
    "test": "test"
}
LABELS = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "-1": math.nan, "-1.0": math.nan}
ENDINGS = (".jpg", ".jpeg", ".png", ".dcm")


def read_mimic(
    dataset_dir: str | Path,
    split: str | None = None,
    views: Sequence[str] = FRONTAL,
    labeller: str | None = "chexpert",
    unmentioned: float = 0.0,
    leave_out: bool = False,
) -> list[dict]:
    """Rows of MIMIC-CXR-JPG, see `synthzoo.datasets.chest.rows`, checked against its files.

    What is left out is counted and said on stderr: other views, images without a file or a split.

    Args:
        dataset_dir: folder of the tables and `files/`; a part of the files will do.
        split: "train", "validation" or "test"; None gives all.
        views: of ViewPosition that are taken.
        labeller: "chexpert" or "negbio"; None reads no labels.
        unmentioned: label of a finding that the report does not speak of; NaN makes it uncertain.
        leave_out: True prints a warning for each bad line and goes on without it.

    Raises:
        UserError: a file, column or cell is missing or wrong, named by line; a patient in two splits; no row is left.
    """
    split, folder = chosen_split(split), Path(dataset_dir)
    left_out = LeftOut(folder, leave_out)
    splits = _read_splits(folder)
    labels = {} if labeller is None else _read_labels(folder, labeller, unmentioned, left_out)
    people = _read_people(folder)
    table = find_table(folder, METADATA) or folder / METADATA
    rows = []
    for line, cells in table_cells(table, (*KEYS, "ViewPosition"), MISSING, f"it has {', '.join(KEYS)}", "image"):
        try:
            row = _read_row(line, cells, table)
            row["split"] = splits.get(row["case"])
            left_out.once(row["case"], line, table)
            if row["split"] is not None:
                left_out.expect_one_split(row, table)
        except UserError as error:
            left_out.failed(error)
            continue
        if row["split"] is None:
            left_out.count(f"not in {SPLIT}", row["case"])
        elif split not in (None, row["split"]):
            continue
        elif row["view"] not in views:
            left_out.count(f"of other views than {', '.join(views)}", f"{row['case']}, {row['view'] or 'no view'}")
        elif not _add_files(row, folder):
            left_out.count("without a file", row["case"])
        elif labeller is not None and (row["patient"], row["study"]) not in labels:
            left_out.count(f"of studies without labels of {labeller}", row["study"])
        else:
            row["labels"] = labels.get((row["patient"], row["study"]), {})
            _add_person(row, people)
            rows.append(row)
    left_out.say(rows, split)
    return rows


def _read_row(line: int, cells: dict[str, str], table: Path) -> dict:
    case = safe_name(cells["dicom_id"], f"{table} line {line}, column dicom_id")
    patient, study = (number_of(cells, column, f"{table} line {line}") for column in KEYS[1:])
    date = cells.get("studydate", "").strip()
    return new_row(
        case=case,
        patient=patient,
        study=study,
        view=cells["viewposition"].strip().upper() or None,
        line=line,
        year=int(date[:4]) if len(date) == 8 and date.isdecimal() else None,
    )


def number_of(cells: dict[str, str], column: str, where: str) -> str:
    """A subject's or study's number from a cell, as text.

    Raises:
        UserError: it is none.
    """
    text = cells[column].strip().removesuffix(".0").lstrip("ps")
    if not text.isdecimal():
        raise UserError(f"{where}, column {column}: '{cells[column]}' is no number; correct the cell or the row.")
    return text


def study_folder(patient: str, study: str) -> str:
    """Where a study lies below `files`."""
    return f"p{patient[:2]}/p{patient}/s{study}"


def _add_files(row: dict, folder: Path) -> bool:
    """Set the row's path and report; False where there is no image."""
    below = study_folder(row["patient"], row["study"])
    roots = (folder / "files", folder)
    row["path"] = find_file(root / below / f"{row['case']}{ending}" for root in roots for ending in ENDINGS)
    reports = (folder / "files", folder / "mimic-cxr-reports" / "files", folder / "reports", folder)
    row["report"] = find_file(root / f"{below}.txt" for root in reports)
    return row["path"] is not None


def _read_splits(folder: Path) -> dict[str, str]:
    table = find_table(folder, SPLIT) or folder / SPLIT
    found = {}
    for line, cells in table_cells(table, ("dicom_id", "split"), MISSING, "it has dicom_id and split", "image"):
        word = cells["split"].strip().lower()
        if word not in SPLIT_WORDS:
            raise UserError(f"{table} line {line}, column split: '{word}' is neither train, validate nor test.")
        found[cells["dicom_id"].strip()] = SPLIT_WORDS[word]
    return found


def _read_labels(folder: Path, labeller: str, unmentioned: float, left_out: LeftOut) -> dict[tuple[str, str], dict]:
    if labeller not in LABELLERS:
        raise UserError(f"labeller is {labeller!r}, but must be {' or '.join(LABELLERS)}, or null for no labels.")
    name = f"mimic-cxr-2.0.0-{labeller}.csv"
    table = find_table(folder, name) or folder / name
    found = {}
    needed = (*KEYS[1:], *FINDINGS)
    missing = f"add {name}.gz to dataset_dir, or read without labels"
    for line, cells in table_cells(table, needed, missing, f"it has {', '.join(KEYS[1:])} and 14 findings", "study"):
        try:
            patient, study = (number_of(cells, column, f"{table} line {line}") for column in KEYS[1:])
            found[patient, study] = {
                name: _label(cells, name, unmentioned, f"{table} line {line}") for name in FINDINGS
            }
        except UserError as error:
            left_out.failed(error)
    return found


def _label(cells: dict[str, str], finding: str, unmentioned: float, where: str) -> float:
    text = cells[finding.lower()].strip().lower()
    if text in EMPTY:
        return float(unmentioned)
    if text not in LABELS:
        raise UserError(f"{where}, column {finding}: '{text}' must be 1, 0, -1 (uncertain) or empty; correct the cell.")
    return LABELS[text]


def _read_people(folder: Path) -> dict[str, tuple[str | None, float | None, int | None]]:
    """Sex, age and the year of that age by subject, from MIMIC-IV's table where it is there."""
    table = find_table(folder, "patients.csv")
    if table is None:
        return {}
    found = {}
    needed = ("subject_id", "gender", "anchor_age", "anchor_year")
    for line, cells in table_cells(table, needed, MISSING, f"it has {', '.join(needed)}", "patient"):
        where = f"{table} line {line}, column "
        age, year = number_in(cells, "anchor_age", where, 0, 120), integer_in(cells, "anchor_year", where, 1900, 2400)
        found[cells["subject_id"].strip()] = (SEXES.get(cells["gender"].strip().lower()), age, year)
    return found


def _add_person(row: dict, people: dict) -> None:
    year = row.pop("year")
    if row["patient"] in people:
        row["sex"], age, then = people[row["patient"]]
        row["age"] = age if None in (age, then, year) else age + year - then


def read_report(path: str | Path | None) -> dict[str, str]:
    """The sections of a report by name in small letters, such as "findings" and "impression"; "" is what has no name.

    Marks of de-identification (`___`) are taken out, so that no prompt carries them. None gives no sections.

    Raises:
        UserError: it is no text.
    """
    if path is None:
        return {}
    try:
        text = Path(path).read_bytes()[: 1 << 20].decode("utf-8", errors="strict")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"report {path} cannot be read as UTF-8 text: copy it again.") from None
    sections: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        head, colon, rest = line.strip().partition(":")
        if colon and 2 < len(head) < 40 and head == head.upper() and head.replace(" ", "").isalpha():
            name, line = head.lower(), rest
        sections.setdefault(name, []).append(line.replace("_", " "))
    joined = {name: " ".join(" ".join(lines).split()) for name, lines in sections.items()}
    return {name: words for name, words in joined.items() if words}

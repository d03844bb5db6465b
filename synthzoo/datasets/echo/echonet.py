"""Reads echo videos in the layouts of EchoNet-Dynamic and EchoNet-Pediatric, with volumes, tracings and latents.

    FileList.csv        FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split   (TRAIN, VAL or TEST)
                        FileName,EF,Sex,Age,Weight,Height,Split                               (pediatric; folds 0 to 9)
    VolumeTracings.csv  FileName,X1,Y1,X2,Y2,Frame  per frame the long axis, then the chords from apex to base
                        FileName,X,Y,Frame          (pediatric) per frame the points of the contour
    Videos/<FileName>.avi      Latents/<FileName>.pt, a tensor (T, C, h, w)

References: Ouyang et al., Nature 2020; Reddy et al., Journal of the American Society of Echocardiography 2023;
Reynaud et al., MICCAI 2024 (latents, folds 0 to 7 for training, 8 for validation, 9 for testing).
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from synthzoo.datasets.echo.echonet_table import COLUMNS, FILE_LIST, LATENTS, TRACINGS, VIDEOS, table_of
from synthzoo.datasets.echo.tracings import add_tracings
from synthzoo.errors import UserError
from synthzoo.io.tables import EMPTY, integer_in, number_in
from synthzoo.io.videos import open_video

NEEDED = ("FileName", "EF", "Split")
SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
FOLDS = 10


def read_echonet(
    dataset_dir: str | Path,
    split: str | None = None,
    validation_folds: Sequence[int] = (8,),
    test_folds: Sequence[int] = (9,),
    source: str = VIDEOS,
    trust: str = "list",
    leave_out: bool = False,
) -> list[dict]:
    """Rows of a data set, checked against its files.

    Args:
        dataset_dir: folder of FileList.csv, Videos/ (or Latents/) and, if there is one, VolumeTracings.csv.
        split: rows of "train", "validation" or "test" alone; None gives all.
        validation_folds, test_folds: where the column Split holds folds 0 to 9: those of validation and test; all
            others are for training.
        source: "Videos" or "Latents": which files a row names and has to have.
        trust: "list" refuses a row whose FPS, NumberOfFrames or frame size differs from its video; "videos" takes them
            from the video. Lists without these columns take them from the video anyway.
        leave_out: True prints a warning for each bad row and goes on without it.

    Returns:
        dicts with name, path, ef (percent), esv and edv (mL or None), fps (1/s or None), frames, height, width (or
        None), split, fold (or None), patient, tracings {frame: float32 [n, 4] chords or [n, 2] contour, in pixels},
        es_frame and ed_frame (of the smallest and the largest tracing, or None) and line (in FileList.csv).

    Raises:
        UserError: a file, column or cell is missing or wrong, named by file, line and column; a patient in two splits.
    """
    if source not in (VIDEOS, LATENTS):
        raise UserError(f"source is {source!r}, but must be {VIDEOS} or {LATENTS}.")
    if trust not in ("list", "videos"):
        raise UserError(f"trust is {trust!r}, but must be list or videos.")
    if split is not None and str(split).lower() not in SPLITS:
        raise UserError(f"split is {split!r}, but must be train, validation or test.")
    split = None if split is None else SPLITS[str(split).lower()]
    folder = Path(dataset_dir)
    folds = fold_splits(validation_folds, test_folds)
    rows, failures = [], []
    for row in read_file_list(folder / FILE_LIST, folds, failures if leave_out else None):
        try:
            _add_file(row, folder, source, trust)
            rows.append(row)
        except UserError as error:
            if not leave_out:
                raise
            failures.append(str(error))
    if (folder / TRACINGS).is_file():
        add_tracings(rows, folder / TRACINGS, failures if leave_out else None)
    for sentence in failures:
        print(f"warning: left out: {sentence}", file=sys.stderr)
    _check_patients(rows, folder / FILE_LIST)
    rows = [row for row in rows if split in (None, row["split"])]
    if not rows:
        raise UserError(f"{folder / FILE_LIST} has no usable rows of the split {split or 'requested'}: mark some so.")
    return rows


def fold_splits(validation: Sequence[int], test: Sequence[int]) -> dict[int, str]:
    """Fold -> split for the folds 0 to 9.

    Raises:
        UserError: a fold that does not exist, stands in both lists, or none is left for training.
    """
    chosen = [*validation, *test]
    wrong = [fold for fold in chosen if fold not in range(FOLDS) or isinstance(fold, bool)]
    if wrong or len(set(chosen)) != len(chosen) or len(chosen) >= FOLDS:
        raise UserError(
            f"validation_folds {list(validation)} and test_folds {list(test)} must be different folds from 0 to "
            f"{FOLDS - 1}, and at least one must be left for training."
        )
    return {f: "validation" if f in validation else "test" if f in test else "train" for f in range(FOLDS)}


# --- the list --------------------------------------------------------------------------------------------------------


def read_file_list(path: str | Path, folds: dict[int, str], failures: list[str] | None = None) -> list[dict]:
    """Rows of FileList.csv alone; neither videos nor tracings are looked at.

    Args:
        path: the CSV.
        folds: fold -> split.
        failures: None raises on the first bad row; a list collects the sentences instead.
    """
    path = Path(path)
    rows, seen = [], {}
    for line, cells in table_of(path, NEEDED, f"an EchoNet list has {','.join(COLUMNS)}"):
        try:
            row = _read_row(cells, folds, f"{path} line {line}, column ")
            row["line"] = line
            if row["name"] in seen:
                raise UserError(
                    f"{path} line {line}, column FileName: {row['name']} stands already in line {seen[row['name']]}; "
                    "keep one."
                )
        except UserError as error:
            if failures is None:
                raise
            failures.append(str(error))
            continue
        seen[row["name"]] = line
        rows.append(row)
    if rows and max(row["ef"] for row in rows) <= 1:
        raise UserError(f"{path} column EF: all values lie between 0 and 1, but EF is in percent: multiply by 100.")
    return rows


def _read_row(cells: dict[str, str], folds: dict[int, str], where: str) -> dict:
    name = video_name(cells["filename"], where)
    esv, edv = (number_in(cells, column, where, 0, 2000) for column in ("ESV", "EDV"))
    if esv is not None and edv is not None and esv > edv:
        raise UserError(f"{where}ESV: {esv:g} mL is more than EDV, {edv:g} mL; correct the cell or remove the row.")
    ef = number_in(cells, "EF", where, 0, 100, " percent")
    if ef is None:
        raise UserError(f"{where}EF: is empty; give the ejection fraction in percent, or remove the row.")
    split, fold = _split(cells["split"], folds, where)
    if fold is None and cells.get("fold", "").lower() not in EMPTY:
        fold = integer_in(cells, "Fold", where, 0, FOLDS - 1)
    return {
        "name": name,
        "patient": name.split("-")[0] if name.count("-") == 2 else name,  # pediatric: patient-study-instance
        "ef": ef,
        "esv": esv,
        "edv": edv,
        "fps": number_in(cells, "FPS", where, 1, 1000, " per second"),
        "frames": integer_in(cells, "NumberOfFrames", where, 1, 100_000),
        "height": integer_in(cells, "FrameHeight", where, 1, 8192),
        "width": integer_in(cells, "FrameWidth", where, 1, 8192),
        "split": split,
        "fold": fold,
        "tracings": {},
        "es_frame": None,
        "ed_frame": None,
    }


def video_name(text: str, where: str = "") -> str:
    """A video's name without `.avi`.

    Raises:
        UserError: empty, or with marks of a path.
    """
    name = text.strip()
    name = name[:-4] if name.lower().endswith(".avi") else name
    if not name or name.startswith(".") or any(mark in name for mark in "/\\\0*?[:"):
        raise UserError(f"{where}FileName: '{text}' is no name of a video, such as 0X1A0A263B22CCD966; correct it.")
    return name


def _split(text: str, folds: dict[int, str], where: str) -> tuple[str, int | None]:
    word = text.strip().lower()
    if word in SPLITS:
        return SPLITS[word], None
    number = word.removesuffix(".0")
    if number.isdecimal() and int(number) in folds:
        return folds[int(number)], int(number)
    raise UserError(f"{where}Split: '{text}' is neither TRAIN, VAL or TEST nor a fold from 0 to {FOLDS - 1}.")


# --- the files -------------------------------------------------------------------------------------------------------


def _add_file(row: dict, folder: Path, source: str, trust: str) -> None:
    """Set the row's path and check, or take, what the video says of itself."""
    endings = (".avi", ".AVI", ".Avi") if source == VIDEOS else (".pt",)
    paths = [folder / source / f"{row['name']}{ending}" for ending in endings]
    row["path"] = next((path for path in paths if path.is_file()), paths[0])
    where = f"{folder / FILE_LIST} line {row['line']}, column "
    if not row["path"].is_file():
        raise UserError(f"{where}FileName: {row['path']} does not exist; add the file or remove the row.")
    if source == LATENTS:
        return
    video = open_video(row["path"])
    found = {"fps": video.fps, "frames": video.count, "height": video.height, "width": video.width}
    names = {"fps": "FPS", "frames": "NumberOfFrames", "height": "FrameHeight", "width": "FrameWidth"}
    for key, value in found.items():
        # Some programs round the frame rate to an integer.
        same = row[key] is not None and abs(row[key] - value) <= (0.5 if key == "fps" else 0)
        if row[key] is not None and not same and trust == "list":
            raise UserError(
                f"{where}{names[key]}: {row[key]:g} is stated, but {row['path'].name} has {value:g}; correct the "
                "cell, or empty it to take what the video says."
            )
        if not same:
            row[key] = value


def _check_patients(rows: list[dict], path: Path) -> None:
    splits: dict[str, dict] = {}
    for row in rows:
        first = splits.setdefault(row["patient"], row)
        if first["split"] != row["split"]:
            raise UserError(
                f"{path} line {row['line']}, column Split: patient {row['patient']} is in {row['split']} here and in "
                f"{first['split']} in line {first['line']}; keep all videos of a patient in one split."
            )


def read_latents(path: str | Path, frames: int | None = None) -> torch.Tensor:
    """The latents of a video, float32 (T, C, h, w).

    Args:
        path: `Latents/<FileName>.pt`; only tensors are loaded, no code.
        frames: T that the list states, or None.

    Raises:
        UserError: missing, damaged, no tensor of four dimensions, NaN or Inf, or another number of frames.
    """
    path = Path(path)
    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"latents {path} do not exist: encode the videos first.") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
        raise UserError(f"latents {path} cannot be read as a plain tensor: encode the video again.") from None
    if not isinstance(tensor, torch.Tensor) or tensor.ndim != 4 or not tensor.is_floating_point():
        shape = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise UserError(f"latents {path} hold {shape}, but a float tensor (frames, channels, h, w) is needed.")
    if frames is not None and len(tensor) != frames:
        raise UserError(f"latents {path} hold {len(tensor)} frames, but NumberOfFrames is {frames}: encode them again.")
    tensor = tensor.float()
    if not torch.isfinite(tensor).all():
        raise UserError(f"latents {path} hold NaN or Inf: encode the video again, in full precision.")
    return tensor

"""A folder of one's own scans as a training set: `participants.tsv` beside `images/<id>.nii.gz`, or BIDS folders.

    participants.tsv    id (or participant_id), sex, age, ventricular, brain, split; a cell may be empty or n/a
    images/<id>.nii.gz  or  <id>/anat/<id>_T1w.nii.gz  or  <id>/ses-*/anat/*_T1w.nii.gz

Each volume is turned to the axis order of the network's grid, scaled to [0, 1] by its own minimum and maximum or, as CT
in HU, by a window, and cut or resampled to the grid.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from synthzoo.cases.requests import encode
from synthzoo.cases.values import OutOfRange, check_value, is_unset
from synthzoo.datasets.volumes import CachedVolumes
from synthzoo.errors import UserError
from synthzoo.io.tables import csv_rows, table_lines
from synthzoo.io.volumes import read_volume

TABLE = "participants.tsv"
ID_COLUMNS = ("participant_id", "id")
# Columns of the paper's table, beside the bundle's own names; both volumes in mL.
SYNONYMS = {"ventricular": "ventricle_ml", "brain": "brain_ml"}
# UK Biobank, field 31: female 0, male 1. BIDS has o or other, which no condition of a bundle means: it is unset.
SEX_CODES = {"0": "F", "1": "M", "female": "F", "male": "M", "o": "n/a", "other": "n/a"}
CAPPED_AGE = re.compile(r"(\d+)\+")  # BIDS: ages above 89 are written as 89+
SPLITS = {"train": "train", "training": "train", "validation": "validation", "val": "validation", "test": "test"}


def read_participants(path: str | Path, conditions: Mapping[str, Mapping]) -> list[dict]:
    """Rows of participants.tsv as {"case": str, "split": str, "requested": {condition: value or None}, "line": int}.

    Args:
        path: the table; tabs (or commas) between cells, UTF-8, one subject per line.
        conditions: name -> JSON Schema property, as in the bundle's `dataset`; see `synthzoo.cases.values`. Columns
            that are no condition are passed over.

    Raises:
        UserError: the table is missing, empty or not text; it lacks the id; a row is wrong (named by its line).
    """
    path = Path(path)
    lines = table_lines(
        path,
        missing=f"--dataset_dir names a folder with {TABLE} and images/",
        empty=f"its first line names the columns id, {', '.join(conditions)}, split",
        form="tab-separated text",
    )
    table = csv_rows(path, lines)
    columns = [name.strip().lower() for name in next(table)[1]]
    columns = [SYNONYMS.get(name, name) for name in columns]
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise UserError(f"{path} line 1: column '{twice[0]}' stands twice (perhaps under two names); keep one.")
    key = next((name for name in ID_COLUMNS if name in columns), None)
    if key is None:
        raise UserError(f"{path} line 1: has no column id or participant_id, which names each subject's file; add it.")
    rows, seen = [], {}
    for line, cells in table:
        where = f"{path} line {line}: "
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            raise UserError(f"{where}has {len(cells)} cells, but the header names {len(columns)} columns.")
        row = _read_row(dict(zip(columns, cells)), key, conditions, where)
        if row["case"] in seen:
            raise UserError(f"{where}{key} {row['case']} stands already in line {seen[row['case']]}; keep one row.")
        seen[row["case"]] = row["line"] = line
        rows.append(row)
    if not rows:
        raise UserError(f"{path} has a header but no rows: add one line per subject.")
    return rows


def _read_row(cells: dict[str, str], key: str, conditions: Mapping[str, Mapping], where: str) -> dict:
    case = cells[key].strip()
    if not case or case in (".", "..") or any(mark in case for mark in "/\\\0*?["):
        raise UserError(f"{where}{key} is '{case}', but must be the name of the subject's file, such as sub-0001.")
    split = cells.get("split", "").strip().lower()
    if is_unset(split):
        split = "train"
    if split not in SPLITS:
        raise UserError(f"{where}split is '{split}', but must be train, validation or test.")
    requested = {}
    for name, schema in conditions.items():
        text = cells.get(name, "").strip()
        if "enum" in schema and name == "sex":
            text = SEX_CODES.get(text.lower().removesuffix(".0"), text)
        elif name == "age" and (capped := CAPPED_AGE.fullmatch(text)):
            text = capped[1]
        try:
            requested[name] = check_value(name, text, schema, where)
        except OutOfRange as error:
            raise UserError(
                f"{str(error)[:-1]}; empty the cell, or widen dataset#conditions#{name} (the volumes are in mL)."
            ) from None
    return {"case": case, "split": SPLITS[split], "requested": requested}


def find_image(folder: str | Path, case: str, suffix: str = "T1w") -> Path:
    """The image of one subject below the data set's folder.

    Args:
        folder: of the data set.
        case: the subject.
        suffix: of the images in folders as BIDS has them.

    Raises:
        UserError: no file is where one of the layouts has it, or a BIDS subject has several of that suffix.
    """
    folder = Path(folder)
    for name in (f"{case}.nii.gz", f"{case}.nii"):
        if (folder / "images" / name).is_file():
            return folder / "images" / name
    subject = folder / (case if case.startswith("sub-") else f"sub-{case}")
    found = sorted([*subject.glob(f"anat/*_{suffix}.nii*"), *subject.glob(f"ses-*/anat/*_{suffix}.nii*")])
    if not found:
        raise UserError(
            f"{case}: neither {folder / 'images' / case}.nii.gz nor {subject}/anat/*_{suffix}.nii.gz exists; add the "
            f"file or remove the row from {TABLE}."
        )
    if len(found) > 1:
        raise UserError(f"{case}: {subject} has {len(found)} {suffix} files; copy the one to use to {folder}/images/.")
    return found[0]


def min_max(image: np.ndarray) -> np.ndarray:
    """(x - min) / (max - min), float32 in [0, 1]."""
    low, high = float(image.min()), float(image.max())
    return ((image - low) / (high - low)).astype(np.float32)


def windowed(image: np.ndarray, window: Sequence[float]) -> np.ndarray:
    """Values between the two ends of a window, such as HU, as float32 in [0, 1]."""
    low, high = window
    return np.clip((image - low) / (high - low), 0, 1).astype(np.float32)


def crop_and_pad(image: np.ndarray, crop: Sequence[Sequence[int]], shape: Sequence[int]) -> np.ndarray:
    """The box [start, stop) per axis of (D, H, W), then zeros around it up to `shape`, evenly on both sides.

    Raises:
        UserError: nothing lies in the box, or it is larger than `shape`.
    """
    image = image[tuple(slice(int(a), int(b)) for a, b in crop)]
    if 0 in image.shape or any(n > m for n, m in zip(image.shape, shape)):
        raise UserError(
            f"the box {[list(pair) for pair in crop]} leaves {list(image.shape)} voxels, but 1 to {list(shape)} per "
            "axis are needed; is this image on the 1 mm grid that the box was made for?"
        )
    before = [(m - n) // 2 for n, m in zip(image.shape, shape)]
    return np.pad(image, [(b, m - n - b) for b, n, m in zip(before, image.shape, shape)])


def to_grid(image: np.ndarray, affine: np.ndarray, grid_affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Linear interpolation of (D, H, W) onto a grid in the same world space, zeros outside.

    Where the grid is coarser than the image, a Gaussian of the lost resolution is applied first.

    Raises:
        UserError: image and grid have no part in common.
    """
    size, wanted = (np.linalg.norm(a[:3, :3], axis=0) for a in (affine, grid_affine))
    lost = np.sqrt(np.maximum(wanted**2 - size**2, 0)) / size  # full width at half maximum, in voxels of the image
    image = ndimage.gaussian_filter(image, lost / math.sqrt(8 * math.log(2)), mode="nearest")
    step = np.linalg.inv(affine) @ grid_affine
    grid = ndimage.affine_transform(image, step[:3, :3], step[:3, 3], output_shape=tuple(shape), order=1)
    if not grid.any():
        raise UserError(
            "this image lies outside the network's grid; align it rigidly to that grid's space (of brains: MNI) first."
        )
    return grid


def centre_of(affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """World coordinates in mm (3,) of the middle of a grid."""
    return affine[:3, :3] @ ((np.asarray(shape) - 1) / 2) + affine[:3, 3]


class ParticipantsDataset(CachedVolumes):
    """Scans of a folder as {"image": float32 (1, D, H, W) in [0, 1], "conditions": float32 (K,), "row": int}.

    Args:
        dataset_dir: folder of `participants.tsv` and the images.
        conditions: name -> rule in the bundle's order; the vector is in its units, NaN where a cell is empty.
        shape: (D, H, W) that the network takes.
        affine: 4 x 4, voxel to world in mm (RAS) of that grid. Without `crop`, images are resampled to it, so they
            must be in the same space: rigidly aligned to MNI.
        crop: [[start, stop]] * 3 in voxels of the image in the axis order of `affine`, instead of resampling; then
            zeros up to `shape`. The published model has [[16, 176], [16, 240], [96, 256]] at 1 mm.
        split: rows of this split; a row without one is "train".
        size: number of rows, the first ones of the table; None takes all.
        cache_dir: folder that keeps each prepared image as float16; None keeps them in memory.
        suffix: see `find_image`.
        window: two values that become 0 and 1, such as [-1000, 1000] HU; None takes each image's minimum and maximum.
        centred: the grid's centre is laid on each image's, for images that share no space.

    Raises:
        UserError: what `read_participants` and `find_image` say, or fewer rows than `size`.
    """

    def __init__(
        self,
        dataset_dir: str | Path,
        conditions: Mapping[str, Mapping],
        shape: Sequence[int],
        affine: Sequence[Sequence[float]],
        crop: Sequence[Sequence[int]] | None = None,
        split: str = "train",
        size: int | None = None,
        cache_dir: str | Path | None = None,
        suffix: str = "T1w",
        window: Sequence[float] | None = None,
        centred: bool = False,
    ) -> None:
        super().__init__()
        if split not in SPLITS:
            raise UserError(f"split = {split!r}: must be train, validation or test.")
        self.folder, self.rules = Path(dataset_dir), {name: dict(rule) for name, rule in conditions.items()}
        table = read_participants(self.folder / TABLE, self.rules)
        rows = [row for row in table if row["split"] == SPLITS[split]]
        if not rows or (size is not None and len(rows) < size):
            raise UserError(
                f"{self.folder / TABLE} has {len(rows)} rows of the split {split}, but {size or 1} are requested; "
                "lower --train_size or mark more rows in the column split."
            )
        self.rows = rows[:size]
        self.paths = [find_image(self.folder, row["case"], suffix) for row in self.rows]
        self.shape = tuple(int(n) for n in shape)
        self.affine = np.asarray(affine, dtype=np.float64)
        self.crop = None if crop is None else [tuple(int(n) for n in pair) for pair in crop]
        self.window, self.centred = window, bool(centred)
        self.cache_dir = Path(cache_dir) / "scans" if cache_dir else None
        if self.cache_dir:
            self.cache_dir.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return len(self.rows)

    def prepare(self, row: int) -> np.ndarray:
        """The image of one row, read and brought to the grid, float32 (D, H, W) in [0, 1]."""
        path = self.paths[row]
        array, affine = read_volume(path)
        scaled = min_max(array[0]) if self.window is None else windowed(array[0], self.window)
        turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.io_orientation(self.affine))
        turned = nib.Nifti1Image(scaled, affine).as_reoriented(turn)
        image = np.asarray(turned.dataobj, dtype=np.float32)
        try:
            if self.crop is not None:
                return crop_and_pad(image, self.crop, self.shape)
            own = np.array(turned.affine)
            if self.centred:
                own[:3, 3] += centre_of(self.affine, self.shape) - centre_of(own, image.shape)
            return np.clip(to_grid(image, own, self.affine, self.shape), 0, 1)
        except UserError as error:
            raise UserError(f"{self.folder / TABLE} line {self.rows[row]['line']}, {path.name}: {error}") from None

    def cache_path(self, row: int) -> Path | None:
        """The cache file of one row: its name changes with the source file and with the grid."""
        if self.cache_dir is None:
            return None
        path = self.paths[row]
        state = path.stat()
        key = [str(path.resolve()), state.st_size, state.st_mtime_ns, self.shape, self.affine.tolist(), self.crop]
        if self.window is not None or self.centred:
            key.append([self.window, self.centred])
        return self.cache_dir / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]}.npy"

    def facts(self, row: int) -> dict:
        """A row without its image."""
        return {"conditions": encode(self.rows[row]["requested"], self.rules), "row": row}

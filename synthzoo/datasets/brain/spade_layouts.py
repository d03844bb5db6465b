"""Training data of label generators and painters: phantoms, or the folders in which the two papers' code reads it.

    labels, 2D   <dir>/<split>/*.npy, shares (C, H, W), and <dir>/<split>.tsv: label, wmh, tumour, edema, slice_no
    labels, 3D   <dir>/<split>.tsv: label, a NIfTI of shares (X, Y, Z, C); a column for each condition, 0 to 1
    pairs, 2D    <dir>/images_<split>/*.npz (img, H x W x 1), <dir>/labels_<split>/*.npz (label, H x W x 1 x C);
                 names are Modality_Dataset_subject_slice_lesions, and the slices of a subject serve each other as style
    pairs, 3D    <dir>/<split>.tsv: label, and a column for each sequence with a NIfTI (X, Y, Z) or "none"

Paths of a table are absolute, or relative to its folder or to that of the split.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.datasets.brain.label_slices import TRAINED_ON, LabelSlices, PaintedSlices
from synthzoo.datasets.brain.label_volumes import LabelVolumes, PaintedVolumes
from synthzoo.errors import UserError
from synthzoo.io.tables import number_in, table_cells
from synthzoo.io.volumes import read_volume
from synthzoo.phantoms.brain.painting import PEAK

FORMATS = ("phantom", "published")
SPLITS = ("train", "validation", "test")
COLUMNS_2D = ("wmh", "tumour", "edema", "slice_no")
COLUMNS_3D = ("wmh", "tumour", "edema", "gdtumour")
MISSING = ("", "none", "n/a")
OFF = 0.02  # by how much the shares of a voxel may miss their sum of 1
LONGEST_NAMED = 3


def training_labels(
    data_format: str,
    dataset_dir: str | Path = "",
    split: str = "train",
    columns: Sequence[str] = COLUMNS_2D,
    classes: int = 9,
    dims: int = 2,
    **phantom: Any,
) -> Dataset:
    """Rows {"labels": float32 (K, ...), "conditions": float32 (n,), "row"} for a label generator.

    Args:
        data_format: "phantom" draws `LabelSlices`, or `LabelVolumes`; "published" reads `dataset_dir`.
        dataset_dir: see the module; empty for phantoms.
        split: "train", "validation" or "test".
        columns, classes: of the published layout, see `PublishedLabels`.
        dims: 2 for slices, 3 for volumes.
        phantom: settings of the phantoms' data set.

    Raises:
        UserError: an unknown format, a format without its folder or a folder without its format, and what the data
            sets say.
    """
    check_format(data_format, dataset_dir)
    if data_format == "phantom":
        return (LabelSlices if dims == 2 else LabelVolumes)(split=split, **phantom)
    return PublishedLabels(dataset_dir, split, columns, classes)


def training_pairs(
    data_format: str,
    dataset_dir: str | Path = "",
    split: str = "train",
    contrasts: Sequence[str] = TRAINED_ON,
    dims: int = 2,
    **phantom: Any,
) -> Dataset:
    """Rows {"labels", "image", "style", "other_style", "row"} for a painter of slices, or of volumes.

    Args:
        data_format, dataset_dir, split, dims: see `training_labels`.
        contrasts: of phantoms, see `PaintedSlices`.
        phantom: settings of the phantoms' data set.

    Raises:
        UserError: see `training_labels`.
    """
    check_format(data_format, dataset_dir)
    if data_format == "phantom":
        return (PaintedSlices if dims == 2 else PaintedVolumes)(contrasts, split=split, **phantom)
    return (PublishedPairs if dims == 2 else PublishedVolumes)(dataset_dir, split)


def check_format(data_format: str, dataset_dir: str | Path) -> None:
    """Make sure that a format is known and has a folder if it needs one.

    Raises:
        UserError: it is not, or has not.
    """
    if data_format not in FORMATS:
        raise UserError(f"data_format = {data_format!r}: the known ones are {', '.join(FORMATS)}.")
    if (data_format == "phantom") != (str(dataset_dir) == ""):
        remedy = "add --data_format published to read it" if dataset_dir else "give the folder of the data set"
        raise UserError(f"data_format is {data_format}, but dataset_dir is {str(dataset_dir)!r}: {remedy}.")


class PublishedLabels(Dataset):
    """Label maps of a table in a published layout as {"labels": float32 (C, ...), "conditions", "row"}.

    Args:
        folder: of the data set.
        split: whose table is read.
        columns: of the conditions, in the order of the vector; an empty cell is NaN, left out.
        classes: channels C of a NIfTI.

    Raises:
        UserError: no table, a column that is missing, a row without its file or with a value outside [0, 1].
    """

    def __init__(self, folder: str | Path, split: str, columns: Sequence[str] = COLUMNS_2D, classes: int = 9) -> None:
        self.table, self.classes = split_table(Path(folder), split), int(classes)
        self.rows: list[tuple[Path, list[float]]] = []
        hint = f"its columns are label, {', '.join(columns)}"
        for line, cells in table_cells(self.table, ["label", *columns], "make the table", hint, "label map", None):
            where = f"{self.table} line {line}: "
            values = [number_in(cells, name, where, 0, 1) for name in columns]
            path = path_of(cells["label"], self.table, split, where)
            self.rows.append((path, [float("nan") if value is None else value for value in values]))

    def __len__(self) -> int:
        return len(self.rows)

    def truth(self, row: int) -> dict[str, Any]:
        """The conditions of a row, and its number."""
        return {"conditions": torch.tensor(self.rows[row][1], dtype=torch.float32), "row": row}

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        return {"labels": torch.from_numpy(read_shares(self.rows[row][0], self.classes)), **self.truth(row)}


class PublishedPairs(Dataset):
    """Slices of the published two-dimensional layout with their labels and two other slices of the subject for style.

    Rows are {"labels": (C, H, W), "image", "style", "other_style": (1, H, W), "row"}, float32; images are brought from
    z-scores or any other levels to [0, 1], the subject's brightest near `PEAK`, their background to 0.

    Args:
        folder: of the data set.
        split: of it.

    Raises:
        UserError: a folder that is missing or empty, a name of another form, an image without its labels.
    """

    def __init__(self, folder: str | Path, split: str) -> None:
        images, labels = (Path(folder) / f"{kind}_{split}" for kind in ("images", "labels"))
        found = sorted(images.glob("*.npz")) if images.is_dir() else []
        if not found:
            raise UserError(f"{images}: holds no .npz: the published layout has images_{split} and labels_{split}.")
        self.paths: list[tuple[Path, Path]] = []
        self.subjects: dict[tuple[str, ...], list[int]] = {}
        for path in found:
            parts = path.stem.split("_")
            if len(parts) < 4:
                raise UserError(f"{path}: must be called Modality_Dataset_subject_slice_lesions.npz.")
            beside = [labels / path.name, labels / "_".join(parts[1:])]
            own = next((one for one in (beside[0], beside[1].with_suffix(".npz")) if one.is_file()), None)
            if own is None:
                raise UserError(f"{path}: has no labels {beside[0]}; add the file or remove the image.")
            self.subjects.setdefault(tuple(parts[:3]), []).append(len(self.paths))
            self.paths.append((path, own))
        self.group = {row: rows for rows in self.subjects.values() for row in rows}

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, row: int) -> np.ndarray:
        """The image of a row, float32 (H, W) in [0, 1]."""
        return scaled(np.squeeze(read_npz(self.paths[row][0], "img")).astype(np.float32))

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        others = [other for other in self.group[row] if other != row] or [row]
        style, other = (others[int(np.random.randint(len(others)))] for _ in range(2))
        labels = np.squeeze(read_npz(self.paths[row][1], "label"), 2).astype(np.float32)
        found = {name: self.image(one) for name, one in {"image": row, "style": style, "other_style": other}.items()}
        return {
            "labels": torch.from_numpy(checked_shares(np.moveaxis(labels, -1, 0), self.paths[row][1])),
            **{name: torch.from_numpy(image)[None] for name, image in found.items()},
            "row": row,
        }


class PublishedVolumes(Dataset):
    """Volumes of the published three-dimensional layout with their labels and axial slices for style.

    Rows are {"labels": (C, X, Y, Z), "image": (1, X, Y, Z), "style", "other_style": (1, X, Y), "row"}, float32; a
    style is a slice of the middle third of the same volume. A subject has a row for each of its sequences.

    Args:
        folder, split: of the data set.
        sequences: columns of the table.
        classes: channels C of a label map.

    Raises:
        UserError: see `PublishedLabels`; a row without any sequence.
    """

    def __init__(
        self, folder: str | Path, split: str, sequences: Sequence[str] = ("T1", "FLAIR", "T2"), classes: int = 10
    ) -> None:
        self.table, self.classes = split_table(Path(folder), split), int(classes)
        self.rows: list[tuple[Path, Path]] = []
        hint = f"its columns are label, {', '.join(sequences)}"
        for line, cells in table_cells(self.table, ["label", *sequences], "make the table", hint, "subject", None):
            where = f"{self.table} line {line}: "
            label = path_of(cells["label"], self.table, split, where)
            given = [cells[name.lower()].strip() for name in sequences]
            there = [path_of(one, self.table, split, where) for one in given if one.lower() not in MISSING]
            if not there:
                raise UserError(f"{where}has no image in {', '.join(sequences)}; give one or remove the row.")
            self.rows += [(label, path) for path in there]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        label, path = self.rows[row]
        image = torch.from_numpy(scaled(read_volume(path)[0][0]))[None]
        low, high = image.shape[-1] // 3, max(2 * image.shape[-1] // 3, image.shape[-1] // 3 + 1)
        style, other = (image[..., int(np.random.randint(low, high))] for _ in range(2))
        labels = torch.from_numpy(read_shares(label, self.classes))
        return {"labels": labels, "image": image, "style": style, "other_style": other, "row": row}


def split_table(folder: Path, split: str) -> Path:
    """The table of a split: `<split>.tsv` in the data set's folder, or the one table in the split's own.

    Raises:
        UserError: an unknown split, or neither.
    """
    if split not in SPLITS:
        raise UserError(f"split = {split!r}: must be {', '.join(SPLITS)}.")
    inside = sorted((folder / split).glob("*.tsv")) if (folder / split).is_dir() else []
    found = [folder / f"{split}.tsv"] if (folder / f"{split}.tsv").is_file() else inside
    if len(found) != 1:
        raise UserError(f"{folder}: needs one table {split}.tsv, and has {len(found)}; see the card for its columns.")
    return found[0]


def path_of(cell: str, table: Path, split: str, where: str) -> Path:
    """The file that a cell names.

    Raises:
        UserError: there is none.
    """
    name = cell.strip()
    for path in (Path(name), table.parent / name, table.parent / split / name):
        if name and path.is_file():
            return path
    raise UserError(f"{where}{name or 'an empty cell'} is no file; correct the cell or remove the row.")


def read_shares(path: Path, classes: int) -> np.ndarray:
    """Label maps float32 (C, ...) of a .npy (C, H, W) or a NIfTI (X, Y, Z, C); see `checked_shares`."""
    if path.suffix != ".npy":
        return checked_shares(read_volume(path, classes)[0], path)
    try:
        shares = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise UserError(f"label map {path} cannot be read as .npy: export it again with numpy.save.") from None
    if shares.ndim != 3:
        raise UserError(f"label map {path} has shape {shares.shape}; a slice has (C, H, W).")
    return checked_shares(shares.astype(np.float32), path)


def checked_shares(shares: np.ndarray, path: Path) -> np.ndarray:
    """Shares (C, ...) whose background, the first, is what the others leave.

    Raises:
        UserError: shares outside [0, 1], or whose sum is above 1.
    """
    others = shares[1:].sum(0)
    if not np.isfinite(shares).all() or shares.min() < -OFF or others.max() > 1 + OFF:
        raise UserError(
            f"label map {path} lies between {shares.min():g} and {shares.max():g}, its classes' sum at most "
            f"{others.max():g}: give the share of each voxel, from 0 to 1, whose sum is 1."
        )
    shares = np.clip(shares, 0, 1)
    shares[0] = np.clip(1 - shares[1:].sum(0), 0, 1)
    return (shares / shares.sum(0)).astype(np.float32)


def read_npz(path: Path, key: str) -> np.ndarray:
    """One array of a .npz file.

    Raises:
        UserError: the file cannot be read, or lacks the array.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            names = list(held.files)
            if key in names:
                return held[key]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{path} cannot be read as .npz: export it again with numpy.savez.") from None
    raise UserError(f"{path}: has no array '{key}', only {', '.join(names[:LONGEST_NAMED])}; export it with that name.")


def scaled(image: np.ndarray) -> np.ndarray:
    """Levels of any range as [0, 1]: the commonest level at the border is background and becomes 0."""
    border = np.concatenate([image[:1].ravel(), image[-1:].ravel()])
    inside = np.abs(image - float(np.median(border))) > 1e-6
    if not inside.any():
        return np.zeros_like(image)
    low, high = np.percentile(image[inside], (0.1, 98))
    return np.where(inside, ((image - low) / max(high - low, 1e-6) * PEAK).clip(0, 1), 0).astype(np.float32)

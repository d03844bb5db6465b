"""Images of classes of which few have a label, as rows of training: garments, chest findings in 2D and 3D, own files.

The unlabelled images of a step are drawn from all training images, labelled ones among them, as FixMatch and Semi-ViT
do; validation and test images are in neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from synthzoo.cases.images import LoadPictured
from synthzoo.datasets.garments.phantoms import GarmentPhantoms
from synthzoo.datasets.labelled_images import (
    UNLABELLED,
    ImageList,
    hide_labels,
    read_image_csv,
    read_image_folders,
    tell_balance,
)
from synthzoo.errors import UserError
from synthzoo.phantoms.garments.params import FABRICS
from synthzoo.systems.semi_vit.chest import CHEST_CLASSES, CT_CLASSES, chest_cts, chest_radiographs
from synthzoo.transforms.radiograph_grid import ToRadiographGridd

FORMATS = ("phantom", "chest", "chest_ct", "csv", "folders")
PLAIN = FABRICS.index("plain")


class ClassImages(Dataset):
    """Rows {"image": float32 (C, *S) in [0, 1], "label": int64, "truth": int64}, -1 where there is none.

    Attributes:
        labels: int64 (N,), places in `classes` that training may see, or `UNLABELLED`.
        truth: int64 (N,), of all images where it is known, which only measures.
        classes: names in the order of the network's outputs.
        name: of the data set, for sentences.

    Args:
        images: row -> float32 (C, *S) or uint8, of which 255 is 1.
        labels, truth, classes, name: see above.
    """

    def __init__(
        self,
        images: Sequence[Any] | np.ndarray,
        labels: np.ndarray,
        truth: np.ndarray,
        classes: Sequence[str],
        name: str,
    ) -> None:
        self.images, self.labels, self.truth = images, np.asarray(labels), np.asarray(truth)
        self.classes, self.name = tuple(classes), name

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, row: int) -> torch.Tensor:
        """float32 (C, *S) in [0, 1] of a row."""
        found = np.asarray(self.images[int(row)])
        levels = found.astype(np.float32)
        return torch.from_numpy(levels / 255 if found.dtype == np.uint8 else levels)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        return {
            "image": self.image(row),
            "label": torch.tensor(self.labels[row]),
            "truth": torch.tensor(self.truth[row]),
        }

    def labelled(self) -> np.ndarray:
        """Rows that have a label, int64."""
        return np.flatnonzero(self.labels != UNLABELLED)


class LabelledRows(Dataset):
    """The labelled images of a set, each beside some that are drawn from all of it without their labels.

    A row is {"image": (C, *S), "label": int64, "others": (mu, C, *S), "others_truth": int64 (mu,)}; without others the
    last two are left out.

    Args:
        images: of training.
        others: mu, unlabelled images for each labelled one, 0 for supervised training.
        told: print the balance of the classes, with what a person should know of it, to stderr.

    The others are drawn from numpy's global generator, which `SeededLoader` seeds for every draw.

    Raises:
        UserError: no image has a label.
    """

    def __init__(self, images: ClassImages, others: int = 0, told: bool = False) -> None:
        self.images, self.others, self.rows = images, int(others), images.labelled()
        if told or not len(self.rows):
            tell_balance(images.labels, images.classes, images.name)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        found = self.images[int(self.rows[row])]
        item = {name: found[name] for name in ("image", "label")}
        if self.others:
            drawn = np.random.randint(len(self.images), size=self.others)
            item["others"] = torch.stack([self.images.image(one) for one in drawn])
            item["others_truth"] = torch.from_numpy(self.images.truth[drawn])
        return item


class AllRows(Dataset):
    """Every image of a set without its label, {"image": (C, *S)}, for masked autoencoding.

    Args:
        images: of training.
    """

    def __init__(self, images: ClassImages) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        return {"image": self.images.image(row)}


class FileImages(Sequence):
    """Pictures of files on the network's square grid, between bars, read when they are asked for.

    Args:
        listed: the files.
        size: pixels of the grid.
        channels: 3, or 1 for grey.
    """

    def __init__(self, listed: ImageList, size: int, channels: int = 3) -> None:
        self.listed = listed
        self.read = LoadPictured("image", channels, "average" if channels == 1 else "refuse")
        self.place = ToRadiographGridd("image", size, "pad", "none")

    def __len__(self) -> int:
        return len(self.listed)

    def __getitem__(self, row: Any) -> np.ndarray:
        placed = self.place(self.read({"image": str(self.listed.paths[row])}))
        return np.asarray(torch.as_tensor(placed["image"]).as_subclass(torch.Tensor))


def class_images(
    data_format: str = "phantom",
    dataset_dir: str = "",
    split: str = "train",
    size: int = 64,
    labelled_share: float = 1.0,
    seed: int = 0,
    count: int = 4000,
    channels: int = 3,
    shift: bool = False,
    index: str | None = None,
    classes: Sequence[str] | None = None,
    cache_dir: str | None = None,
) -> ClassImages:
    """The images of one split.

    Args:
        data_format: "phantom" are garments, "chest" radiographs and "chest_ct" CT of chest phantoms; "csv" has the
            columns path, label and split; "folders" are train/<class>/* and val/<class>/*, see
            `synthzoo.datasets.labelled_images`.
        dataset_dir: the CSV or the folder; empty for phantoms.
        split: "train", "validation" or "test".
        size: pixels of a side; voxels along the longest axis of a CT.
        labelled_share: share of the labels of the training images that training may see, stratified.
        seed: of which labels.
        count: phantoms.
        channels: of files, 3, or 1 for grey.
        shift: only garments of plain fabric may have a label, so that labelled and unlabelled images differ.
        index: of "folders", the file in `indexes` that says which images have labels.
        classes: names of a set of one's own in the order of the network's outputs; None sorts them.
        cache_dir: keeps phantoms.

    Raises:
        UserError: an unknown format, a format without its path or a path without its format, and what the readers say.
    """
    if data_format not in FORMATS:
        raise UserError(f"data_format = {data_format!r}: the known ones are {', '.join(FORMATS)}.")
    own = data_format in ("csv", "folders")
    if own != bool(dataset_dir):
        wanted = "name the CSV or the folder by --dataset_dir" if own else "say --data_format csv or folders"
        raise UserError(f"data_format is {data_format} and dataset_dir is '{dataset_dir}': {wanted}.")
    if shift and data_format != "phantom":
        raise UserError(f"shift = true: only garment phantoms have fabrics, but data_format is {data_format}.")
    if own:
        return _of_files(data_format, dataset_dir, split, size, labelled_share, seed, channels, index, classes)
    eligible = None
    if data_format == "phantom":
        garments = GarmentPhantoms(count, split, size, cache_dir=cache_dir)
        images, truth, names, name = garments.pixels, garments.labels, garments.classes, garments.name
        eligible = garments.fabrics == PLAIN if shift else None
    elif data_format == "chest":
        images, truth = chest_radiographs(count, split, size, cache_dir)
        names, name = CHEST_CLASSES, "chest phantoms"
    else:
        images, truth = chest_cts(count, split, size, cache_dir)
        names, name = CT_CLASSES, "CT of chest phantoms"
    labels = truth if split != "train" else hide_labels(truth, labelled_share, seed, eligible)
    return ClassImages(images, labels, truth, names, name)


def _of_files(
    data_format: str,
    dataset_dir: str,
    split: str,
    size: int,
    labelled_share: float,
    seed: int,
    channels: int,
    index: str | None,
    classes: Sequence[str] | None,
) -> ClassImages:
    if data_format == "csv":
        listed = read_image_csv(dataset_dir, split, classes)
    else:
        listed = read_image_folders(dataset_dir, split, index, classes)
    labels = listed.labels
    if split == "train" and labelled_share < 1:
        labels = hide_labels(labels, labelled_share, seed)
    return ClassImages(FileImages(listed, size, channels), labels, listed.labels, listed.classes, listed.name)

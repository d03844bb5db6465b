"""Images of classes of which only some have a label: a user's own CSV, folders named by class, and their balance.

A CSV has the columns path, label and split. A path is relative to the CSV's folder, an empty label means that the image
has none, and a split is train, validation or test:

    path,label,split
    images/0001.jpg,v neck,train
    images/0002.jpg,,train
    images/0003.jpg,boat neck,test

Folders are those of Semi-ViT (Cai et al., NeurIPS 2022, arXiv 2208.05688) and of ImageNet: `train/<class>/*`,
`val/<class>/*` and, optionally, `indexes/*_index.csv`, whose column Index counts the images of `train` in the order of
torchvision's ImageFolder; the images that it names have labels.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthzoo.errors import UserError
from synthzoo.io.tables import integer_in, table_cells

UNLABELLED = -1  # in place of a class
SPLITS = ("train", "validation", "test")
OTHER_NAMES = {"val": "validation", "valid": "validation", "training": "train", "testing": "test"}
HINT = "it has the columns path, label and split; an empty label means that the image has none"
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # that ImageFolder counts
HELD_BACK = 0.2  # of the labelled images of a data set that has no validation split of its own
FEW = 5  # labelled images of a class below which a person should know
SKEWED = 10.0  # ratio of the largest to the smallest class from which a person should know


@dataclass(frozen=True)
class ImageList:
    """Images and their classes, one split.

    Attributes:
        paths: of the files.
        labels: int64 (N,), a place in `classes`, or `UNLABELLED`.
        classes: names, in their order.
        name: of the data set, for sentences.
        split: "train", "validation" or "test".
    """

    paths: list[Path]
    labels: np.ndarray
    classes: tuple[str, ...]
    name: str
    split: str

    def __len__(self) -> int:
        return len(self.paths)


def read_image_csv(path: str | Path, split: str = "train", classes: Sequence[str] | None = None) -> ImageList:
    """The images of one split of a CSV with the columns path, label and split.

    Args:
        path: the CSV.
        split: "train", "validation" or "test".
        classes: names in the order of the network's outputs; None takes those of the CSV, sorted.

    Raises:
        UserError: what `table_cells` says; a file that is not there or stands twice, a label that is none of
            `classes`, a validation or test image without a label, a class without a labelled training image, a split
            without images.
    """
    path, wanted = Path(path), chosen_split(split, "split")
    rows: list[tuple[int, Path, str, str]] = []
    lines: dict[str, int] = {}
    for line, cells in table_cells(path, ("path", "label", "split"), "give the path of a CSV", HINT, "image"):
        where, text = f"{path} line {line}", cells["path"].strip()
        if not text:
            raise UserError(f"{where}: path is empty; name an image or remove the line.")
        if text in lines:
            raise UserError(f"{where}: {text} stands already in line {lines[text]}; keep one.")
        lines[text] = line
        part, label = chosen_split(cells["split"], where), cells["label"].strip()
        if part != "train" and not label:
            raise UserError(f"{where}: a {part} image has no label, so it measures nothing; give one or say train.")
        file = path.parent / text
        if not file.is_file():
            raise UserError(f"{where}: {text} is not there; paths are relative to {path.parent}.")
        rows.append((line, file, label, part))
    known = tuple(classes) if classes is not None else tuple(sorted({label for *_, label, _ in rows if label}))
    if len(known) < 2:
        raise UserError(f"{path}: has {len(known)} class, at least 2 are needed; fill the column label.")
    place = {name: number for number, name in enumerate(known)}
    for line, _, label, _ in rows:
        if label and label not in place:
            raise UserError(f"{path} line {line}: label '{label}' is none of {', '.join(known)}; correct the cell.")
    trained = {label for *_, label, part in rows if part == "train" and label}
    absent = [name for name in known if name not in trained]
    if absent:
        raise UserError(
            f"{path}: class '{absent[0]}' has no labelled training image; label at least one, or remove the class."
        )
    chosen = [(file, label) for _, file, label, part in rows if part == wanted]
    if not chosen:
        raise UserError(f"{path}: has no image of the split {wanted}; write {wanted} into the column split of some.")
    labels = np.array([place[label] if label else UNLABELLED for _, label in chosen], dtype=np.int64)
    return ImageList([file for file, _ in chosen], labels, known, str(path), wanted)


def read_image_folders(
    dataset_dir: str | Path,
    split: str = "train",
    index: str | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
) -> ImageList:
    """The images of one split of `<dataset_dir>/train/<class>/*` and `<dataset_dir>/val/<class>/*`.

    The published layout has no validation split: a fifth of the labelled training images, at least one of each class
    that has two, validates and is not trained on; `val` is the test split.

    Args:
        dataset_dir: the folder.
        split: "train", "validation" or "test".
        index: name of a file in `<dataset_dir>/indexes`, such as "1_percent_index.csv"; None labels all.
        classes: names in the order of the network's outputs; None takes the folders, sorted.
        seed: of which labelled images validate.

    Raises:
        UserError: a folder that is not there or holds no image, classes that differ, an index out of range.
    """
    root, wanted = Path(dataset_dir), chosen_split(split, "split")
    folder = root / ("val" if wanted == "test" else "train")
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: {root} must have train/<class>/* and val/<class>/*.")
    # As torchvision's ImageFolder counts: classes sorted, and within each the folders and the files sorted.
    found = sorted(one.name for one in folder.iterdir() if one.is_dir())
    known = tuple(classes) if classes is not None else tuple(found)
    unknown = [name for name in found if name not in known]
    if len(found) < 2 or unknown:
        raise UserError(f"{folder} has the classes {', '.join(found) or 'none'}; needed are {', '.join(known) or '2'}.")
    paths, labels = [], []
    for name in found:
        for inside in sorted((one for one in [folder / name, *(folder / name).rglob("*")] if one.is_dir()), key=str):
            files = [file for file in sorted(inside.iterdir()) if file.suffix.lower() in ENDINGS]
            paths += files
            labels += [known.index(name)] * len(files)
    if not paths:
        raise UserError(f"{folder} holds no images; their names must end in {', '.join(ENDINGS)}.")
    numbers = np.array(labels, dtype=np.int64)
    if wanted == "test":
        return ImageList(paths, numbers, known, str(root), wanted)
    if index is not None:
        shown = _indices(root / "indexes" / index, len(paths))
        numbers = np.where(np.isin(np.arange(len(paths)), shown), numbers, UNLABELLED)
    validates = hold_back(numbers, HELD_BACK, seed)
    rows = np.flatnonzero(validates if wanted == "validation" else ~validates)
    if not len(rows):
        raise UserError(f"{root}: no class has two labelled images, so none can validate; label more.")
    return ImageList([paths[row] for row in rows], numbers[rows], known, str(root), wanted)


def _indices(path: Path, count: int) -> np.ndarray:
    hint = "it has the column Index"
    rows = table_cells(path, ("Index",), "name a file of the folder indexes", hint, "labelled image")
    found = [integer_in(cells, "Index", f"{path} line {line}: ", 0, count - 1) for line, cells in rows]
    return np.array([number for number in found if number is not None], dtype=np.int64)


def hide_labels(labels: np.ndarray, share: float, seed: int, eligible: np.ndarray | None = None) -> np.ndarray:
    """Labels of which a share is left, stratified, at least one of each class; the others are `UNLABELLED`.

    Args:
        labels: int64 (N,).
        share: in (0, 1], of all images that have a label.
        seed: of which are left; a larger share has all labels of a smaller one of the same seed.
        eligible: bool (N,), images whose label may be left; None lets all.

    Raises:
        UserError: a share out of range; a class without an eligible image.
    """
    if not 0 < share <= 1:
        raise UserError(f"labelled_share = {share!r}: the share of labels that are used is above 0 and at most 1.")
    left = np.full(len(labels), UNLABELLED, dtype=np.int64)
    for number in np.unique(labels[labels != UNLABELLED]):
        rows = np.flatnonzero(labels == number)
        order = np.random.default_rng([seed, 611, int(number)]).permutation(rows)
        if eligible is not None:
            order = order[eligible[order]]
        if not len(order):
            raise UserError(f"class {number} has no image whose label may be used: let more images be eligible.")
        left[order[: max(1, round(share * len(rows)))]] = number
    return left


def hold_back(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which images validate, bool (N,): a share of the labelled ones of each class, one at least where it has two."""
    chosen = np.zeros(len(labels), bool)
    for number in np.unique(labels[labels != UNLABELLED]):
        rows = np.flatnonzero(labels == number)
        if len(rows) > 1:
            order = np.random.default_rng([seed, 612, int(number)]).permutation(rows)
            chosen[order[: max(1, round(share * len(rows)))]] = True
    return chosen


def chosen_split(split: str, where: str) -> str:
    """A split's name as this module has it.

    Raises:
        UserError: another word.
    """
    name = str(split).strip().lower()
    name = OTHER_NAMES.get(name, name)
    if name not in SPLITS:
        raise UserError(f"{where}: split '{split}' must be {', '.join(SPLITS)}.")
    return name


def describe_balance(labels: np.ndarray, classes: Sequence[str], name: str) -> str:
    """What a person should know of the labels before a training, one line and a warning a line.

    Args:
        labels: int64 (N,) of the training images.
        classes: their names.
        name: of the data set.

    Raises:
        UserError: no image has a label.
    """
    counts = Counter(labels[labels != UNLABELLED].tolist())
    labelled = sum(counts.values())
    if not labelled:
        raise UserError(f"{name}: not one of {len(labels)} training images has a label; label some of each class.")
    sizes = {classes[number]: counts.get(number, 0) for number in range(len(classes))}
    few, many = min(sizes, key=lambda one: sizes[one]), max(sizes, key=lambda one: sizes[one])
    share = 100 * labelled / len(labels)
    said = [
        f"{name}: {len(labels)} training images of {len(classes)} classes, {labelled} labelled ({share:.1f} %), "
        f"{sizes[few]} ({few}) to {sizes[many]} ({many}) a class."
    ]
    scarce = [one for one, count in sizes.items() if count < FEW]
    if scarce:
        said.append(f"warning: fewer than {FEW} labelled images of {', '.join(scarce)}: label more of them.")
    if sizes[few] and sizes[many] / sizes[few] > SKEWED:
        ratio = sizes[many] / sizes[few]
        said.append(
            f"warning: {many} has {ratio:.0f} times the labels of {few}: pseudo-labels will favour it; label more of "
            f"{few}."
        )
    return "\n".join(said)


def tell_balance(labels: np.ndarray, classes: Sequence[str], name: str) -> None:
    """Print `describe_balance` to stderr."""
    print(describe_balance(labels, classes, name), file=sys.stderr)

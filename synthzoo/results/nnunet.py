"""nnU-Net's raw layout of a labelled data set, beside its BIDS folders: a channel for each contrast, labels 0 to N.

`nnUNet_raw/DatasetNNN_<bundle>/` holds `imagesTr/<case>_0000.nii.gz` and so on, `labelsTr/<case>.nii.gz` and
`dataset.json`. Images are hard links to the files of the cases or, where the file system has none, copies: the same
bytes. So are label maps whose values are 1 to N; others are written with consecutive values on the same grid. Files are
placed whole or not at all, and `dataset.json`, without which nnU-Net reads no folder, is taken away before anything
changes and written last.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

import synthzoo
from synthzoo.cases.table import CaseTable
from synthzoo.errors import UserError
from synthzoo.io.files import atomic_path, write_bytes, write_json
from synthzoo.io.images import png_bytes
from synthzoo.io.kinds import stem
from synthzoo.io.licences import licence_of
from synthzoo.io.marks import read_mark, with_mark
from synthzoo.io.nifti import nifti_bytes, spaces_of
from synthzoo.results.case_files import CaseFiles, CaseSet, label_output

RAW = "nnUNet_raw"  # the environment variable that nnU-Net reads may name this folder
DATASET_ID = 501  # up to 10 they are those of the Medical Segmentation Decathlon
RESERVED = ("background", "ignore")
READABLE = (".nii.gz", ".nii", ".png")


def write_nnunet(
    table: CaseTable, found: CaseSet, dataset_id: int = DATASET_ID, name: str | None = None
) -> Path | None:
    """Bring nnU-Net's folder of a data set up to its complete cases.

    Args:
        table: of the cases.
        found: the cases; those of DICOM objects, which nnU-Net does not read, get no folder.
        dataset_id: 1 to 999; a folder of another number is renamed.
        name: of the set, for dataset.json; None takes the bundle's.

    Returns:
        the folder; None where no case has an image and a label map of one kind of file.

    Raises:
        UserError: cases of different contrasts, a label map that is missing or holds a value without a name, or
            regions of unknown names.
    """
    rows = [(case, *_used(table, case)) for case in found.cases]
    labelled = [row for row in rows if row[1] is not None and row[2]]
    if not labelled:
        return None
    channels = list(labelled[0][2])
    for case, label, images in rows:
        if label is None or list(images) != channels:
            has = ", ".join(images) or "none"
            raise UserError(
                f"{case.case} has {'no label map' if label is None else f'the contrasts {has}'}, but nnU-Net needs "
                f"{', '.join(channels)} and a label map of every case, as {labelled[0][0].case} has: delete the folder "
                "of this case to have it again."
            )
    root = table.output_dir / RAW
    folder = _folder(root, f"Dataset{dataset_id:03d}_{re.sub(r'[^0-9A-Za-z]+', '_', table.bundle or 'synthzoo')}")
    names = found.names or _unnamed([label for _, label, _ in labelled])
    numbers = {value: number for number, value in enumerate(sorted(names), start=1)}
    ending = _ending(labelled[0][1])
    jobs: dict[Path, Callable[[], None]] = {}
    wanted: set[Path] = set()
    for case, label, images in labelled:
        for number, image in enumerate(images.values()):
            target = folder / "imagesTr" / f"{case.case}_{number:04d}{ending}"
            wanted.add(target)
            if not image.is_file():
                raise UserError(f"image {image} is missing: delete the folder of its case to have it again.")
            if not is_placed(image, target):
                jobs[target] = _linking(image, target)
        target = folder / "labelsTr" / f"{case.case}{ending}"
        wanted.add(target)
        if job := _label_job(label, target, numbers):
            jobs[target] = job
    stale = [path for part in ("imagesTr", "labelsTr") for path in (folder / part).glob("*") if path not in wanted]
    description = folder / "dataset.json"
    if jobs or stale:
        description.unlink(missing_ok=True)
    for path in stale:
        path.unlink()
    for job in jobs.values():
        job()
    write_json(description, _description(table, channels, names, len(labelled), ending, name))
    return folder


def is_placed(source: Path, target: Path) -> bool:
    """Whether `target` is `source` once more: the same file, or the same bytes."""
    with suppress(FileNotFoundError):
        return os.path.samefile(source, target) or filecmp.cmp(source, target, shallow=False)
    return False


def place(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy where the file system has no hard links.

    Raises:
        StorageError: see `synthzoo.io.files.atomic_path`.
    """
    with atomic_path(target, durable=False) as temporary:
        temporary.unlink(missing_ok=True)  # never write into what may be a link itself
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _linking(source: Path, target: Path) -> Callable[[], None]:
    return lambda: place(source, target)


def _used(table: CaseTable, case: CaseFiles) -> tuple[Path | None, dict[str, Path]]:
    """The label map of a case and its images of the same kind of file."""
    stated = stem(str(label_output(table).get("suffix", "dseg.nii.gz")))
    labels = {key: path for key, path in case.labels.items() if path.name.endswith(READABLE) and "probseg" not in key}
    label = labels.get(stated) or next(iter(labels.values()), None)
    if label is None:
        return None, {}
    return label, {key: path for key, path in case.images.items() if _ending(path) == _ending(label)}


def _ending(path: Path) -> str:
    return path.name[len(stem(path.name)) :]


def _folder(root: Path, name: str) -> Path:
    """The folder of this name; what an earlier run called by another number is renamed."""
    folder = root / name
    earlier = sorted(root.glob(f"Dataset[0-9][0-9][0-9]{name[10:]}"))
    if earlier and folder not in earlier:
        earlier[0].rename(folder)
    return folder


# --- label maps ------------------------------------------------------------------------------------------------------


def _values(path: Path) -> np.ndarray:
    """A label map's array of integers.

    Raises:
        UserError: it is missing or cannot be read.
    """
    try:
        if path.name.endswith(".png"):
            with Image.open(path) as picture:
                return np.asarray(picture)
        return np.asarray(nib.load(path).dataobj)
    except Exception as error:
        raise UserError(
            f"label map {path} cannot be read ({error}): delete the folder of its case to have it again."
        ) from None


def _unnamed(labels: Sequence[Path]) -> dict[int, str]:
    """Names of values of which nobody says what they mean."""
    values = sorted({int(value) for path in labels for value in np.unique(_values(path)) if value})
    return {value: f"label {value}" for value in values}


def _label_job(source: Path, target: Path, numbers: Mapping[int, int]) -> Callable[[], None] | None:
    """What has to be done so that `target` is the label map with consecutive values; None where it is."""
    same = all(value == number for value, number in numbers.items())
    if same and is_placed(source, target):
        return None
    array = _values(source)
    unknown = sorted(set(np.unique(array).tolist()) - {0, *numbers})
    if unknown:
        raise UserError(
            f"label map {source} holds the value {unknown[0]}, which has no name: state it in the sidecar's labels, or "
            "in synthzoo.outputs.label.names of the bundle's metadata.json."
        )
    if same:
        return _linking(source, target)
    if target.is_file() and target.read_bytes() == _numbered(source, array, numbers):
        return None
    return lambda: write_bytes(target, _numbered(source, _values(source), numbers))


def _numbered(source: Path, array: np.ndarray, numbers: Mapping[int, int]) -> bytes:
    """A label map's bytes with other values, on the same grid and with the same mark."""
    lookup = np.zeros(max(numbers, default=0) + 1, np.uint8 if len(numbers) < 256 else np.uint16)
    lookup[list(numbers)] = list(numbers.values())
    made, mark = lookup[array], read_mark(source)
    if source.name.endswith(".png"):
        return with_mark(png_bytes(made), mark)
    affine = nib.load(source).affine
    spaces = spaces_of(source, made.shape, affine)
    return nifti_bytes(made, affine, source.name.endswith(".gz"), mark=mark, spaces=spaces)


# --- dataset.json ----------------------------------------------------------------------------------------------------


def _description(
    table: CaseTable, channels: Sequence[str], names: Mapping[int, str], count: int, ending: str, name: str | None
) -> dict[str, Any]:
    parts: dict[str, int] = {}
    for number, value in enumerate(sorted(names), start=1):
        title = names[value]
        parts[f"{title} {value}" if title in parts or title in RESERVED else title] = number
    labels, order = label_entries(parts, label_output(table).get("regions") or {})
    found = {
        "name": name or f"Made by {table.bundle or 'synthzoo'}",
        "description": table.metadata.get("description", ""),
        "reference": "; ".join(table.metadata.get("references", [])),
        "licence": licence_of(table.bundle_root),
        "release": table.version or "0",
        "Synthetic": True,
        "converted_by": f"synthzoo {synthzoo.__version__}",
        "channel_names": {str(number): channel for number, channel in enumerate(channels)},
        "labels": labels,
    }
    if order is not None:
        found["regions_class_order"] = order
    return {**found, "numTraining": count, "file_ending": ending}


def label_entries(
    parts: Mapping[str, int], regions: Mapping[str, Sequence[str]]
) -> tuple[dict[str, int | list[int]], list[int] | None]:
    """The `labels` of dataset.json and its `regions_class_order`, None without regions.

    A region stands before those inside of it and is written as the value that none of these holds; a part that no
    region stands for has an entry of its own.

    Args:
        parts: name -> value, 1 to N.
        regions: name -> names of its parts, which regions may share.

    Raises:
        UserError: a region names a part that there is not, or has the name of a part.
    """
    if not regions:
        return {"background": 0, **parts}, None
    sets: dict[str, frozenset[int]] = {}
    for region, inside in regions.items():
        unknown = [part for part in inside if part not in parts]
        if unknown or region in parts or region in RESERVED:
            wrong = f"the part '{unknown[0]}'" if unknown else "the name of a part"
            raise UserError(f"region '{region}' of the label map has {wrong}: the parts are {', '.join(parts)}.")
        sets[region] = frozenset(parts[part] for part in inside)
    stood_for: dict[str, int] = {}
    for region, values in sorted(sets.items(), key=lambda item: len(item[1])):
        smaller = [other for other in sets.values() if other < values]
        own = sorted(values.difference(*smaller)) if smaller else sorted(values)
        free = [value for value in own if value not in stood_for.values()]
        stood_for[region] = (free or own or sorted(values))[0]
    entries: dict[str, int | list[int]] = {"background": 0}
    order = []
    for region in sorted(sets, key=lambda name: -len(sets[name])):
        entries[region] = sorted(sets[region])
        order.append(stood_for[region])
    for part, value in parts.items():
        if value not in order:
            entries[part] = value
            order.append(value)
    return entries, order

"""Files that a client sends: kept under a safe name, and refused with a sentence where they are no image."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from synthzoo.cases.images import expect_modality
from synthzoo.errors import UserError
from synthzoo.io.files import scratch_folder
from synthzoo.io.kinds import format_of_name, stem
from synthzoo.io.reading import kind_of_input, read_image
from synthzoo.io.videos import check_video
from synthzoo.io.volumes import read_volume
from synthzoo.serving.store import Job

READING = threading.Semaphore(1)


def plain_name(name: str | None) -> str:
    """A file's own name as far as that is harmless, at most 100 characters with its ending."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", Path((name or "").replace("\\", "/")).name)
    plain = plain[-100:].lstrip("._-") or "nii.gz"
    return f"image.{plain}" if format_of_name(f".{plain}") and not stem(f".{plain}") else plain


def keep_upload(stream: BinaryIO, name: str | None) -> Path:
    """Write what was sent into a folder of its own, under its own name as far as that is harmless."""
    folder = scratch_folder("upload")
    try:
        return keep_files([(name, stream)], folder)[0]
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def keep_files(files: Sequence[tuple[str | None, BinaryIO]], folder: Path) -> list[Path]:
    """Write what was sent into a folder; files of one name get a number each."""
    paths: list[Path] = []
    for name, stream in files:
        path = folder / plain_name(name)
        if path in paths:
            path = folder / f"{len(paths)}_{path.name}"
        with open(path, "wb") as file:
            shutil.copyfileobj(stream, file)
        paths.append(path)
    return paths


def drop_upload(path: Path | None) -> None:
    """Remove an upload with its folder."""
    if path is not None and path.parent.name.startswith("synthzoo_upload_"):
        shutil.rmtree(path.parent, ignore_errors=True)


def check_upload(
    path: Path, modality: str = "", channels: int = 1, blank: bool = False, job: Job | None = None, grey: bool = False
) -> None:
    """Read an uploaded volume, picture or video whole, so that a bad one is refused before anything is stored or run.

    A picture may have colours: what becomes of them where a bundle takes grey is for the bundle's reader to say. One
    file is read at a time, whoever sends it: that bounds the memory of all together.

    Args:
        path: file or folder of DICOM slices.
        modality: what the model takes, such as "MR"; compared with what DICOM says about itself.
        channels: channels of the volume.
        blank: take a volume of one value.
        job: that the file belongs to; it may be cancelled while the file waits.
        grey: refuse a picture in colour.

    Raises:
        Cancelled: the job was.
        UserError: what is wrong with it; names the file without its folder.
    """
    while not READING.acquire(timeout=0.2):
        if job is not None:
            job.report(0, 0, 0)
    try:
        expect_modality(path, modality)
        kind = kind_of_input(path)
        if kind == "volume":
            read_volume(path, channels, blank)
        elif kind == "video":
            check_video(path)
        else:
            read_image(path, 1 if grey else 3)
    except UserError as error:
        raise UserError(str(error).replace(f"{path.parent}/", "")) from None
    finally:
        READING.release()


def check_label(path: Path) -> None:
    """Refuse what is no label map: NIfTI is read whole, of other formats (Slicer's .seg.nrrd) the mark is looked at.

    Raises:
        UserError: what is wrong with it.
    """
    if path.name.endswith(".nrrd"):
        with open(path, "rb") as file:
            if file.read(4) != b"NRRD":
                raise UserError(f"label {path.name} is not an NRRD file, whatever its name says: export it again.")
        return
    try:
        check_upload(path, blank=True, grey=True)
    except UserError as error:
        raise UserError(str(error).replace("image ", "label ", 1)) from None

"""The one atomic write, the one SHA-256 and the one JSON writer of the package.

A file is written whole or not at all: to a temporary name in the same folder, which is flushed to the disk where the
file cannot be made again cheaply, and then renamed. What a killed process left under a temporary name is removed by the
next one that writes into the folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from synthzoo.errors import CannotWrite, StorageError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]
TEMPORARY = re.compile(r"\.tmp(\d+)(?:-([0-9a-f]{6}))?_")  # process, machine
SCRATCH = re.compile(r"synthzoo_[a-z]+_(\d+)-([0-9a-f]{6})_")
LONGEST_UNTOUCHED_S = 24 * 3600

_in_use: set[str] = set()  # temporary names of this process
_with_scratch: set[int] = set()  # this process, once it has scratch folders
_swept: set[str] = set()  # folders
_noting = threading.Lock()


@contextmanager
def atomic_path(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """Temporary path in the folder of `path`, renamed to `path` when the block ends well and removed otherwise.

    The temporary name is `.tmp<process>-<machine>_<name>`: it keeps the ending, which decides the format for many
    writers, begins with a dot, so that no reader takes it for a result, and tells who writes it.

    Args:
        path: the file; its folder is made.
        durable: flush the file to the disk before the rename and the folder after it, so that after a power failure
            the name never stands for an empty file. Caches, which are made again at need, pass False.

    Raises:
        StorageError: the disk is full, or the folder cannot be written; nothing of this file is left behind.
    """
    path = Path(path)
    with _told(path), _temporary_name(path) as temporary:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep_once(path.parent)
            yield temporary
            if durable:
                flush(temporary)
            os.replace(temporary, path)
            if durable:
                _flush_folder(path.parent)
        finally:
            with suppress(OSError):
                temporary.unlink()


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Temporary folder beside `path`, which takes its place when the block ends well; as `atomic_path` for files.

    Raises:
        StorageError: see `atomic_path`.
    """
    path = Path(path)
    with _told(path), _temporary_name(path) as temporary:
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            sweep_once(path.parent)
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    flush(file)
            shutil.rmtree(path, ignore_errors=True)
            os.replace(temporary, path)
            _flush_folder(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def work_folder(folder: str | Path, use: str) -> Iterator[Path]:
    """Temporary folder inside `folder` for files on their way, such as a download, removed when the block ends."""
    with _temporary_name(Path(folder) / use) as temporary:
        sweep_once(temporary.parent)
        temporary.mkdir()
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _temporary_name(path: Path) -> Iterator[Path]:
    """The name that stands for `path` while it is written, known as this process's own meanwhile."""
    temporary = path.with_name(f".tmp{os.getpid()}-{HOST}_{path.name}")
    if len(os.fsencode(temporary.name)) > 255:  # the ending stays
        digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
        temporary = path.with_name(f".tmp{os.getpid()}-{HOST}_{digest}{path.name[-20:]}")
    with _noting:
        _in_use.add(os.path.abspath(temporary))
    try:
        yield temporary
    finally:
        with _noting:
            _in_use.discard(os.path.abspath(temporary))


# --- what killed processes have left ------------------------------------------------------------------------------


def scratch_folder(use: str) -> Path:
    """A new folder for files on their way, `synthzoo_<use>_<process>-<machine>_...` in the system's temporary folder.

    The caller removes it; `sweep_scratch` removes those of processes that were killed.
    """
    _with_scratch.add(os.getpid())
    return Path(tempfile.mkdtemp(prefix=f"synthzoo_{use}_{os.getpid()}-{HOST}_"))


def sweep_scratch() -> None:
    """Remove the scratch folders, and files beside them, of processes that are gone."""
    _sweep(Path(tempfile.gettempdir()), SCRATCH)


def sweep(folder: str | Path) -> None:
    """Remove the temporary files and folders directly in a folder whose process is gone."""
    _sweep(Path(folder), TEMPORARY)


def sweep_once(folder: Path) -> None:
    """`sweep`, once for each folder in a process, so that many results in one folder cost one look."""
    key = os.path.abspath(folder)
    with _noting:
        if key in _swept:
            return
        _swept.add(key)
    sweep(folder)


def _sweep(folder: Path, names: re.Pattern) -> None:
    try:
        found = [(Path(entry.path), names.match(entry.name)) for entry in os.scandir(folder)]
    except OSError:
        return
    for path, match in found:
        if match and _is_left(path, int(match[1]), match[2] or HOST):
            with suppress(OSError):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def _is_left(path: Path, process: int, machine: str) -> bool:
    """Whether the process that wrote a temporary file is gone; of another machine's, whether a day has passed."""
    if machine != HOST:
        try:
            return time.time() - path.lstat().st_mtime > LONGEST_UNTOUCHED_S
        except OSError:
            return False
    if process == os.getpid():  # a container gives its server the same number each time
        return process not in _with_scratch if SCRATCH.match(path.name) else os.path.abspath(path) not in _in_use
    if os.name == "nt":
        return False  # there signal 0 is no question
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """A full disk or a folder that cannot be written, said in a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise CannotWrite(
                f"no space left to write {path}: every complete result is kept and this one is removed; free some "
                "space and run the same command again to go on."
            ) from error
        if error.errno == errno.EROFS:
            raise CannotWrite(f"{path} cannot be written ({error.strerror}): choose another folder.") from error
        if isinstance(error, (PermissionError, NotADirectoryError, FileExistsError)):
            raise StorageError(f"{path} cannot be written ({error.strerror}): choose another folder.") from error
        raise


def flush(path: Path) -> None:
    """Wait until what was written into a file has reached the disk."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_folder(folder: Path) -> None:
    """Wait until a rename in a folder has reached the disk, where the system can say so."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes(path: str | Path, data: bytes, durable: bool = True) -> None:
    """Write bytes whole or not at all; `durable` as for `atomic_path`."""
    with atomic_path(path, durable) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text whole or not at all; what is no text, of a file's name in another encoding, as its escape."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, obj: Any) -> None:
    """Write an object as indented JSON, whole or not at all."""
    write_text(path, json.dumps(plain(obj), indent=2, ensure_ascii=False) + "\n")


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Cache an array as .npy, whole or not at all, also when several processes fill one cache."""
    with atomic_path(path, durable=False) as temporary, open(temporary, "wb") as file:
        np.save(file, array)


def sha256(path: str | Path) -> str:
    """SHA-256 of a file in hexadecimal, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def expect_writable(folder: str | Path) -> None:
    """Make sure that results can go to a folder, which may not be there yet.

    Raises:
        CannotWrite: it, or the folder in which it would be made, is a file or cannot be written.
    """
    folder = Path(folder).absolute()
    place = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not place.is_dir():
        raise CannotWrite(f"output folder {folder} cannot be made ({place} is no folder): choose another folder.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise CannotWrite(
            f"output folder {folder} cannot be written (no permission in {place}): choose another folder."
        )


def text_of(name: str) -> str:
    """A file's name as text, the same under any locale: its bytes as UTF-8, as Latin-1 where they are no UTF-8."""
    try:
        raw = os.fsencode(name)
    except UnicodeEncodeError:  # it does not come from this file system
        return name
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def plain(value: Any) -> Any:
    """The same value in JSON's types: tensors and arrays as lists or numbers, NaN and Inf as null, tuples as lists."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        value = value.item() if value.ndim == 0 else value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value

"""The one atomic write, the one SHA-256 and the one JSON writer of the package.

A file is written whole or not at all: to a temporary name in the same folder, which is flushed to the disk where the
file cannot be made again cheaply, and then renamed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from synthzoo.errors import UserError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_path(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """Temporary path in the folder of `path`, renamed to `path` when the block ends well and removed otherwise.

    The temporary name is `.tmp<process>_<name>`: it keeps the ending, which decides the format for many writers, begins
    with a dot, so that no reader takes it for a result, and tells two processes apart.

    Args:
        path: the file; its folder is made.
        durable: flush the file to the disk before the rename, so that after a power failure the name never stands for
            an empty file. Caches, which are made again at need, pass False.

    Raises:
        UserError: the disk is full, or the folder cannot be written; nothing of this file is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".tmp{os.getpid()}_{path.name}")
    with _told(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if durable:
                _flush(temporary)
            os.replace(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink()


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Temporary folder beside `path`, which takes its place when the block ends well; as `atomic_path` for files.

    Raises:
        UserError: see `atomic_path`.
    """
    path = Path(path)
    temporary = path.with_name(f".tmp{os.getpid()}_{path.name}")
    with _told(path):
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            yield temporary
            for file in temporary.iterdir():
                _flush(file)
            shutil.rmtree(path, ignore_errors=True)
            os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """A full disk or a folder that cannot be written, said in a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise UserError(
                f"no space left to write {path}: every complete result is kept and this one is removed; free some "
                "space and run the same command again to go on."
            ) from error
        if isinstance(error, (PermissionError, NotADirectoryError, FileExistsError)) or error.errno == errno.EROFS:
            raise UserError(f"{path} cannot be written ({error.strerror}): choose another folder.") from error
        raise


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: str | Path, data: bytes, durable: bool = True) -> None:
    """Write bytes whole or not at all; `durable` as for `atomic_path`."""
    with atomic_path(path, durable) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    write_bytes(path, text.encode())


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

"""A lock on a folder, where its file system gives one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_told: set[str] = set()  # file systems whose lack of a lock was said


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Hold a lock on a folder, so that one process at a time gathers and the last one sees every sidecar.

    Some network file systems give none (NFS with EBADF or ENOLCK, Lustre with ENOSYS). Every file is written whole or
    not at all without it, so the run goes on, and standard error says once what it means.

    Args:
        folder: made if it is not there.

    Raises:
        OSError: the folder cannot be made or opened.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # no such lock outside POSIX; one process per run there
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            _tell(folder, error)
        yield
    finally:
        os.close(handle)


@contextmanager
def claimed(path: str | Path) -> Iterator[bool]:
    """Try to hold a lock on a file for as long as the context lasts; gives whether this process has it.

    Who dies loses it. A file system that gives no locks, and a system other than POSIX, gives it to everyone.

    Args:
        path: of the file; made if it is not there, and left.

    Raises:
        OSError: the file cannot be made or opened.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:
        yield True
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        mine = True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            mine = False
        except OSError as error:
            _tell(path.parent, error)
        yield mine
    finally:
        os.close(handle)


def _tell(folder: Path, error: OSError) -> None:
    key = str(os.stat(folder).st_dev)
    if key not in _told:
        _told.add(key)
        print(
            f"warning: the file system of {folder} gives no lock ({error.strerror}); every result is complete all the "
            "same, but where several runs wrote one folder, run the last command once more to gather their tables",
            file=sys.stderr,
        )

"""Mistakes of a user, each one sentence; `synthzoo.cli` prints it on the command line without a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake that the user can mend.

    Args:
        message: one sentence that names the file or the key, the value, what is allowed and the remedy.
    """


class StorageError(UserError):
    """A full disk or a folder that cannot be written: the request is right, and the place has to be mended.

    Args:
        message: see `UserError`.
    """


class EndRun(Exception):
    """What ends a run whichever case it meets, where other mistakes of a case leave the case out."""


class CannotWrite(StorageError, EndRun):
    """Results cannot be written at all: no space is left, or the file system takes none."""


def find_user_error(error: BaseException | None) -> UserError | None:
    """The first `UserError` in the chain of causes and contexts of `error`, or None."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, UserError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None

"""Mistakes of a user, each one sentence; `synthzoo.cli` prints it on the command line without a traceback."""

from __future__ import annotations

LONGEST = 1000  # letters of a sentence, of which a file may have sent most


class UserError(ValueError):
    """A mistake that the user can mend.

    What a file or a client says of itself may stand in the sentence: letters that no terminal or log prints are
    escaped, and the middle of a very long sentence is left out.

    Args:
        message: one sentence that names the file or the key, the value, what is allowed and the remedy.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str, longest: int = LONGEST) -> str:
    r"""Text on one line without control characters; a long one without its middle.

    >>> printable("a\tb\nc")
    'a\\tb\\nc'
    """
    text = str(text)
    if len(text) > longest:
        text = f"{text[: longest * 2 // 3]} ... {text[-longest // 4 :]}"
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def first_line(error: BaseException, longest: int = 160) -> str:
    """The first line of what another library says, or the kind of the error where it says nothing."""
    return printable((str(error).strip().splitlines() or [type(error).__name__])[0][:longest])


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

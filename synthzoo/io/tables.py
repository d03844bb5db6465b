"""The lines of a table that a user wrote: every way in which it may be no text is said in one sentence."""

from __future__ import annotations

from pathlib import Path

from synthzoo.errors import UserError


def table_lines(path: str | Path, missing: str, empty: str, form: str = "CSV", what: str = "") -> list[str]:
    """Lines of a text table, UTF-8 with or without a byte order mark; the first is not empty.

    Args:
        path: the file.
        missing: remedy when it is not there.
        empty: remedy when it has no first line.
        form: what to save it as.
        what: goes before the path in every sentence, such as "requests file".

    Raises:
        UserError: the file is missing, a folder, unreadable, empty or not text.
    """
    named = f"{what} {path}".strip()
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{named} does not exist: {missing}.") from None
    except IsADirectoryError:
        raise UserError(f"{named} is a folder: give the path of a {form} file.") from None
    except UnicodeDecodeError:
        raise UserError(f"{named} is not UTF-8 text: save it as {form}.") from None
    except OSError as error:
        raise UserError(f"{named} cannot be read ({error.strerror}).") from None
    if "\0" in text:
        raise UserError(f"{named} is not text: save it as {form}.")
    lines = text.splitlines()
    if not lines or not lines[0].strip():
        raise UserError(f"{named} is empty: {empty}.")
    return lines

"""Mistakes of a user, reported as one sentence on standard error with exit code 1 and no traceback.

MONAI wraps whatever a config raises into `RuntimeError("Failed to evaluate ...")`; the report therefore looks for a
`UserError` anywhere in the chain of causes.
"""

from __future__ import annotations

import os
import sys


class UserError(ValueError):
    """A mistake that the user can mend.

    Args:
        message: one sentence that names the file or the key, the value, what is allowed and the remedy.
    """


def find_user_error(error: BaseException | None) -> UserError | None:
    """The first `UserError` in the chain of causes and contexts of `error`, or None."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, UserError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def report_user_errors() -> None:
    """Make uncaught `UserError`s print as `error: <sentence>`. Set SYNTHZOO_TRACEBACK=1 to see the traceback."""
    previous = sys.excepthook
    if getattr(previous, "_synthzoo", False):
        return

    def hook(kind, error, traceback):
        user_error = find_user_error(error)
        if user_error is None or os.environ.get("SYNTHZOO_TRACEBACK"):
            previous(kind, error, traceback)
        else:
            print(f"error: {user_error}", file=sys.stderr)

    hook._synthzoo = True
    sys.excepthook = hook

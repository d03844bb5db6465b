"""The command line: a user's mistake is one sentence on standard error with exit code 1, and a misspelt key is named.

Every bundle imports this module by its `imports`. The import changes `python -m monai.bundle` and no other process: in
a notebook or a server `sys.excepthook` stays what it was. Scripts start with `run`.

MONAI wraps whatever a config raises into `RuntimeError("Failed to evaluate ...")`; the report therefore looks for a
`UserError` anywhere in the chain of causes. `bundle_run` checks keys and values before anything runs.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from synthzoo.errors import UserError, find_user_error


def run(commands: Callable[..., Any] | Mapping[str, Callable[..., Any]]) -> None:
    """Run a script: one function, or functions by name, with the arguments of the command line."""
    from synthzoo.cli.scripts import call

    report_user_errors()
    words = sys.argv[1:]
    if {"-h", "--help", "--"} & set(words):
        import fire

        fire.Fire(commands)
    elif (result := call(commands, words)) is not None:
        print(result)


def report_user_errors() -> None:
    """Print uncaught `UserError`s as `error: <sentence>` from now on; SYNTHZOO_TRACEBACK=1 shows the traceback."""
    previous = sys.excepthook
    if getattr(previous, "_synthzoo", False):
        return

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        user_error = find_user_error(error) or unknown_argument(error)
        if user_error is None or os.environ.get("SYNTHZOO_TRACEBACK"):
            previous(kind, error, traceback)
        else:
            print(f"error: {user_error}", file=sys.stderr)

    hook._synthzoo = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def unknown_argument(error: BaseException | None) -> UserError | None:
    """The mistake of an argument, given to a component by an id, that it does not take; None for any other error."""
    while is_monai_bundle(sys.argv) and error is not None:
        found = re.search("got an unexpected keyword argument '(.+?)'", str(error))
        if isinstance(error, TypeError) and found and any(found[1] in word for word in sys.argv):
            return UserError(f"{error}: no part of this bundle takes '{found[1]}'; leave it out or mend its name.")
        error = error.__cause__ or error.__context__
    return None


def is_monai_bundle(argv: Sequence[str]) -> bool:
    """Whether this process is `python -m monai.bundle ...`, alone or under `torchrun`."""
    return bool(argv) and Path(argv[0]).parts[-3:] == ("monai", "bundle", "__main__.py")


def check_bundle_run(argv: Sequence[str]) -> None:
    """Exit with one sentence if `python -m monai.bundle run` was given what it cannot use, see `bundle_run`.

    Called while a config's imports run, where MONAI swallows any exception but SystemExit. Does nothing in any other
    program. Starts the same command again where a path has to be spelled.
    """
    if len(argv) < 2 or not is_monai_bundle(argv) or argv[1] not in ("run", "run_workflow"):
        return
    from synthzoo.cli.bundle_run import STARTED_AGAIN, check_run, start_again, typed_again

    try:
        again = check_run(argv[2:])
    except UserError as error:
        if os.environ.get("RANK", "0") == "0":
            print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    if again and not os.environ.pop(STARTED_AGAIN, ""):
        start_again(typed_again(argv[2:], again))


if is_monai_bundle(sys.argv):
    report_user_errors()
    check_bundle_run(sys.argv)

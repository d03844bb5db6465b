"""Mistakes of a user, reported as one sentence on standard error with exit code 1 and no traceback.

MONAI wraps whatever a config raises into `RuntimeError("Failed to evaluate ...")`; the report therefore looks for a
`UserError` anywhere in the chain of causes. And it takes any `--key` on its command line, so that a misspelt condition
would be passed over in silence; `expect_known_options` names it instead.
"""

from __future__ import annotations

import ast
import difflib
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

# What `python -m monai.bundle run` reads itself.
STOCK_OPTIONS = ("run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file")


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


def expect_known_options(argv: Sequence[str]) -> None:
    """Exit with one sentence if `python -m monai.bundle run` was given a `--key` that none of its configs has or reads.

    Called while `import synthzoo` runs, where MONAI swallows any exception but SystemExit. Does nothing in any other
    program, and where the configs are no JSON files or cannot be read.
    """
    if len(argv) < 2 or Path(argv[0]).parts[-3:] != ("monai", "bundle", "__main__.py") or argv[1] != "run":
        return
    words = [word for option in argv[2:] for word in (option.split("=", 1) if option[:2] == "--" else [option])]
    options = {word[2:]: value for word, value in zip(words, [*words[1:], ""]) if word[:2] == "--"}
    try:
        named = options["config_file"]
        paths = ast.literal_eval(named) if named[0] in "[(" else named.split(",")
        texts = [Path(path).read_text(encoding="utf-8") for path in paths]
        configs = [json.loads(text) for text in texts]
    except (KeyError, IndexError, OSError, ValueError, SyntaxError, TypeError):
        return
    keys = {key.lstrip("+"): value for config in configs for key, value in config.items() if key[0] != "_"}
    read = {name for text in texts for name in re.findall(r"@(\w+)", text)}
    for option, value in options.items():
        name = re.split("#|::", option)[0]
        if name in keys or name in read or name in STOCK_OPTIONS or name.startswith("_"):
            continue
        plain = [key for key, held in keys.items() if not isinstance(held, dict) and key not in ("imports", "run")]
        close = difflib.get_close_matches(name, plain, 1, 0.7)
        hint = f"did you mean --{close[0]}? The" if close else "the"
        sentence = f"--{option} {value}: no config reads a key '{name}'; {hint} keys are {', '.join(plain)}."
        if os.environ.get("RANK", "0") == "0":
            print(f"error: {sentence}", file=sys.stderr)
        raise SystemExit(1)

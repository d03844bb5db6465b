"""The command line: a user's mistake is one sentence on standard error with exit code 1, and a misspelt key is named.

Every bundle imports this module by its `imports`. The import changes `python -m monai.bundle` and no other process: in
a notebook or a server `sys.excepthook` stays what it was. Scripts start with `run`.

MONAI wraps whatever a config raises into `RuntimeError("Failed to evaluate ...")`; the report therefore looks for a
`UserError` anywhere in the chain of causes. And MONAI takes any `--key`, so that a misspelt condition would be passed
over in silence; `expect_known_options` names it instead.
"""

from __future__ import annotations

import ast
import difflib
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from synthzoo.errors import find_user_error

# What `python -m monai.bundle run` reads itself.
STOCK_OPTIONS = ("run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file")


def run(commands: Callable[..., Any] | Mapping[str, Callable[..., Any]]) -> None:
    """Run a script: one function, or functions by name, with the arguments of the command line."""
    import fire

    report_user_errors()
    fire.Fire(commands)


def report_user_errors() -> None:
    """Print uncaught `UserError`s as `error: <sentence>` from now on; SYNTHZOO_TRACEBACK=1 shows the traceback."""
    previous = sys.excepthook
    if getattr(previous, "_synthzoo", False):
        return

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        user_error = find_user_error(error)
        if user_error is None or os.environ.get("SYNTHZOO_TRACEBACK"):
            previous(kind, error, traceback)
        else:
            print(f"error: {user_error}", file=sys.stderr)

    hook._synthzoo = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def is_monai_bundle(argv: Sequence[str]) -> bool:
    """Whether this process is `python -m monai.bundle ...`, alone or under `torchrun`."""
    return bool(argv) and Path(argv[0]).parts[-3:] == ("monai", "bundle", "__main__.py")


def expect_known_options(argv: Sequence[str]) -> None:
    """Exit with one sentence if `python -m monai.bundle run` was given a `--key` that none of its configs has or reads.

    Called while a config's imports run, where MONAI swallows any exception but SystemExit. Does nothing in any other
    program, and where the configs are no JSON files or cannot be read.
    """
    if len(argv) < 2 or not is_monai_bundle(argv) or argv[1] != "run":
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


if is_monai_bundle(sys.argv):
    report_user_errors()
    expect_known_options(sys.argv)

"""`python -m monai.bundle run` checked as a config's first import runs: keys, values, and paths as they were typed.

MONAI takes any `--key`, so that a misspelt condition would be passed over in silence; Fire and MONAI's parser read
paths as Python and as references, so that `--output_dir "out #1"` would be the folder `out ::1`. A run whose paths they
would change is started once more, with each path as an expression that spells it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.utils import merge_kv

from synthzoo.bundle.find import read_json
from synthzoo.bundle.keys import OFF, check_key, is_path, named_paths, spelled, typed_paths
from synthzoo.bundle.known import ENTRIES, expect_known, held_at, read_keys
from synthzoo.bundle.nulls import is_off
from synthzoo.cli.scripts import surplus
from synthzoo.errors import UserError
from synthzoo.io.words import Words, read_value, split_words

# What `python -m monai.bundle run` reads itself.
RUN_IDS = ("run_id", "init_id", "final_id")
FILES = ("meta_file", "config_file", "logging_file", "tracking", "args_file", "properties_path")
STARTED_AGAIN = "SYNTHZOO_STARTED_AGAIN"
NAMED = (*RUN_IDS, *FILES, "workflow_type", "workflow_name")


@dataclass
class Given:
    """What a user gave beside the bundle's own configs.

    Args:
        words: of the command line.
        args: content of args_file, which the command line overrides.
        stock: options that MONAI reads itself, by name.
        files: config files in order.
    """

    words: Words
    args: dict[str, Any]
    stock: dict[str, Any]
    files: list[str]


def read_given(argv: Sequence[str]) -> Given | None:
    """What a command line gives; None where MONAI itself will say that a file is wrong."""
    words = split_words(argv)
    try:
        args_file = read_value(words.options["args_file"]) if "args_file" in words.options else None
        args = dict(ConfigParser.load_config_file(args_file)) if args_file else {}
        stock = {key: value for key, value in args.items() if key in NAMED}
        stock |= {key: read_value(text) for key, text in words.options.items() if key in NAMED}
        named = stock["config_file"]
        if isinstance(named, str) and not Path(named).is_file():
            named = named.split(",")
        files = [named] if isinstance(named, str) else [str(path) for path in named]
    except (KeyError, OSError, ValueError, TypeError):
        return None
    return Given(words, {key: value for key, value in args.items() if key not in NAMED}, stock, files)


def check_run(argv: Sequence[str]) -> dict[str, Any]:
    """Check the words after `python -m monai.bundle run`; returns the values by key that have to be typed otherwise.

    Raises:
        UserError: a word that belongs to no option, a key that no config reads, a value that its key does not allow.
    """
    given = read_given(argv)
    if given is None:
        return {}
    try:
        configs = [ConfigParser.load_config_file(file) for file in given.files]
    except (OSError, ValueError, TypeError):
        return {}
    metadata = _metadata(given)
    typed = {key: text for key, text in given.words.options.items() if key not in NAMED}
    read = read_keys([*configs, given.args, list(typed.values())])
    ids = {*ENTRIES, *(str(given.stock[name]) for name in RUN_IDS if name in given.stock)}
    _expect_no_lost_word(given, configs)
    merged, again = ConfigParser(config={}), {}
    for number, (file, config) in enumerate(zip(given.files, configs)):
        for key, value in config.items():
            plain = key.lstrip("+")
            own = Path(file).parent == Path(given.files[0]).parent
            brings_table = own and isinstance(value, dict) and not re.search("#|::", plain)  # the library may read it
            if number and plain not in read | ids and key[0] != "+" and not brings_table:
                if not (own and plain in _read_beside(given.files[0])):
                    expect_known(merged.get(), plain, f"{file}: {plain}")
            if number and not own:
                check_key(plain, value, metadata, held_at(merged.get(), plain), f"{file}: ")
                again |= _otherwise(plain, value)
            merge_kv(merged, key, value)
    held = merged.get()
    for key, value in given.args.items():
        where = f"{given.words.options['args_file']}: {key}"
        expect_known(held, key.lstrip("+"), where, read)
        check_key(key, value, metadata, held_at(held, key), where.removesuffix(key))
        again |= _otherwise(key, value)
    for key, text in typed.items():
        expect_known(held, key, f"--{key} {text or ''}".strip(), read)
        value, holds = read_value(text), held_at(held, key)
        again.pop(key, None)
        if is_path(key):
            paths = typed_paths(key, text, holds)
            said = OFF if paths is None else _spelled(paths)
        else:
            said = OFF if is_off(held, key, value, metadata) else value
        needless = value is None and said in (None, OFF) and holds is None and key not in given.args
        if value is not said and value != said and not needless:
            again[key] = said
    return again


def _spelled(paths: str | list[str]) -> str | list[str]:
    """Paths as Fire and MONAI's parser give them back."""
    return spelled(paths, typed=True) if isinstance(paths, str) else [spelled(path) for path in paths]


def _otherwise(key: str, value: Any) -> dict[str, Any]:
    """A path of a file as the command line has to give it, where MONAI's parser would change it."""
    if not is_path(key) or isinstance(value, (bool, list, dict)) or value is None or str(value)[:1] in ("$", "@", "%"):
        return {}
    said = _spelled(named_paths(key, str(value)))
    return {key: said} if said != value else {}


def _expect_no_lost_word(given: Given, configs: list[dict[str, Any]]) -> None:
    for word in given.words.rest:
        option = given.words.after[word]
        if option and not any(word in config for config in configs):
            raise surplus(word, option, given.words.options)


def _read_beside(file: str) -> set[str]:
    """The names that any config beside a file reads: an overlay may set what the next one needs."""
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in Path(file).parent.glob("*.json")]
    return read_keys(texts)


def _metadata(given: Given) -> dict[str, Any]:
    path = given.stock.get("meta_file") or Path(given.files[0]).parent / "metadata.json"
    try:
        return read_json(path)
    except (UserError, TypeError, OSError):
        return {}


def typed_again(argv: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """The words of a command line with these values of options in place of those that were typed."""
    places = split_words(argv).places
    taken = {at + n for key in values if key in places for at, count in [places[key]] for n in range(count)}
    kept = [word for number, word in enumerate(argv) if number not in taken]
    return [*kept, *(f"--{key}={value}" for key, value in values.items())]


def start_again(words: Sequence[str]) -> None:
    """Replace this process by the same command with these words after `run`."""
    command = [sys.executable, *sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 2], *words]
    os.environ[STARTED_AGAIN] = "yes"
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        os.execv(command[0], command)
    raise SystemExit(subprocess.run(command).returncode)

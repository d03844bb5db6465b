"""A script's functions called with the words of its command line, each read by the type of its parameter.

Text stays text: `--out 2024_01_15` is that folder. A number that is none, an unknown option and a list without quotes
are one sentence each, before anything runs. Fire shows the help.
"""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from synthzoo.bundle.keys import NULL, check_key
from synthzoo.errors import UserError
from synthzoo.io.words import Words, is_option, path_text, read_value, split_words

SAID = {int: "an integer", float: "a number", bool: "true or false"}


def call(commands: Callable[..., Any] | Mapping[str, Callable[..., Any]], argv: Sequence[str]) -> Any:
    """Call one function, or the one that the first word names, and return what it returns.

    Args:
        commands: a function, or functions by name; annotations say how their values are read, and `plain_keys.json`
            in which range a number lies.
        argv: the words after the script's name.

    Raises:
        UserError: an unknown command or option, a missing or surplus value, a value of a wrong type.
    """
    if not callable(commands):
        name, argv = (argv[0], argv[1:]) if argv and not is_option(argv[0]) else ("", argv)
        if name not in commands:
            said = f"'{name}' is no command" if name else "no command is given"
            raise UserError(f"{said}: the commands are {', '.join(commands)}.")
        commands = commands[name]
    args, kwargs = arguments(commands, split_words(argv))
    return commands(*args, **kwargs)


def arguments(function: Callable[..., Any], words: Words) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a function that words stand for, see `call`."""
    parameters, types_of = inspect.signature(function).parameters, typing.get_type_hints(function)
    kinds = {name: parameter.kind for name, parameter in parameters.items()}
    every = next((name for name, kind in kinds.items() if kind is inspect.Parameter.VAR_POSITIONAL), None)
    more = next((name for name, kind in kinds.items() if kind is inspect.Parameter.VAR_KEYWORD), None)
    named = [name for name in parameters if name not in (every, more)]
    given: dict[str, str | None] = {}
    for name, text in words.options.items():
        key = name
        if name not in named and text is None and name.startswith("no") and name[2:] in named:
            key, text = name[2:], "False"
        if key not in named and more is None:
            close = difflib.get_close_matches(name, named, 1, 0.7)
            hint = f"did you mean --{close[0]}? The" if close else "the"
            raise UserError(f"--{name} is unknown: {hint} options are {', '.join(f'--{known}' for known in named)}.")
        given[key] = text
    rest, args = list(words.rest), []
    for name in [name for name in named if name not in given and kinds[name] is not inspect.Parameter.KEYWORD_ONLY]:
        required = parameters[name].default is inspect.Parameter.empty
        # A word after an option fills what is required; anything else may be a list that lost its quotes.
        if rest and every is None and (required or not words.after[rest[0]]):
            given[name] = rest.pop(0)
    if every is not None:
        args = [read(every, text, types_of.get(every)) for text in rest]
    elif rest:
        raise surplus(rest[0], words.after[rest[0]], words.options)
    missing = [n for n in named if n not in given and parameters[n].default is inspect.Parameter.empty]
    if missing:
        raise UserError(f"--{missing[0]} is missing: give it as --{missing[0]} VALUE.")
    kwargs = {name: read(name, text, types_of.get(name if name in named else more)) for name, text in given.items()}
    for name in set(kwargs) & set(named):
        check_key(name, kwargs[name], {}, parameters[name].default, "--")
    return args, kwargs


def surplus(word: str, option: str, options: Mapping[str, str | None]) -> UserError:
    """The mistake of a word that belongs to no option, where a list has probably lost its quotes."""
    if not option:
        return UserError(f"'{word}' belongs to no option: write the option's name before it.")
    first = options.get(option) or ""
    return UserError(
        f"--{option} {first} {word}: '{word}' belongs to no option; write a list as --{option} "
        f"\"['{first}','{word}']\" and a name with a space as --{option} \"{first} {word}\", each in quotes."
    )


def read(name: str, text: str | None, kind: Any) -> Any:
    """The value of a parameter of this type; one without annotation is read as Fire reads it.

    Where None is one of its types, `None`, `null` and an empty text are that.

    Raises:
        UserError: it is none of this type.
    """
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    choices = typing.get_args(kind) if union else (kind,)
    if type(None) in choices and text in ("", *NULL):
        return None
    if str in choices:
        return path_text(f"--{name}", text)
    value = read_value(text)
    if value is None and kind is None:
        return None
    for choice in choices:
        if choice is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        origin = typing.get_origin(choice) or choice
        if origin is tuple and isinstance(value, (list, tuple)):
            return tuple(value)
        if origin in SAID and type(value) is origin:
            return value
    said = [SAID[choice] for choice in choices if choice in SAID]
    if not said and tuple not in [typing.get_origin(choice) for choice in choices]:
        return value
    allowed = " or ".join(said) or "a list such as 1,2"
    raise UserError(f"--{name} is '{text or 'True'}', but must be {allowed}.")

"""Kinds of result files, one module each, chosen by a file's ending: a new kind is a new module here, no more."""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache

from synthzoo.errors import UserError
from synthzoo.results.kinds.base import Kind


@lru_cache(maxsize=1)
def known_kinds() -> dict[str, type[Kind]]:
    """Ending of a file name -> the class that writes it, of every module of this package."""
    found: dict[str, type[Kind]] = {}
    for item in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{item.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Kind) and value.__module__ == module.__name__:
                found |= dict.fromkeys(value.endings, value)
    return found


def kind_of(suffix: str) -> type[Kind]:
    """The class that writes files with this suffix, such as "T1w.nii.gz".

    Raises:
        UserError: no kind has this ending.
    """
    kinds = known_kinds()
    fitting = [ending for ending in kinds if suffix.lower().endswith(ending)]
    if not fitting:
        raise UserError(f"no result can be written as '{suffix}': its ending must be {', '.join(sorted(kinds))}.")
    return kinds[max(fitting, key=len)]

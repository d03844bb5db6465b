"""Which ids a config has or reads: a misspelt key would be added to it by MONAI and change nothing, without a word."""

from __future__ import annotations

import difflib
import inspect
import json
import re
from collections.abc import Iterable, Mapping
from pydoc import locate
from typing import Any

from monai.bundle import ConfigComponent
from monai.bundle.config_item import ComponentLocator

from synthzoo.errors import UserError

ENTRIES = ("imports", "initialize", "run", "finalize")


def read_keys(configs: Iterable[Any]) -> set[str]:
    """The top-level names that references in these configs read."""
    return {name for config in configs for name in re.findall(r"@(\w+)", json.dumps(config, default=str))}


def expect_known(config: Mapping[str, Any], key: str, where: str, read: Iterable[str] = ()) -> None:
    """Refuse an id that a config neither has nor reads.

    Args:
        config: the merged configs.
        key: id, such as `steps` or `train#trainer#max_epochs`; the last part may also be an argument of the component
            that holds it.
        where: begins the sentence, such as "--agee 70" or "my.json: agee".
        read: top-level names that are read though no config has them.

    Raises:
        UserError: with the names that exist, the nearest first.
    """
    first, *rest = re.split("#|::", key)
    if first not in config:
        if not rest and (first in read or first.startswith("_")):
            return
        plain = [name for name, held in config.items() if name[0] != "_" and not isinstance(held, dict)]
        raise _unknown(where, f"no config reads a key '{first}'", first, [n for n in plain if n not in ENTRIES])
    node: Any = config[first]
    path = first
    for number, name in enumerate(rest):
        if isinstance(node, str):
            return  # an expression or a reference; what lies in it is not known before it runs
        if isinstance(node, list) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, dict) and name in node:
            node = node[name]
        elif isinstance(node, dict) and number == len(rest) - 1 and (name[:1] == "_" or takes(node, name)):
            return
        else:
            names = list(node) if isinstance(node, dict) else [str(n) for n in range(len(node))] if node else []
            raise _unknown(where, f"{path} has no '{name}'", name, [n for n in names if n[0] != "_"], f"{path}#")
        path = f"{path}#{name}"


def held_at(config: Mapping[str, Any], key: str) -> Any:
    """What a config holds at an id, None where it holds nothing."""
    node: Any = config
    for name in re.split("#|::", key):
        if isinstance(node, list) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, Mapping) and name in node:
            node = node[name]
        else:
            return None
    return node


def takes(node: Mapping[str, Any], name: str) -> bool:
    """Whether the component that a table makes takes an argument of this name; True where that cannot be known."""
    if "_target_" not in node:
        return False
    try:
        return parameter_of(node, name) is not None
    except LookupError:
        return True


def parameter_of(node: Mapping[str, Any], name: str) -> inspect.Parameter | None:
    """The parameter of this name of the component that a table makes, None where it has none.

    Raises:
        LookupError: the component cannot be found, or hands further arguments on to what cannot be read.
    """
    try:
        found: Any = ConfigComponent(dict(node), locator=ComponentLocator()).resolve_module_name()
        target = locate(found) if isinstance(found, str) else found
        # A class that hands its further arguments on takes those of the classes behind it.
        classes = [c for c in getattr(target, "__mro__", ()) if "__init__" in c.__dict__]
        makers = [c.__dict__["__init__"] for c in classes] or [target]
        for maker in makers:
            parameters = inspect.signature(maker).parameters
            if name in parameters:
                return parameters[name]
            if not any(item.kind is item.VAR_KEYWORD for item in parameters.values()):
                return None
    except (TypeError, ValueError, ImportError, AttributeError) as error:
        raise LookupError(f"{node.get('_target_')}: {error}") from error
    raise LookupError(f"{node.get('_target_')}: hands its arguments on")


def _unknown(where: str, said: str, name: str, names: list[str], before: str = "") -> UserError:
    close = difflib.get_close_matches(name, names, 1, 0.7)
    hint = f"did you mean {'' if before else '--'}{before}{close[0]}? The" if close else "the"
    return UserError(f"{where}: {said}; {hint} keys are {', '.join(names) or 'none'}.")

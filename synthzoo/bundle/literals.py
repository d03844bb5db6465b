"""Configs from elsewhere read as data: values and `@references`; no `$` expression is evaluated, nothing imported.

What MONAI would compute is refused in a sentence that names the key, so that a person writes its value there.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from pydoc import locate
from typing import Any

from torch import nn

from synthzoo.bundle.inspect.configs import parse_config
from synthzoo.errors import UserError
from synthzoo.networks.generative import KINDS, core_settings, kind_of

GENERATIVE = "generative.networks.nets."
LARGEST = 64 * 2**20  # bytes of a config
DEEPEST = 40  # references that follow each other


class LiteralConfig:
    """A JSON or YAML config whose values are read by their ids, such as `network_def#channels`.

    Args:
        path: the file.
        overlays: further files; what they say takes precedence, key by key.

    Raises:
        UserError: a file is missing, large or no mapping.
    """

    def __init__(self, path: str | Path, *overlays: str | Path) -> None:
        self.path = Path(path)
        self.content = read_mapping(path)
        for file in overlays:
            for key, value in read_mapping(file).items():
                *place, last = key.replace("::", "#").split("#")
                self.node("#".join(place) if place else "")[last] = value

    def node(self, key: str) -> Any:
        """What stands under an id, as it is written.

        Raises:
            UserError: no such key.
        """
        found: Any = self.content
        for place, word in enumerate(words := key.replace("::", "#").split("#") if key else []):
            if isinstance(found, list) and word.isdigit() and int(word) < len(found):
                found = found[int(word)]
            elif isinstance(found, Mapping) and word in found:
                found = found[word]
            else:
                known = f"; there are {', '.join(map(str, found))}" if isinstance(found, Mapping) else ""
                raise UserError(f"{self.path}: has no key {'#'.join(words[: place + 1])}{known}.")
        return found

    def value(self, key: str) -> Any:
        """The value under an id, its references followed.

        Raises:
            UserError: no such key, an expression, a reference to another file or one that runs in a circle.
        """
        return self.plain(self.node(key), key)

    def plain(self, value: Any, key: str, depth: int = 0) -> Any:
        """A value of this config with its references followed; `key` is named in sentences."""
        if depth > DEEPEST:
            raise UserError(f"{self.path}: {key} refers to itself; write its value there.")
        if isinstance(value, Mapping):
            return {name: self.plain(item, f"{key}#{name}", depth + 1) for name, item in value.items()}
        if isinstance(value, list):
            return [self.plain(item, f"{key}#{number}", depth + 1) for number, item in enumerate(value)]
        if isinstance(value, str) and value.startswith("@"):
            return self.plain(self.node(value[1:]), value[1:], depth + 1)
        if isinstance(value, str) and value[:1] in ("$", "%"):
            raise UserError(
                f"{self.path}: {key} is {value}, which is not evaluated here; write its value into a copy of the file."
            )
        return value


def read_mapping(path: str | Path) -> dict[str, Any]:
    """The mapping in a JSON or YAML file; tags that make Python objects are refused.

    Raises:
        UserError: no such file, larger than 64 MiB, not readable, or no mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: this config does not exist; give a JSON or YAML file.")
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path}: {path.stat().st_size} bytes are too much for a config, {LARGEST} are read.")
    try:
        content = parse_config(path.name, path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON or YAML ({error}); mend the file.") from None
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds no mapping of keys to values; give a config of a bundle.")
    return dict(content)


def network_settings(config: LiteralConfig, key: str) -> tuple[type[nn.Module], dict[str, Any]]:
    """Class and settings, of MONAI core or this library, of a network that a config defines in old names or new ones.

    Args:
        config: of a bundle.
        key: of the definition, such as `network_def` or `network_def#autoencoder`.

    Raises:
        UserError: no definition, a class that cannot be converted, or a setting that MONAI core does not have.
    """
    definition = config.value(key)
    target = definition.pop("_target_", None) if isinstance(definition, dict) else None
    if not isinstance(target, str):
        raise UserError(f"{config.path}: {key} is no definition of a network; give the key of one with a _target_.")
    settings = {name: value for name, value in definition.items() if name[:1] != "_"}
    expect_values(config, key, settings)
    kind = target.rpartition(".")[2]
    if target.startswith("synthzoo."):
        own = locate(target)
        if not isinstance(own, type):
            raise UserError(f"{config.path}: {key} is {target}, which is no class of this library.")
        kind_of(own, key)
    elif kind in KINDS and target.startswith((GENERATIVE, "monai.", kind)):
        own, settings = KINDS[kind], core_settings(kind, settings)
    else:
        raise UserError(f"{config.path}: {key} is {target}, but networks that can be converted are {', '.join(KINDS)}.")
    parameters = inspect.signature(own).parameters
    known = {name for name, item in parameters.items() if item.kind is not item.VAR_KEYWORD}
    unknown = [name for name in settings if name not in known]
    if unknown and len(known) == len(parameters):
        raise UserError(f"{config.path}: {key}#{unknown[0]}: {own.__name__} has no such setting; leave it out.")
    return own, settings


def expect_values(config: LiteralConfig, key: str, value: Any) -> None:
    """Raise one sentence if a component stands among the settings of a network, which MONAI would call."""
    if isinstance(value, Mapping):
        called = [name for name in value if str(name)[:1] == "_"]
        if called:
            raise UserError(f"{config.path}: {key}#{called[0]} is no setting of a network, and it is not called here.")
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        expect_values(config, key, item)


def build_network(config: LiteralConfig, key: str) -> nn.Module:
    """The network that `network_settings` tells of, with start values.

    Raises:
        UserError: as there, or settings that do not fit each other.
    """
    own, settings = network_settings(config, key)
    try:
        return own(**settings)
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        raise UserError(f"{config.path}: {key} cannot be built ({error}); mend its settings.") from error

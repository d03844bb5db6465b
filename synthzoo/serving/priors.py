"""How the conditions of a data set are drawn: each from its own prior, or some of them balanced against each other."""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthzoo.cases.values import check_value
from synthzoo.errors import UserError

MOST_COMBINATIONS = 4096
SMALLEST_SHARE = 0.1  # of a range's upper end: where a range of what is present begins that is given from 0
SIZE_CLASSES = 3


class ConditionPrior:
    """The distribution of one condition over the subjects: one value, uniform in a range, or uniform in a list.

    Args:
        name: of the condition.
        requested: one value; two numbers as a pair or "low,high"; or strings as a list or "F,M"; None leaves it unset.
        schema: JSON Schema property of the condition, see `synthzoo.cases.values`.

    Raises:
        UserError: a value out of range, of a wrong type, or a range that is none.
    """

    def __init__(self, name: str, requested: Any, schema: Mapping[str, Any]) -> None:
        parts = requested.split(",") if isinstance(requested, str) else requested
        parts = list(parts) if isinstance(parts, (list, tuple)) else [parts]
        self.values: list[Any] = [check_value(name, part, schema) for part in parts]
        listed = "enum" in schema or schema.get("type") == "boolean"
        self.name, self.is_range = name, not listed and len(parts) == 2
        self.is_integer = schema.get("type") == "integer"
        if len(parts) > 1 and None in self.values:
            raise UserError(f"{name} is '{requested}', but a range or a list cannot leave a value out.")
        if not listed and len(parts) > 2:
            raise UserError(f"{name} has {len(parts)} numbers: give one value or a range such as low,high.")
        if self.is_range and self.values[0] > self.values[1]:
            raise UserError(f"{name} is '{requested}', but a range starts with its lower end: low,high.")

    def share(self, seed: int, subject: int) -> float:
        """The number in [0, 1) that decides a subject's value."""
        return float(np.random.default_rng([seed, subject, zlib.crc32(self.name.encode())]).random())

    def sample(self, seed: int, subject: int) -> Any:
        """The value of one subject; a number with six digits."""
        return self.values[0] if len(self.values) == 1 else self.at(self.share(seed, subject))

    def at(self, share: float) -> Any:
        """The value below which this share of the distribution lies."""
        if not self.is_range:
            return self.values[int(share * len(self.values))]
        low, high = self.values
        if self.is_integer:
            return min(low + int(share * (high - low + 1)), high)
        return min(max(float(f"{low + share * (high - low):.6g}"), low), high)


@dataclass(frozen=True)
class Factor:
    """Conditions that take their levels together.

    Args:
        priors: of its conditions: the values of what is present, or the list of an enum.
        levels: 2 for absent and present, 1 for what cannot be absent, or the number of values of a list.
    """

    priors: tuple[ConditionPrior, ...]
    levels: int

    @property
    def is_list(self) -> bool:
        """Whether the levels are values, rather than absent and present."""
        return self.levels > 0 and not self.priors[0].is_range and len(self.priors[0].values) > 1


class BalancedPrior:
    """Draws conditions together, so that each combination of them comes equally often, and each size class within it.

    A number that may be 0 is absent (0) or present, a value of a list is one of its values; N is the number of
    combinations of all these. Of each N subjects every combination has one, in random order, each followed by its
    opposite, so that any even number of subjects has each pathology in half of them. The range of a number that is
    present is cut into S classes of equal width; of each N * S subjects, every class of every number comes once in
    every combination in which it is present, and of each N as equally as can be. All of it depends on (seed, subject)
    alone.

    Args:
        balance: names of conditions with commas between them; those with a plus between them, as in
            "WMH_ml,core_ml+oedema_ml", are present and absent together.
        requested: name -> what `ConditionPrior` takes; one that is missing has the whole range of its property. A range
            from 0 begins at a tenth of its upper end, for 0 is absent.
        conditions: name -> property, as in `RequestTable`.
        size_classes: S, at least 1.

    Raises:
        UserError: an unknown name, one that stands twice, one without a range, a sum of conditions that cannot be
            absent, too many combinations, or what `ConditionPrior` says.
    """

    def __init__(
        self,
        balance: str,
        requested: Mapping[str, Any],
        conditions: Mapping[str, Mapping[str, Any]],
        size_classes: int = SIZE_CLASSES,
    ) -> None:
        self.size_classes, self.names = size_classes, []
        self.factors = []
        for group in balance.split(","):
            names = [name.strip() for name in group.split("+")]
            for name in names:
                if name not in conditions:
                    raise UserError(
                        f"--balance names the unknown condition '{name}': the known ones are {', '.join(conditions)}."
                    )
                if name in self.names:
                    raise UserError(f"--balance is '{balance}', but {name} stands there twice.")
                self.names.append(name)
            self.factors.append(_factor(names, requested, conditions))
        self._order = functools.lru_cache(maxsize=4)(self._draw_order)
        self._sizes = functools.lru_cache(maxsize=64)(self._draw_sizes)
        self.combinations = math.prod(factor.levels for factor in self.factors)
        if self.combinations > MOST_COMBINATIONS:
            raise UserError(
                f"--balance has {self.combinations} combinations, but at most {MOST_COMBINATIONS} can be drawn: name "
                "fewer conditions, or join with + those that are present together."
            )

    def sample(self, seed: int, subject: int) -> dict[str, Any]:
        """The values of one subject, counted from 1."""
        block, place = divmod(subject - 1, self.combinations)
        number = self._order(seed, block)[place]
        values: dict[str, Any] = {}
        for index, (factor, level) in enumerate(zip(self.factors, self._levels(number))):
            for prior in factor.priors:
                if factor.is_list:
                    values[prior.name] = prior.values[level]
                elif factor.levels == 2 and level == 0:
                    values[prior.name] = 0
                elif prior.is_range:
                    size = self._sizes(seed, block, index, prior.name)[number]
                    values[prior.name] = prior.at((size + prior.share(seed, subject)) / self.size_classes)
                else:
                    values[prior.name] = prior.values[0]
        return values

    def _levels(self, number: int) -> list[int]:
        """The level of each factor in a combination."""
        levels = []
        for factor in self.factors:
            number, level = divmod(number, factor.levels)
            levels.append(level)
        return levels

    def _opposite(self, number: int) -> int:
        """The combination in which each factor has its opposite level."""
        found, step = 0, 1
        for factor, level in zip(self.factors, self._levels(number)):
            found += step * (factor.levels - 1 - level)
            step *= factor.levels
        return found

    def _draw_order(self, seed: int, block: int) -> list[int]:
        """The combinations of a block in the order in which its subjects have them."""
        shuffled = np.random.default_rng([seed, block, zlib.crc32(b"combinations")]).permutation(self.combinations)
        return list(dict.fromkeys(number for first in shuffled.tolist() for number in (first, self._opposite(first))))

    def _draw_sizes(self, seed: int, block: int, index: int, name: str) -> dict[int, int]:
        """Combination -> size class of one condition in a block, for those in which it is present."""
        turn, within = divmod(block, self.size_classes)
        random = np.random.default_rng([seed, turn, zlib.crc32(f"size of {name}".encode())])
        top = self.factors[index].levels - 1
        present = [number for number in range(self.combinations) if self._levels(number)[index] == top]
        ranks = random.permutation(len(present)).tolist()
        return {number: (rank + within) % self.size_classes for number, rank in zip(present, ranks)}


def _factor(names: list[str], requested: Mapping[str, Any], conditions: Mapping[str, Mapping[str, Any]]) -> Factor:
    """The factor of one condition, or of several that are present together."""
    schemas = [conditions[name] for name in names]
    can_be_absent = [_is_number(schema) and schema.get("minimum") == 0 for schema in schemas]
    if len(names) > 1 and not all(can_be_absent):
        wrong = names[can_be_absent.index(False)]
        raise UserError(
            f"--balance joins {' + '.join(names)}, but {wrong} cannot be 0, so it is never absent: put a comma before "
            "it."
        )
    priors = tuple(
        _prior(name, requested.get(name), schema, absent) for name, schema, absent in zip(names, schemas, can_be_absent)
    )
    if _is_number(schemas[0]):
        return Factor(priors, 2 if can_be_absent[0] else 1)
    return Factor(priors, len(priors[0].values))


def _is_number(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") in ("number", "integer")


def _prior(name: str, requested: Any, schema: Mapping[str, Any], can_be_absent: bool) -> ConditionPrior:
    """The prior of a condition where it is present."""
    if requested is None:
        if _is_number(schema):
            if "minimum" not in schema or "maximum" not in schema:
                raise UserError(
                    f"--balance names {name}, which has no range of its own: give one, as --{name} low,high."
                )
            requested = (schema["minimum"], schema["maximum"])
        else:
            requested = schema.get("enum") or ([True, False] if schema.get("type") == "boolean" else None)
            if requested is None:
                raise UserError(f"--balance names {name}, which is free text: give a number or one of a list.")
    prior = ConditionPrior(name, requested, schema)
    top = prior.values[-1]
    if top is None or (can_be_absent and top == 0):
        raise UserError(
            f"--balance names {name}, which is {'unset' if top is None else 0}, so that it is never present: give the "
            "range of what is present."
        )
    if can_be_absent and prior.is_range and prior.values[0] == 0:
        low = SMALLEST_SHARE * prior.values[1]
        prior.values[0] = max(1, round(low)) if prior.is_integer else low
    return prior

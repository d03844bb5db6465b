"""What a request costs, known before it starts: voxels through the network, over all its calls and all samples.

Each option of a request is bounded, their product is not. A bundle declares in metadata, as `synthzoo.cost`, a sum of
products of numbers and options; [[4032, "steps"], [136000]] is 4032 voxels a step and 136000 for decoding. It is what
`watching.CallCounter` counts of one sample, at most, and never several times that. Where an image is optional there are
two sums, {"with_image": [...], "without_image": [...]}: of what is done with it, and of what is generated instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from synthzoo.errors import UserError
from synthzoo.serving.served import ServedBundle

MILLION = 1e6
MOST_MILLIONS = 100.0  # by default: every single option at its end, and an hour or so of one core at most
SAMPLES = "num_samples"
NOT_FACTORS = ("seed", SAMPLES)
GENERATE = "generate"  # option of a bundle that generates although an image is given


def cost_terms(bundle: ServedBundle, with_image: bool = True) -> list[list[Any]]:
    """The terms of one sample's cost: as declared, else the output's voxels for each product of integer options."""
    declared = bundle.block.get("cost")
    if isinstance(declared, dict):
        return declared["with_image" if with_image else "without_image"]
    if declared:
        return declared
    shape = bundle.metadata["network_data_format"]["outputs"]["pred"]["spatial_shape"]
    voxels = math.prod(size for size in shape if isinstance(size, int))
    counts = [name for name, option in bundle.options.items() if option.type == "integer" and not option.condition]
    return [[voxels, *(name for name in counts if name not in NOT_FACTORS)]]


def cost_of(
    bundle: ServedBundle, values: Mapping[str, Any], version: str | None = None, with_image: bool = True
) -> float:
    """The cost of a request in voxels, an upper bound.

    Args:
        bundle: what shall run.
        values: checked options by name; what is not there has its default.
        version: of the weights, whose defaults count.
        with_image: whether an image is given; a true option `generate` passes over it.
    """
    settings = _settings(bundle, values, version)
    return _cost(_terms(bundle, settings, with_image), settings)


def check_cost(
    bundle: ServedBundle,
    values: Mapping[str, Any],
    limit: float = MOST_MILLIONS,
    version: str | None = None,
    with_image: bool = True,
) -> None:
    """Refuse a request that costs too much.

    Args:
        bundle, values, version, with_image: see `cost_of`.
        limit: in million voxels.

    Raises:
        UserError: cost, limit, and values that stay below it.
    """
    settings = _settings(bundle, values, version)
    terms = _terms(bundle, settings, with_image)
    cost = _cost(terms, settings)
    if cost <= limit * MILLION:
        return
    said = f"{bundle.name}: the request costs {cost / MILLION:.4g} million voxels (network calls x voxels x samples)"
    raise UserError(f"{said}, but cost_max is {limit:g}: {_remedy(bundle, terms, settings, limit * MILLION)}.")


def _terms(bundle: ServedBundle, settings: Mapping[str, float], with_image: bool) -> list[list[Any]]:
    return cost_terms(bundle, with_image and not settings.get(GENERATE))


def _settings(bundle: ServedBundle, values: Mapping[str, Any], version: str | None) -> dict[str, float]:
    options = bundle.options_of(version)
    found = {name: values.get(name, option.default) for name, option in options.items()}
    return {name: float(value) for name, value in found.items() if isinstance(value, (int, float))}


def _cost(terms: Sequence[Sequence[Any]], settings: Mapping[str, float]) -> float:
    """An option without a value counts once."""
    products = (
        math.prod(settings.get(part, 1.0) if isinstance(part, str) else part for part in term) for term in terms
    )
    return settings.get(SAMPLES, 1.0) * sum(products)


def _remedy(bundle: ServedBundle, terms: Sequence[Sequence[Any]], settings: dict[str, float], limit: float) -> str:
    """The largest value of each factor that is enough by itself, else one that is enough of all."""
    named = [SAMPLES, *(part for term in terms for part in term if isinstance(part, str))]
    factors = [name for name in dict.fromkeys(named) if name in settings and bundle.options[name].minimum is not None]
    alone = {name: _largest(bundle, terms, settings, name, limit) for name in factors}
    enough = [f"{name} to {value}" for name, value in alone.items() if value is not None]
    if enough:
        return f"lower {' or '.join(enough)}"
    lowered, said = dict(settings), []
    for name in factors:
        value = _largest(bundle, terms, lowered, name, limit)
        lowered[name] = float(bundle.options[name].minimum if value is None else value)
        said.append(f"{name} to {lowered[name]:g}")
        if value is not None:
            return f"lower {' and '.join(said)}"
    return "start the server with a larger --conf cost_max"


def _largest(
    bundle: ServedBundle, terms: Sequence[Sequence[Any]], settings: Mapping[str, float], name: str, limit: float
) -> int | None:
    """The largest integer of one option with which the cost is within the limit; None where there is none."""
    low, high = math.ceil(bundle.options[name].minimum), int(settings[name])
    if high < low or _cost(terms, {**settings, name: float(low)}) > limit:
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _cost(terms, {**settings, name: float(middle)}) <= limit else (low, middle - 1)
    return low

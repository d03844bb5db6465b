"""The examples in docstrings give what they show."""

import doctest
import importlib

import pytest

MODULES = [
    "cases.values",
    "datasets.chest.grounding",
    "datasets.echo.clips",
    "diffusion.schedule",
    "diffusion.stitching",
    "instruments.echo.discs",
    "metrics.agreement",
    "phantoms.brain.template",
    "phantoms.echo.phantom",
    "phantoms.fields",
    "transforms.heat_bands",
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_hold(name):
    failed, tried = doctest.testmod(importlib.import_module(f"synthzoo.{name}"))
    assert tried and not failed

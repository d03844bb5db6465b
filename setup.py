"""For tools that want a setup.py; what the package is and needs stands in pyproject.toml."""

from setuptools import setup

setup()

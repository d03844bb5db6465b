"""Bundles as things: find, compose, check, inspect, make, index, pack and download them.

Used by scripts, tests and plugins; nothing else in the library imports this room. The modules are imported by name
(`from synthzoo.bundle.find import find_bundles`), so that reading an index does not load torch.
"""

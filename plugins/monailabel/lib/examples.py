"""A seeded example of what a bundle takes, as a file that every viewer opens."""

from __future__ import annotations

import shutil
from pathlib import Path

from synthzoo.cases.examples import write_example
from synthzoo.errors import UserError
from synthzoo.io.files import scratch_folder
from synthzoo.serving.sequences import as_sequence
from synthzoo.serving.served import ServedBundle

HIGHEST_SEED = 2**31 - 1


def make_example(served: ServedBundle, seed: int = 0) -> Path:
    """Write the example of a bundle's input, a phantom, into a temporary folder of its own and return its path.

    Args:
        served: the bundle.
        seed: of the phantom; the same one gives the same file.

    Raises:
        LookupError: the bundle takes no image, or its metadata names no example.
        UserError: a seed below 0 or above 2^31 - 1.
    """
    kind = served.block.get("example_input")
    if not served.takes_images or not kind:
        remedy = "upload an image instead" if served.takes_images else "it needs no image"
        raise LookupError(f"{served.name} has no example input: {remedy}.")
    if not 0 <= seed <= HIGHEST_SEED:
        raise UserError(f"seed is {seed}, but must be an integer from 0 to {HIGHEST_SEED}.")
    folder = scratch_folder("example")
    try:
        path = write_example(kind, folder, seed)
        return as_sequence(path)[0] if path.suffix == ".avi" else path
    except BaseException:
        shutil.rmtree(folder)
        raise

"""The folder of a new system's code with the files that every system has, and the folder of its tests."""

from __future__ import annotations

import re
from pathlib import Path

from synthzoo.errors import UserError
from synthzoo.io.files import write_text

INIT = '''"""Title of the paper (Author et al., Venue 2000).

Link: https://doi.org/

Bundles: {bundle}

Departs from the paper: say here, in a sentence or two, what is done otherwise and why.
"""
'''
NETWORK = '''"""The network of the paper: say what goes in and what comes out, with shapes and the formula."""

from __future__ import annotations
'''
OBJECTIVE = '''"""The loss of the paper as an objective of `synthzoo.training.stage`.

    loss = (network(x) - x)^2        replace this formula by the paper's
"""

from __future__ import annotations

import torch


class Objective:
    """Callable (network, batch) -> {"loss": scalar, ...}; every entry is logged."""

    def __call__(self, network: torch.nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        """`batch["image"]` (B, C, ...) in [0, 1] -> "loss"."""
        return {"loss": (network(batch["image"]) - batch["image"]).square().mean()}
'''
EVALUATION = '''"""What evaluate.json measures on phantoms: the paper's claim beside chance and a copied input."""

from __future__ import annotations
'''
TEST = '''"""The claim of the paper on phantoms, a sentence a test."""

from __future__ import annotations

from bundle_runs import ROOT

from synthzoo.bundle.compose import load_config

BUNDLE = ROOT / "bundles" / "{bundle}"


def test_the_bundle_has_a_network():
    network = load_config(BUNDLE).get_parsed_content("network_def")
    assert sum(parameter.numel() for parameter in network.parameters()) > 0
'''
FILES = {"__init__.py": INIT, "network.py": NETWORK, "objective.py": OBJECTIVE, "evaluation.py": EVALUATION}


def check_system(system: str) -> str:
    """Return `system` if a folder of `synthzoo/systems` can bear that name.

    Raises:
        UserError: other characters than lower-case letters, digits and single underscores.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", system):
        raise UserError(f"--system {system}: give lower-case letters, digits and underscores, such as brain_ldm.")
    return system


def write_system(system: str, bundle: str, root: str | Path) -> list[Path]:
    """Write the files of a system and its first test; one that is there already is left alone.

    Args:
        system: name of the folder, as the paper is called.
        bundle: name of the bundle that uses it.
        root: the checkout.

    Returns:
        the files that were written.
    """
    folder = Path(root) / "synthzoo" / "systems" / system
    planned = {} if folder.exists() else {folder / name: text for name, text in FILES.items()}
    planned[Path(root) / "tests" / "systems" / system / "test_bundle.py"] = TEST
    written = [path for path in planned if not path.exists()]
    for path in written:
        write_text(path, planned[path].replace("{bundle}", bundle))
    return written

"""The command line words a user's mistakes; a notebook or a server that imports the library stays what it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def python(*words: str) -> subprocess.CompletedProcess:
    """A fresh interpreter in the codebase's folder."""
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("module", ["synthzoo", "synthzoo.cli", "synthzoo.serving.served"])
def test_importing_the_library_leaves_the_process_alone(module):
    lines = ["import sys", "before = sys.excepthook, list(sys.argv)", f"import {module}"]
    lines += ["assert (sys.excepthook, sys.argv) == before", "raise synthzoo.UserError('of a notebook')"]
    result = python("-c", "\n".join(lines), "run", "--no-such-key", "1")
    assert result.returncode == 1 and "Traceback" in result.stderr and "of a notebook" in result.stderr


def test_a_script_words_a_mistake_in_one_sentence():
    result = python("scripts/new_bundle.py", "Wrong Name")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr

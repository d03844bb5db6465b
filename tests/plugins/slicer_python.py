"""The Python that has Slicer's libraries, and what a test that needs them lacks on this machine.

    python slicer_python.py      says of each part whether it is there; `make slicer` ends with it

Each part is tried in a process of its own, because a system library that is missing can end the process.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

OWN = Path(__file__).resolve().parents[2] / ".venv-slicer" / "bin" / "python"
SLICER_PYTHON = os.environ.get("SLICER_PYTHON") or (str(OWN) if OWN.exists() else sys.executable)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), "")
LONGEST_S = 120
HEADLESS = {"QT_QPA_PLATFORM": "offscreen", "VTK_DEFAULT_OPENGL_WINDOW": "vtkOSOpenGLRenderWindow"}

# Part -> what it is called, what is tried, the system's packages (Debian's names) that it needs.
PARTS = {
    "slicer": ("Slicer's libraries", "import slicer, slicer.util, trame_slicer.core", "libgl1 libglib2.0-0"),
    "drawing": (
        "drawing without a screen",
        "import vtk; window = vtk.vtkRenderWindow(); window.SetOffScreenRendering(1); window.Render()",
        "libosmesa6",
    ),
    "qt": (
        "Qt",
        "from PySide6 import QtUiTools, QtWidgets; QtWidgets.QApplication([])",
        "libegl1 libgl1 libglib2.0-0 libxkbcommon0 libfontconfig1 libdbus-1-3",
    ),
    "stock": ("what Slicer's MONAI Label module imports", "import SimpleITK, requests, requests_toolbelt", ""),
    "playwright": ("playwright", "import playwright.sync_api", ""),
    "chromium": ("a browser", "", "chromium"),
}


def lacking(*parts: str, python: str = SLICER_PYTHON, browser: str = CHROMIUM) -> str:
    """What is missing and how it is brought, one sentence for the first of `parts` that fails; empty if all are there.

    Args:
        parts: keys of `PARTS`.
        python: interpreter that should have them.
        browser: path of a Chromium.
    """
    for part in parts:
        name, code, packages = PARTS[part]
        failed = _failure(python, "-c", code) if code else _browser_failure(browser)
        if not failed:
            continue
        # A system package helps only where Python's own package is there and does not start.
        remedy = f"apt install {packages}" if packages and "ModuleNotFoundError" not in failed else "run `make slicer`"
        return f"{name}: {failed}; {remedy}"
    return ""


def _browser_failure(browser: str) -> str:
    if not browser:
        return f"none of {', '.join(BROWSERS)} is on the PATH and CHROMIUM is not set"
    return _failure(browser, "--version")


@functools.cache
def _failure(*command: str) -> str:
    """The last thing that a command says before it fails; empty if it ends well."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LONGEST_S, check=False, env={**os.environ, **HEADLESS}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]} does not run ({error.strerror if isinstance(error, OSError) else 'no end'})"
    if not done.returncode:
        return ""
    ended = f"signal {signal.Signals(-done.returncode).name}" if done.returncode < 0 else f"exit {done.returncode}"
    # Without colours, and without the time and place that VTK writes before a warning.
    plain = re.sub(r"\x1b\[[\d;]*m", "", done.stderr)
    lines = [line.rpartition("WARN| ")[2].strip() for line in plain.splitlines()]
    said = next((line for line in reversed(lines) if line), "no message")
    return f"{command[0]} says {said.rstrip('.')} ({ended})"


if __name__ == "__main__":
    print(f"slicer: the tests use {SLICER_PYTHON} and {CHROMIUM or 'no browser'}")
    missing = [found for found in (lacking(part) for part in PARTS) if found]
    for line in missing:
        print(f"slicer: missing: {line}")
    print("slicer: tests that need what is missing will be skipped" if missing else "slicer: all parts are there")

"""The page and drivers as processes of their own, and what a flat plane looks like in its views."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
from bundle_runs import ROOT
from slicer_python import SLICER_PYTHON

LONGEST_START_S = 200
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "VTK_DEFAULT_OPENGL_WINDOW": "vtkOSOpenGLRenderWindow"}


def start_page(folder: Path, *arguments: str) -> tuple[subprocess.Popen, str]:
    """`python -m plugins.web` as a process of its own, once it answers; gives it and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [SLICER_PYTHON, "-m", "plugins.web", *arguments, "--port", str(port)]
    with open(folder / "page.log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=ENV, cwd=ROOT)
    end = time.monotonic() + LONGEST_START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
            return process, f"http://127.0.0.1:{port}/"
        except OSError:
            time.sleep(0.2)
    process.kill()
    raise AssertionError(f"the page did not start:\n{(folder / 'page.log').read_text()[-3000:]}")


def drawn(plane: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A plane [x, y] as a slice view of rows x columns draws it: patient's right on the left, fitted to the window.

    Gives the picture and where the plane is in it.
    """
    from scipy.ndimage import map_coordinates

    (wide, high), (rows, columns) = plane.shape, shape[:2]
    scale = min(columns / wide, rows / high)
    row, column = np.mgrid[:rows, :columns]
    x = (wide - 1) / 2 - (column - (columns - 1) / 2) / scale
    y = (high - 1) / 2 - (row - (rows - 1) / 2) / scale
    inside = (abs(x - (wide - 1) / 2) < wide / 2) & (abs(y - (high - 1) / 2) < high / 2)
    return map_coordinates(plane, [x, y], order=1, mode="nearest"), inside


def report_of(*command: str, seconds: int = 290) -> dict:
    """The JSON that a driver prints."""
    done = subprocess.run(
        [SLICER_PYTHON, *command], capture_output=True, text=True, timeout=seconds, check=False, env=ENV
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    assert lines, done.stdout[-2000:] + done.stderr[-3000:]
    return json.loads(lines[0].removeprefix("REPORT "))

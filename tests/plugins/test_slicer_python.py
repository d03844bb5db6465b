"""Where Slicer's libraries are missing, a test that needs them is left out with the reason and the remedy."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from bundle_runs import ROOT
from slicer_python import lacking


@pytest.fixture
def script(tmp_path):
    """`script(text)` gives the path of a shell script that stands where the interpreter or the browser would."""

    def write(text: str) -> str:
        path = tmp_path / "stand_in"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_an_environment_without_the_packages_names_the_package_and_make_slicer(script):
    bare = script(f'exec {shlex.quote(sys.executable)} -I -S "$@"')  # this Python without its packages
    said = lacking("slicer", "qt", python=bare)
    assert "No module named 'slicer'" in said and said.endswith("run `make slicer`")


def test_a_system_library_that_is_missing_names_the_library_and_its_package(script):
    broken = script("echo 'ImportError: libEGL.so.1: cannot open shared object file' >&2; exit 1")
    said = lacking("qt", python=broken)
    assert "libEGL.so.1" in said and "apt install libegl1" in said


def test_a_library_that_ends_the_process_is_told_as_missing(script):
    ended = script("echo 'libOSMesa not found.' >&2; kill -SEGV $$")
    said = lacking("drawing", python=ended)
    assert "libOSMesa not found (signal SIGSEGV)" in said and said.endswith("apt install libosmesa6")


def test_an_interpreter_or_a_browser_that_is_not_there_is_told(tmp_path):
    nowhere = str(tmp_path / "nowhere")
    assert f"{nowhere} does not run (No such file or directory)" in lacking("slicer", python=nowhere)
    assert "CHROMIUM is not set; apt install chromium" in lacking("chromium", browser="")
    assert f"{nowhere} does not run" in lacking("chromium", browser=nowhere)


def test_nothing_is_said_where_nothing_is_missing(script):
    there = script("exit 0")
    assert lacking("slicer", "chromium", python=there, browser=there) == ""


def test_the_tests_are_left_out_before_a_server_starts_and_a_line_counts_them(script):
    bare = script(f'exec {shlex.quote(sys.executable)} -I -S "$@"')
    file = Path(__file__).with_name("test_stock_slicer.py")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--setup-show", str(file)]
    env = {**os.environ, "SLICER_PYTHON": bare}
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=env, cwd=ROOT)
    assert done.returncode == 0 and "SETUP" not in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
    (line,) = [line for line in done.stdout.splitlines() if "were left out" in line]
    assert line.startswith("3 tests with Slicer's own libraries") and line.endswith("run `make slicer`")
    assert " 3 skipped" in done.stdout

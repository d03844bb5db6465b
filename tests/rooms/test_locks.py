"""A lock that a file system does not give ends no run: it is said once, and the data set is finished."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from bundle_runs import ROOT

# What flock says on Lustre without it (L), and on NFS for a folder, which can be opened for reading only (N).
NO_LOCK = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
int flock(int file, int operation) {
    const char *mode = getenv("NO_LOCK");
    if (mode && mode[0] == 'L') { errno = ENOSYS; return -1; }
    if (mode && (operation & LOCK_EX) && (fcntl(file, F_GETFL) & O_ACCMODE) == O_RDONLY) { errno = EBADF; return -1; }
    return 0;
}
"""
RUN = """
import sys
from synthzoo.cases.requests import RequestTable
from synthzoo.results.echonet import EchoNetWriter
from synthzoo.results.finalize import FinalizeDataset
from synthzoo.results.save import SaveResult
import numpy as np

AGE = {"age": {"type": "number", "minimum": 20, "maximum": 90}}
table = RequestTable(AGE, num_samples=2, output_dir=sys.argv[1] + "/out", bundle="b")
save = SaveResult(table, spacing_mm=2.0)
for index in range(len(table)):
    save({**table[index], "pred": np.zeros((1, 8, 8, 8), np.float32)})
FinalizeDataset(table, preview=0)()
with EchoNetWriter(sys.argv[1] + "/videos") as writer:
    writer.add("one", np.zeros((4, 16, 16), np.uint8), 20, 55, "train")
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A library that answers for the file system."""
    if not (compiler := shutil.which("gcc") or shutil.which("cc")):
        pytest.skip("there is no C compiler to build a file system's answer with")
    source = tmp_path_factory.mktemp("lock") / "lock.c"
    source.write_text(NO_LOCK, encoding="utf-8")
    made = source.with_suffix(".so")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(made), str(source)], check=True)
    return made


@pytest.mark.parametrize("mode", ["L", "N"])
def test_a_file_system_without_locks_gets_its_data_set(library, mode, tmp_path):
    environment = os.environ | {"LD_PRELOAD": str(library), "NO_LOCK": mode, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    result = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=100)
    assert result.returncode == 0, result.stderr
    assert len((tmp_path / "out" / "participants.tsv").read_text(encoding="utf-8").splitlines()) == 3
    assert "one" in (tmp_path / "videos" / "FileList.csv").read_text(encoding="utf-8")
    said = [line for line in result.stderr.splitlines() if "gives no lock" in line]
    assert len(said) == 1 and said[0].startswith("warning: ") and str(tmp_path) in said[0]


def test_of_several_processes_one_gathers_without_a_lock_too(tmp_path, monkeypatch):
    from synthzoo.cases.requests import RequestTable
    from synthzoo.results.dataset_files import gather_failures

    monkeypatch.setenv("WORLD_SIZE", "2")
    tables = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        tables.append(RequestTable({"age": {"type": "number"}}, num_samples=2, output_dir=str(tmp_path)))
        tables[-1].failures = [f"image {rank} is bad."]
    answers = []
    for rank in (0, 1, 1):  # the third call sees what a process without a lock sees: all is gathered already
        monkeypatch.setenv("RANK", str(rank))
        answers.append(gather_failures(tables[rank]))
    assert answers[:2] == [None, ["image 0 is bad.", "image 1 is bad."]] and answers[2] is None

"""Files are written whole or not at all, and what a killed process leaves is swept by the next one that writes."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest

from synthzoo.bundle.find import bundle_files
from synthzoo.errors import StorageError
from synthzoo.io.files import HOST, atomic_path, scratch_folder, sweep, sweep_scratch, work_folder, write_bytes
from synthzoo.io.kinds import is_input
from synthzoo.io.marks import read_mark
from synthzoo.io.volumes import is_nifti_video, read_volume

KILLED = """
import os, signal, sys
from synthzoo.io.files import scratch_folder, atomic_folder, atomic_path, work_folder
from pathlib import Path
folder = Path(sys.argv[1])
(scratch_folder("test") / "half").write_bytes(b"half")
with atomic_path(folder / "model.pt") as one, atomic_path(one) as two, atomic_folder(folder / "series") as three:
    with work_folder(folder, "download") as four:
        for path in (one, two, three / "0.dcm", four / "bundle.zip"):
            path.write_bytes(b"half")
        print(os.getpid(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """A folder that a process was killed in while it wrote into it, and its number."""
    folder = tmp_path / "bundle"
    write_bytes(folder / "model.pt", b"old")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return folder, int(done.stdout)


def test_leftovers_of_a_killed_process_are_no_files_of_a_bundle_and_the_next_save_sweeps_them(killed):
    folder, process = killed
    left = [path for path in folder.iterdir() if path.name.startswith(f".tmp{process}-{HOST}_")]
    assert len(left) == 4 and bundle_files(folder) == [folder / "model.pt"]
    assert not [path for path in left if is_input(path, ("volume", "latents"))]
    code = f"from synthzoo.io.files import write_bytes; write_bytes({str(folder / 'other')!r}, b'new')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert sorted(path.name for path in folder.iterdir()) == ["model.pt", "other"]
    assert (folder / "model.pt").read_bytes() == b"old"


def test_scratch_folders_of_a_killed_process_are_swept_and_those_of_a_living_one_stay(killed, tmp_path):
    own = scratch_folder("test")
    other = tmp_path / f"synthzoo_test_{os.getppid()}-{HOST}_x"
    other.mkdir()
    assert len(list(tmp_path.glob("synthzoo_test_*"))) == 3
    sweep_scratch()
    assert sorted(tmp_path.glob("synthzoo_test_*")) == sorted([own, other])
    shutil.rmtree(own)


def test_what_a_living_process_or_another_machine_writes_is_left_alone(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = [
        f".tmp{os.getppid()}-{HOST}_a",
        f".tmp{gone.pid}-0f0f0f_b",
        f".tmp{gone.pid}_c",
        f".tmp{gone.pid}-{HOST}_d",
    ]
    for name in (*names, ".tmpnothing_e", f".tmp{os.getpid()}-{HOST}_f"):
        (tmp_path / name).write_bytes(b"half")
    with atomic_path(tmp_path / "g") as mine, work_folder(tmp_path, "h") as folder:
        mine.write_bytes(b"whole")
        sweep(tmp_path)
        kept = {path.name for path in tmp_path.iterdir()}
        assert kept == {names[0], names[1], ".tmpnothing_e", mine.name, folder.name}
    assert (tmp_path / "g").read_bytes() == b"whole"
    day = time.time() - 25 * 3600
    os.utime(tmp_path / names[1], (day, day))
    sweep(tmp_path)
    assert not (tmp_path / names[1]).exists()


def test_a_full_disk_leaves_the_old_file_and_is_told_in_a_sentence(tmp_path):
    write_bytes(tmp_path / "a", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StorageError, match="no space left"):
            write_bytes(tmp_path / "a", bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"old"


def test_a_name_of_the_longest_kind_can_be_written(tmp_path):
    name = "ä" * 122 + ".nii.gz"
    write_bytes(tmp_path / name, b"whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("ending", [".NII.GZ", ".Nii.Gz", ".nii.GZ", ".NII", ".Nii"])
def test_a_nifti_file_is_read_however_its_ending_is_spelled(tmp_path, ending):
    array = np.random.default_rng(0).random((4, 5, 6), dtype=np.float32)
    plain = tmp_path / f"a{ending.lower()}"
    nib.save(nib.Nifti1Image(array, np.diag([2, 2, 2, 1])), plain)
    path = tmp_path / f"b{ending}"
    plain.rename(path)
    assert np.array_equal(read_volume(path)[0][0], array) and is_input(path, ("volume",))
    assert read_mark(path) is None and not is_nifti_video(path)

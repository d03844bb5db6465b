"""A data set of many images survives SIGKILL: what is started again ends as if nothing had happened, in flat memory."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest
import torch
from bundle_runs import ROOT, digests

from synthzoo.errors import UserError
from synthzoo.serving.generation import generate_dataset

SCRIPT = ROOT / "scripts" / "generate_dataset.py"
COUNT = 40
REQUESTED = {"age": "40,80", "batch_size": 2}
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
DATE = {"SOURCE_DATE_EPOCH": "1700000000", "OMP_NUM_THREADS": "1"}


def start(bundle, out, log) -> subprocess.Popen:
    """The command as typed, in two processes."""
    words = ["--bundle", bundle, "--num_samples", COUNT, "--seed", 4, "--age", "40,80", "--batch_size", 2, "--out", out]
    command = [sys.executable, *TORCHRUN, SCRIPT, *words]
    with open(log, "w") as file:
        return subprocess.Popen(list(map(str, command)), stdout=file, stderr=file, env=os.environ | DATE)


def kill_all(process: subprocess.Popen) -> None:
    """SIGKILL to the starter and to every process below it, at once."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        member.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=20)
    process.wait()


def expect_whole(folder: Path) -> int:
    """Every file under its final name can be read to its end; returns how many images are complete."""
    for path in folder.rglob("*.nii.gz"):
        if path.name[0] != ".":
            assert np.isfinite(np.asarray(nib.load(path).dataobj)).all()
    done = [path for path in folder.rglob("sub-*_T1w.json") if path.name[0] != "."]
    for path in done:
        assert json.loads(path.read_text())["files"] == [path.name.replace(".json", ".nii.gz")]
        assert path.with_suffix(".nii.gz").is_file()
    return len(done)


@pytest.fixture(scope="module")
def uninterrupted(skeleton, tmp_path_factory) -> Path:
    """The same data set from one process that nobody disturbed."""
    folder, threads = tmp_path_factory.mktemp("uninterrupted") / "ds", torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", DATE["SOURCE_DATE_EPOCH"])
        generate_dataset(skeleton, folder, COUNT, seed=4, settings=REQUESTED)
    torch.set_num_threads(threads)
    return folder


@pytest.mark.timeout(600)  # seconds on a machine at leisure; a busy one is no failure
def test_sigkill_in_the_middle_loses_nothing_and_doubles_nothing(skeleton, uninterrupted, tmp_path):
    out, log = tmp_path / "ds", tmp_path / "log"
    process = start(skeleton, out, log)
    end = time.monotonic() + 240
    while len(list(out.glob("sub-*/anat/sub-*_T1w.json"))) < 5:
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.01)
    kill_all(process)
    complete = expect_whole(out)
    assert 5 <= complete < COUNT
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("sub-*_T1w.json") if path.name[0] != "."}
    # What a kill between two lines of the writer leaves: half a file under a temporary name, an image without sidecar.
    last = out / f"sub-{COUNT:04d}" / "anat"
    last.mkdir(parents=True, exist_ok=True)
    (last / f".tmp1_sub-{COUNT:04d}_T1w.nii.gz").write_bytes(b"half")
    (last / f"sub-{COUNT:04d}_T1w.nii.gz").write_bytes(b"of another request")

    again = start(skeleton, out, log)
    assert again.wait(timeout=240) == 0, log.read_text()
    assert expect_whole(out) == COUNT
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "complete images were made again"
    assert digests(out) == digests(uninterrupted)
    said = re.findall(r"process ([01])\D.*?(\d+)/(\d+) \[.*image", log.read_text())
    assert {rank for rank, *_ in said} == {"0", "1"}, "each process says how far it is"


def test_the_folder_is_a_bids_data_set(uninterrupted):
    tops = {path.name for path in uninterrupted.iterdir()}
    subjects = [f"sub-{n:04d}" for n in range(1, COUNT + 1)]
    texts = ["README", "CHANGES", ".bidsignore", "dataset_description.json", "participants.tsv", "participants.json"]
    assert tops == {*subjects, *texts, "code", "preview.png", "croissant.json"}
    assert "preview.png" in (uninterrupted / ".bidsignore").read_text().split()
    for subject in subjects:
        files = sorted(path.relative_to(uninterrupted).as_posix() for path in (uninterrupted / subject).rglob("*.*"))
        assert files == [f"{subject}/anat/{subject}_T1w.json", f"{subject}/anat/{subject}_T1w.nii.gz"]
    described = json.loads((uninterrupted / "dataset_description.json").read_text())
    assert described["Name"] and re.fullmatch(r"\d+\.\d+\.\d+", described["BIDSVersion"])
    assert described["DatasetType"] in ("raw", "derivative") and described["GeneratedBy"][0]["Name"]
    assert re.match(r"\d+\.\d+\.\d+ \d{4}-\d\d-\d\d\n  - ", (uninterrupted / "CHANGES").read_text())
    header, *rows = [line.split("\t") for line in (uninterrupted / "participants.tsv").read_text().splitlines()]
    assert header[0] == "participant_id" and [row[0] for row in rows] == subjects
    assert all(len(row) == len(header) and all(row) for row in rows)
    explained = json.loads((uninterrupted / "participants.json").read_text())
    assert list(explained) == header[1:] and explained["age"]["Units"] == "years"
    ages = [float(row[header.index("age")]) for row in rows]
    assert min(ages) >= 40 and max(ages) <= 80 and len(set(ages)) == COUNT
    requested = [line.split("\t") for line in (uninterrupted / "code" / "requests.tsv").read_text().splitlines()]
    assert [row[0] for row in requested[1:]] == subjects
    assert [float(row[requested[0].index("age")]) for row in requested[1:]] == ages


def test_started_again_it_does_nothing_and_other_requests_are_one_sentence(skeleton, uninterrupted):
    before = digests(uninterrupted)
    generate_dataset(skeleton, uninterrupted, COUNT, seed=4, settings=REQUESTED)
    for changed, sentence in (
        ({"settings": {**REQUESTED, "age": 50}}, r"holds other requests \(line 2 is 'sub-0001 .*choose another --out"),
        ({"seed": 5}, "holds other requests"),
        ({"settings": {**REQUESTED, "colour": 1}}, "--colour: unknown condition or setting"),
        ({"num_samples": 0}, "--num_samples is 0"),
    ):
        arguments = {"num_samples": COUNT, "seed": 4, "settings": REQUESTED} | changed
        with pytest.raises(UserError, match=sentence) as caught:
            generate_dataset(skeleton, uninterrupted, **arguments)
        assert "\n" not in str(caught.value)
    assert digests(uninterrupted) == before


MEMORY = """
import sys
import psutil
from synthzoo.serving import generation

peak, count_images = 0, generation.Progress.__call__

def measure(progress, engine):
    global peak
    peak = max(peak, psutil.Process().memory_info().rss)
    count_images(progress, engine)

generation.Progress.__call__ = measure
for count in (20, 200):
    peak = 0
    shape = {"dataset#noise_shape": [1, 40, 40, 40]}
    generation.generate_dataset(sys.argv[1], f"{sys.argv[2]}/{count}", count, settings=shape)
    print("peak", peak)
"""


@pytest.mark.timeout(600)
def test_memory_does_not_grow_with_the_number_of_images(skeleton, tmp_path):
    # 180 further images of 0.25 MB would show as 45 MB if anything kept them.
    command = [sys.executable, "-c", MEMORY, str(skeleton), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | DATE, timeout=400)
    assert result.returncode == 0, result.stderr
    few, many = (int(line.split()[1]) for line in result.stdout.splitlines() if line.startswith("peak"))
    print(f"peak memory {few / 1e6:.0f} MB with 20 images, {many / 1e6:.0f} MB with 200")
    assert many < 1.05 * few

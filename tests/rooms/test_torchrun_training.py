"""Two processes train one network: a real `torchrun` of a bundle's training on gloo, as people are told to type it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import psutil
import pytest
import torch
from bundle_runs import ROOT

from synthzoo.bundle.find import find_bundles, read_json

BUNDLES = [bundle for bundle in find_bundles(ROOT) if (bundle / "configs" / "multi_gpu_train.json").is_file()]
# Each takes about half a minute, so `make test` runs one and `--slow` runs all.
CHOSEN = [pytest.param(bundle, marks=pytest.mark.slow, id=bundle.name) for bundle in BUNDLES[:-1]]
CHOSEN += [pytest.param(bundle, id=bundle.name) for bundle in BUNDLES[-1:]]
STEPS = 2
SMOKE = {"max_epochs": 1, "epoch_length": STEPS, "batch_size": 1, "train_size": 2 * STEPS}
PLACES = {"save_to": "saved/model.pt", "checkpoint_dir": "saved", "log_dir": "logs"}
WEIGHTS = "hashlib.sha256(b''.join(v.numpy().tobytes() for v in @network.state_dict().values())).hexdigest()"
DRAWS = f"list(itertools.islice(@train#trainer.data_loader.batch_sampler, {STEPS}))"


def _told(what: str, value: str) -> str:
    """One write a line: what two processes print into one pipe piece by piece is mixed."""
    return f"$os.write(1, ' '.join(['\\n{what}', os.environ['RANK'], {value}, '\\n']).encode())"


# An overlay of one's own: each process also says what it draws, and which weights it began and ended with.
SAY = {
    "imports": [f"$import {name}" for name in ("synthzoo.cli", "torch", "hashlib", "itertools", "json", "os")],
    "run": [
        _told("began", WEIGHTS),
        _told("draws", f"json.dumps({DRAWS})"),
        "$@train#trainer.run()",
        _told("ended", WEIGHTS),
        _told("backend", "torch.distributed.get_backend()"),
    ],
}


def stage_below(overlay) -> str:
    """The training stage that multi_gpu_train.json says it lies on."""
    words = read_json(overlay)["_desc_"]
    return next(path.name for path in sorted(overlay.parent.glob("train*.json")) if path.name in words)


@pytest.mark.timeout(600)  # half a minute on a machine at leisure; a busy one is no failure
@pytest.mark.parametrize("bundle", CHOSEN)
def test_two_processes_share_the_rows_and_end_with_one_network(bundle, tmp_path):
    (tmp_path / "say.json").write_text(json.dumps(SAY))
    overlay = bundle / "configs" / "multi_gpu_train.json"
    configs = [bundle / "configs" / "inference.json", bundle / "configs" / stage_below(overlay), overlay]
    made = {"bundle_root": bundle, **SMOKE, **{key: tmp_path / place for key, place in PLACES.items()}}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    command += ["monai.bundle", "run", "--config_file", str([*map(str, configs), str(tmp_path / "say.json")])]
    command += [word for key, value in made.items() for word in (f"--{key}", str(value))]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # gloo, wherever this runs
    told = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **told) as process:
        try:
            stdout, stderr = process.communicate(timeout=560)
        except subprocess.TimeoutExpired:
            for worker in psutil.Process(process.pid).children(recursive=True):
                worker.kill()
            process.kill()
            raise
    assert process.returncode == 0, stdout + stderr

    said: dict[str, dict[str, str]] = {}
    # Two processes share one pipe, so a line may begin with what the other has just printed.
    for what, rank, value in re.findall(
        r"(began|draws|ended|backend) ([01]) ([0-9a-f]{64}|\[\[.*?\]\]\]|gloo)", stdout
    ):
        said.setdefault(what, {})[rank] = value
    assert set(said) == {"began", "draws", "ended", "backend"}, stdout
    assert said["backend"] == {"0": "gloo", "1": "gloo"}
    assert said["ended"].keys() == {"0", "1"} and said["ended"]["0"] == said["ended"]["1"], said
    assert said["began"]["0"] != said["ended"]["0"], "nothing was learnt"
    draws = [draw for rank in "01" for batch in json.loads(said["draws"][rank]) for draw in batch]
    assert sorted(draw for _, draw in draws) == list(range(2 * STEPS)), "together they take each draw once"
    assert len({row for row, _ in draws}) == 2 * STEPS, "no row is seen twice before all were seen"

    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    events = [name for name in written if name.startswith("logs/events.")]
    assert written == sorted([*events, "say.json", "saved/checkpoint.pt", "saved/model.pt"])
    assert len(events) == 1, "one process writes for all"
    assert torch.load(tmp_path / "saved" / "checkpoint.pt", weights_only=True)["iteration"] == STEPS
    assert torch.load(tmp_path / "saved" / "model.pt", weights_only=True)

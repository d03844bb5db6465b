"""What README and cards tell people to type: every command is sound, and the real command line runs from anywhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import BUNDLE_NAMES, ROOT, TYPED_NAMES, quick, volumes
from typed_commands import bases

from synthzoo.bundle.compose import load_config
from synthzoo.bundle.find import find_bundles, read_json

CARDS = [path for path in (bundle / "docs" / "README.md" for bundle in find_bundles(ROOT)) if path.is_file()]
PAGES = [path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md") if path.is_file()] + CARDS
STOCK_OPTIONS = {"config_file", "meta_file", "logging_file", "run_id", "init_id", "final_id", "args_file"}


def run(*command, cwd, timeout=280, env=None) -> subprocess.CompletedProcess:
    """One command in a process of its own, with one thread, its output kept for the failure message."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | (env or {}),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def options(made: dict) -> list[str]:
    return [word for key, value in made.items() for word in (f"--{key}", str(value))]


def commands(page: Path) -> list[list[str]]:
    """Every command of the fenced blocks of a page, as words; a line that ends in a backslash goes on."""
    found = []
    for block in re.findall(r"^```[a-z]*\n(.*?)^```", page.read_text(), flags=re.S | re.M):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"(\$ )?([A-Z_]+=\S+ )*(python|torchrun|make|\S*/python)\b", line.strip()):
                found.append(shlex.split(line.strip().removeprefix("$ "), comments=True))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_names_files_and_options_that_exist(page):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    for words in commands(page):
        shown = f"{page.relative_to(ROOT)}: {shlex.join(words)}"
        if words[0] == "make":
            goals = [word for word in words[1:] if "=" not in word and word[0] != "-"]
            assert set(goals) <= targets, f"{shown}: targets are {sorted(targets)}"
        for script in (word for word in words if word.startswith("scripts/")):
            assert (ROOT / script).is_file(), f"{shown}: {script} does not exist"
        if "monai.bundle" not in words or "run" not in words or "--config_file" not in words:
            continue
        listed = words[words.index("--config_file") + 1]
        paths = json.loads(listed.replace("'", '"')) if listed[0] == "[" else [listed]
        bundle = bundle_of(page, paths[0])
        if bundle is None:
            continue
        stems = [Path(path).stem for path in paths]
        alone = bases(bundle)
        assert stems[0] in alone, f"{shown}: overlays lie on {' or '.join(alone)}, which comes first"
        config = load_config(bundle, stems[1:], base=stems[0])
        for option in (word[2:].split("=")[0] for word in words if word.startswith("--")):
            if option in STOCK_OPTIONS or words.index("monai.bundle") > words.index(f"--{option}"):
                continue
            assert option.split("#")[0] in config.get(), f"{shown}: there is no key '{option}' in {stems}"


def bundle_of(page: Path, config: str) -> Path | None:
    """The bundle that a path in a command means: named in the path, or the one whose card it stands in."""
    for bundle in find_bundles(ROOT):
        if bundle.name in config or bundle in page.parents:
            return bundle
    return None


@pytest.mark.parametrize("bundle", TYPED_NAMES, indirect=True, scope="session")
def test_a_bundle_runs_from_another_folder_as_typed(bundle, phantom_nifti, tmp_path, quick_run):
    config = bundle / "configs" / "inference.json"
    made = quick(bundle, phantom_nifti, tmp_path / "out", bundle_root=bundle)
    # Sums are rounded in another order with other threads, and a label map turns the last bit into another label.
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    words = ["-m", "monai.bundle", "run", "--config_file", config, *options(made)]
    result = run(sys.executable, *words, cwd=tmp_path, env=threads)
    assert result.returncode == 0, result.stdout + result.stderr
    here = volumes(quick_run(bundle))
    typed = volumes(tmp_path / "out")
    assert typed.keys() == here.keys()
    assert all(np.allclose(typed[name], here[name], atol=1e-4) for name in here)
    left = [path.name for path in tmp_path.iterdir() if path.name != "out"]
    assert left == [], f"a run writes below output_dir only, but it left {left}"


@pytest.mark.parametrize("bundle", TYPED_NAMES[:1], indirect=True, scope="session")
def test_a_mistake_is_one_sentence_and_no_traceback(bundle, tmp_path):
    made = {"bundle_root": bundle, "output_dir": tmp_path / "out", "age": 300}
    config = bundle / "configs" / "inference.json"
    result = run(sys.executable, "-m", "monai.bundle", "run", "--config_file", config, *options(made), cwd=tmp_path)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    sentences = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1 and "300" in sentences[0] and "90" in sentences[0], result.stderr
    assert not list(tmp_path.rglob("*.nii.gz"))


@pytest.mark.parametrize("bundle", TYPED_NAMES[:1], indirect=True, scope="session")
def test_torchrun_shares_the_requests_out(bundle, phantom_nifti, tmp_path, quick_run):
    config = bundle / "configs" / "inference.json"
    made = quick(bundle, phantom_nifti, tmp_path / "out", bundle_root=bundle)
    starter = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    result = run(*starter, "monai.bundle", "run", "--config_file", config, *options(made), cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    alone, shared = volumes(quick_run(bundle)), volumes(tmp_path / "out")
    assert shared.keys() == alone.keys()
    assert all(np.allclose(shared[name], alone[name], atol=1e-4) for name in alone)
    rows = (tmp_path / "out" / "participants.tsv").read_text().strip().splitlines()
    assert len(rows) == 1 + len(alone)


@pytest.mark.parametrize("bundle", BUNDLE_NAMES[-1:], indirect=True, scope="session")
def test_stock_trace_export_as_typed(bundle, tmp_path):
    form = read_json(bundle / "configs" / "metadata.json")["network_data_format"]["inputs"]["image"]
    shape = [1, form["num_channels"], *(size if isinstance(size, int) else 32 for size in form["spatial_shape"])]
    shorter = ["--network_def#steps", "2"] if "steps" in load_config(bundle)["network_def"] else []
    config, meta = bundle / "configs" / "inference.json", bundle / "configs" / "metadata.json"
    words = ["--config_file", config, "--meta_file", meta, "--ckpt_file", bundle / "models" / "model.pt", *shorter]
    words += ["--filepath", tmp_path / "model.ts", "--use_trace", "True", "--input_shape", shape]
    words += ["--bundle_root", bundle]
    result = run(sys.executable, "-m", "monai.bundle", "ckpt_export", "network_def", *words, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert torch.isfinite(torch.jit.load(tmp_path / "model.ts")(torch.zeros(shape))).all()

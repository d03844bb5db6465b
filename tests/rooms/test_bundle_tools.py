"""The zoo's tools on small bundles: names, metadata, inspection, index, packing, loading of weights."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from synthzoo import UserError
from synthzoo.bundle.compose import load_config, run_bundle
from synthzoo.bundle.find import TASKS, check_name, find_bundle, find_bundles
from synthzoo.bundle.form import form_problems, format_files
from synthzoo.bundle.index import build_index
from synthzoo.bundle.inspect.judge import inspect_bundle
from synthzoo.bundle.new import new_bundle
from synthzoo.bundle.order import order_problems
from synthzoo.bundle.pack import build_wheel, pack_bundle, package_bundles
from synthzoo.bundle.schema import metadata_problems
from synthzoo.bundle.skeletons import SKELETONS
from synthzoo.networks.saving import save_atomically, save_weights
from synthzoo.networks.weights import load_weights

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("bundle_samples", ROOT / "tests" / "bundle_samples.py")
samples = importlib.util.module_from_spec(spec)
spec.loader.exec_module(samples)


@pytest.fixture
def bundle(tmp_path):
    return samples.write_bundle(tmp_path)


@pytest.mark.parametrize("name", ["brain_mr_synthesis_ldm", "brain_mr_anomaly_map_manytasks"])
def test_good_names_pass(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["chest_xr_synthesis_vae", "brain_mr_detection_x", "brain_mr_deepedit_x", "Brain_mr_a_b", "brain_mr_x", "a__b_c_d"],
)
def test_bad_names_are_one_sentence(name):
    with pytest.raises(UserError, match=name):
        check_name(name)


def test_unknown_bundle_lists_the_known(bundle, tmp_path):
    assert find_bundles(tmp_path) == [bundle]
    with pytest.raises(UserError, match="phantom_mr_synthesis_tiny"):
        find_bundle("brain_mr_synthesis_none", tmp_path)


def test_metadata_problems_name_the_key(bundle):
    assert metadata_problems(bundle) == []
    samples.change(bundle, "version", "one", "metadata.json")
    assert any(problem.startswith("version") for problem in metadata_problems(bundle))


def test_a_plain_bundle_passes(bundle):
    result = inspect_bundle(bundle)
    assert (result.verdict, result.exit_code) == ("pass", 0), str(result)


EVIL_VALUES = [
    {"_target_": "os.system", "command": "id"},
    {"_target_": "subprocess.check_output", "args": ["id"]},
    {"_target_": "builtins.eval", "source": "1"},
    {"_target_": "eval", "source": "1"},
    {"_target_": "torch.os.system", "command": "id"},
    {"_target_": "monai.utils.misc.subprocess.run", "args": ["id"]},
    {"_target_": "run_cmd", "cmd_list": ["id"]},
    {"_target_": "monai.utils.instantiate", "__path": "os.system"},
    {"_target_": "torch.hub.load", "repo_or_dir": "a/b"},
    {"_target_": "torch.utils.cpp_extension.load", "name": "x"},
    {"_target_": "@program"},
    {"_target_": "$os.system", "command": "id"},
    [1, {"deep": [{"_target_": "subprocess.run", "args": ["id"]}]}],
    "$os.system('id')",
    "$__import__('os').system('id')",
    "$(lambda m: m.system)(os)('id')",
    "$getattr(os, 'sys' + 'tem')('id')",
    "$getattr(os, 'system')('id')",
    "$[c for c in ().__class__.__base__.__subclasses__()]",
    "$eval('1')",
    "$torch.os.system('id')",
    "$torch.load('x.pt', weights_only=False)",
    "$torch.hub.load('a/b', 'c')",
    "$import subprocess",
    "$from os import system as join",
    "$import importlib",
    "$monai.bundle.run(config_file='x.json')",
    "$open(",
    "%/tmp/other.json::key",
]


@pytest.mark.parametrize("value", EVIL_VALUES, ids=str)
def test_a_config_that_runs_a_command_is_refused_with_its_line(bundle, value):
    samples.change(bundle, "hidden", value)
    result = inspect_bundle(bundle)
    assert (result.verdict, result.exit_code) == ("refuse", 3), str(result)
    finding = next(finding for finding in result.findings if finding.verdict == "refuse")
    assert finding.file == "configs/inference.json" and finding.why


def test_an_alias_does_not_hide_a_module(bundle):
    samples.change(bundle, "imports", ["$import os as numpy"])
    samples.change(bundle, "hidden", "$numpy.system('id')")
    assert inspect_bundle(bundle).verdict == "refuse"


@pytest.mark.parametrize(
    "line",
    [
        "args=(__import__('os').system('id'),)",
        "class=os.system",
        "args=(open('/tmp/x','w'),)",
        "class=logging.config.listen",
    ],
)
def test_a_logging_conf_that_runs_a_command_is_refused(bundle, line):
    key = line.split("=")[0]
    path = bundle / "configs" / "logging.conf"
    lines = [line if text.startswith(f"{key}=") else text for text in path.read_text().splitlines()]
    path.write_text("\n".join(lines))
    result = inspect_bundle(bundle)
    assert result.verdict == "refuse"
    assert result.findings[0].file == "configs/logging.conf" and result.findings[0].line > 0


class Evil:
    def __reduce__(self):
        return os.system, ("echo hostile",)


def test_hostile_weights_are_refused_and_never_loaded(bundle, capfd):
    torch.save(Evil(), bundle / "models" / "model.pt")
    assert inspect_bundle(bundle).verdict == "refuse"
    with pytest.raises(UserError, match="plain tensors"):
        load_weights(torch.nn.Conv2d(1, 1, 1), bundle / "models" / "model.pt")
    assert "hostile" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("import torch\n\n\ndef f(x):\n    return torch.relu(x)\n", "pass"),
        ("import subprocess\nsubprocess.run(['id'])\n", "refuse"),
        ("import requests\nrequests.get('http://example.org')\n", "review"),
        ("from os import popen\n", "refuse"),
        ("import pickle\npickle.load(open('x', 'rb'))\n", "refuse"),
    ],
)
def test_python_files_are_read(bundle, text, verdict):
    (bundle / "scripts").mkdir()
    (bundle / "scripts" / "losses.py").write_text(text)
    samples.change(bundle, "loss", "$scripts.losses.f")
    assert inspect_bundle(bundle).verdict == verdict


def test_network_paths_and_large_files_need_a_look(bundle):
    samples.change(bundle, "weights", "http://example.org/model.pt")
    assert inspect_bundle(bundle).verdict == "review"
    samples.change(bundle, "weights", "../../elsewhere/model.pt")
    assert inspect_bundle(bundle).verdict == "review"
    samples.change(bundle, "weights", "models/model.pt")
    (bundle / "large_files.yml").write_text("large_files:\n- path: ../x.pt\n  url: https://example.org/x.pt\n")
    assert inspect_bundle(bundle).verdict == "refuse"


def test_links_and_zip_members_that_escape_are_refused(bundle, tmp_path):
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("b/configs/metadata.json", "{}")
        archive.writestr("b/../../x.txt", "x")
    assert inspect_bundle(tmp_path / "b.zip").verdict == "refuse"
    (bundle / "models" / "link.pt").symlink_to("/etc/passwd")
    assert inspect_bundle(bundle).verdict == "refuse"


METRICS = {
    "command": "python -m monai.bundle run",
    "tables": [{"title": "Volumes", "columns": ["who", "r"], "rows": [["ours", 0.98765], ["shuffled", None]]}],
    "figures": {"r_ventricle": 0.98765, "seconds_per_sample_cpu": 1.5},
}


def test_results_flow_from_metrics_to_index_card_and_readme(tmp_path):
    bundle = samples.write_bundle(tmp_path, metrics=METRICS)
    (tmp_path / "README.md").write_text("# Zoo\n<!-- bundles -->\n<!-- /bundles -->\n")
    assert set(build_index(tmp_path)) >= {"bundle_index.json", "README.md", "models/model_info.json"}
    assert build_index(tmp_path, check=True) == []
    entry = json.loads((tmp_path / "bundle_index.json").read_text())["bundles"][bundle.name]
    assert entry["eval_metrics"]["r_ventricle"] == 0.98765
    assert entry["results"] == {"command": METRICS["command"], "file": "docs/metrics.json"}
    assert entry["seconds_per_sample"] == {"cpu": 1.5} and entry["licence"] == "Apache-2.0"
    assert "| ours | 0.9877 |" in (bundle / "docs" / "README.md").read_text()
    assert bundle.name in (tmp_path / "README.md").read_text()
    assert "phantom_mr_synthesis_tiny_v0.1.0" in json.loads((tmp_path / "models" / "model_info.json").read_text())
    samples.change(bundle, "hidden", 1)
    assert build_index(tmp_path, check=True) == ["bundle_index.json"]


def test_two_packings_give_the_same_bytes_with_wheel_and_safetensors(tmp_path):
    source = tmp_path / "zoo"
    bundle = samples.write_bundle(source)
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copyfile(ROOT / name, source / name)
    shutil.copytree(ROOT / "synthzoo", source / "synthzoo", ignore=shutil.ignore_patterns("__pycache__"))
    first = package_bundles(source, tmp_path / "one", "http://127.0.0.1:1")
    os.utime(bundle / "models" / "model.pt", (0, 0))
    second = package_bundles(source, tmp_path / "two", "http://127.0.0.1:1")
    assert first["bundles"][bundle.name]["zip"] == second["bundles"][bundle.name]["zip"]
    archive = zipfile.ZipFile(tmp_path / "one" / f"{bundle.name}_v0.1.0.zip")
    names = archive.namelist()
    assert names == sorted(names) and all(name.startswith(f"{bundle.name}/") for name in names)
    assert any(name.endswith("-py3-none-any.whl") for name in names)
    archive.extractall(tmp_path / "out")
    from safetensors.torch import load_file

    tensors = load_file(tmp_path / "out" / bundle.name / "models" / "model.safetensors")
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert tensors.keys() == state.keys() and all(torch.equal(tensors[name], state[name]) for name in state)


def test_packing_without_weights_says_so(bundle, tmp_path):
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(UserError, match="train"):
        pack_bundle(bundle, tmp_path / "x.zip")
    with pytest.raises(UserError, match="pyproject.toml"):
        build_wheel(tmp_path, tmp_path)


def test_weights_load_from_half_precision_and_foreign_ones_are_named(tmp_path):
    network = torch.nn.Conv2d(1, 2, 1)
    path = tmp_path / "model.pt"
    torch.save({name: tensor.half() for name, tensor in network.state_dict().items()}, path)
    assert load_weights(torch.nn.Conv2d(1, 2, 1), path).weight.dtype == torch.float32
    with pytest.raises(UserError, match="another network"):
        load_weights(torch.nn.Conv2d(1, 3, 1), path)
    with pytest.raises(UserError, match="do not exist"):
        load_weights(network, tmp_path / "none.pt")


def test_weights_are_stored_smaller_and_read_back_bit_for_bit_by_stock_torch(tmp_path):
    network = torch.nn.Conv2d(64, 64, 3)
    save_atomically(network.state_dict(), tmp_path / "plain.pt")
    save_weights(network, tmp_path / "model.pt")
    found = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all(torch.equal(value, found[name]) for name, value in network.state_dict().items())
    assert (tmp_path / "model.pt").stat().st_size < 0.95 * (tmp_path / "plain.pt").stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt", "plain.pt"]
    first = (tmp_path / "model.pt").read_bytes()
    save_weights(network, tmp_path / "model.pt")
    assert (tmp_path / "model.pt").read_bytes() == first


@pytest.mark.parametrize("task", ["synthesis", "anomaly_map"])
def test_a_new_bundle_is_sound_trains_and_runs(task, tmp_path, phantom_nifti):
    name = f"brain_mr_{task}_first"
    bundle = new_bundle(name, task, root=tmp_path)
    assert metadata_problems(bundle) == [] and order_problems(bundle) == []
    assert inspect_bundle(bundle).verdict == "pass", str(inspect_bundle(bundle))
    with pytest.raises(UserError, match="exists already"):
        new_bundle(name, task, root=tmp_path)
    run_bundle(bundle, "train", {"max_epochs": 1, "epoch_length": 2})
    load_weights(load_config(bundle).get_parsed_content("network_def"), bundle / "models" / "model.pt")
    requested = {"num_samples": 2} if task == "synthesis" else {"images": str(phantom_nifti)}
    run_bundle(bundle, overrides={**requested, "output_dir": str(tmp_path / "out")})
    made = {path.name: nib.load(path) for path in sorted((tmp_path / "out").rglob("*.nii.gz"))}
    if task == "synthesis":
        assert list(made) == ["sub-0001_T1w.nii.gz", "sub-0002_T1w.nii.gz"]
        return
    assert list(made) == ["patient_dseg.nii.gz", "patient_heatmap.nii.gz"]
    scan, heat = nib.load(phantom_nifti), made["patient_heatmap.nii.gz"]
    assert heat.shape == scan.shape and np.allclose(heat.affine, scan.affine, atol=1e-4)
    assert 0 <= heat.get_fdata().min() < heat.get_fdata().max() <= 1


def test_there_is_a_skeleton_for_every_task_and_another_task_is_one_sentence(tmp_path):
    assert set(SKELETONS) == set(TASKS)
    with pytest.raises(UserError, match="--task painting: the tasks are synthesis, translation, anomaly_map"):
        new_bundle("brain_mr_painting_first", "painting", root=tmp_path)


def test_a_new_system_has_the_files_that_every_system_has_and_old_ones_are_left_alone(tmp_path):
    bundle = new_bundle("brain_mr_translation_flow", "translation", tmp_path, system="brain_flow")
    folder, test = (tmp_path / "synthzoo" / "systems" / "brain_flow"), (tmp_path / "tests" / "systems" / "brain_flow")
    files = ["__init__.py", "evaluation.py", "network.py", "objective.py"]
    assert sorted(path.name for path in folder.iterdir()) == files
    said = (folder / "__init__.py").read_text()
    assert "Bundles: brain_mr_translation_flow" in said and "Departs from the paper: " in said
    assert "brain_mr_translation_flow" in (test / "test_bundle.py").read_text()
    for path in [*folder.iterdir(), test / "test_bundle.py"]:
        compile(path.read_text(), path, "exec")
    assert json.loads((bundle / "configs" / "metadata.json").read_text())["synthzoo"]["system"] == "brain_flow"
    (folder / "network.py").write_text("mine = 1\n")
    new_bundle("brain_mr_translation_flows", "translation", tmp_path, system="brain_flow")
    assert (folder / "network.py").read_text() == "mine = 1\n"
    with pytest.raises(UserError, match="--system Brain-Flow"):
        new_bundle("brain_mr_translation_third", "translation", tmp_path, system="Brain-Flow")


def test_form_is_judged_by_one_text_and_mended_by_format(tmp_path):
    bundle = samples.write_bundle(tmp_path)
    path = bundle / "configs" / "inference.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content, indent=4))
    assert [problem.endswith("not in canonical form; run `make format`") for problem in form_problems(path, True)] == [
        True
    ]
    assert path in format_files(tmp_path) and json.loads(path.read_text()) == content
    assert form_problems(path, True) == [] and format_files(tmp_path) == []
    twice = '{\n  "seed": 0,\n  "seed": 1\n}\n'
    path.write_text(twice)
    assert "'seed' stands twice" in form_problems(path, True)[0]
    assert format_files(tmp_path) == [] and path.read_text() == twice, "which value is meant is not guessed"


def test_what_the_checker_prints_names_the_file_the_line_and_the_remedy(tmp_path):
    bundle = samples.write_bundle(tmp_path)
    format_files(tmp_path)
    path = bundle / "configs" / "metadata.json"
    path.write_text(path.read_text().replace('": ', '":  ', 1))
    command = [sys.executable, str(ROOT / "scripts" / "check_json.py"), "--root", str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 1 and f"{path}:2: not in canonical form; run `make format`" in told.stdout


def test_the_config_says_whether_requests_or_images_or_both_are_needed(tmp_path):
    bundle = new_bundle("brain_mr_translation_something", task="translation", root=tmp_path)
    path = bundle / "configs" / "inference.json"
    config = json.loads(path.read_text())
    assert order_problems(bundle) == []
    both = {}
    for key, value in config.items():
        both |= {"num_samples": 1, "requests": None, key: value} if key == "images" else {key: value}
    path.write_text(json.dumps(both))
    assert order_problems(bundle) == []
    path.write_text(json.dumps({key: value for key, value in both.items() if key != "num_samples"}))
    assert order_problems(bundle) == ["inference.json lacks the key 'num_samples'"]
    path.write_text(json.dumps({key: value for key, value in config.items() if key != "images"}))
    assert order_problems(bundle) == ["inference.json has neither 'requests' nor 'images': nothing says what is run"]

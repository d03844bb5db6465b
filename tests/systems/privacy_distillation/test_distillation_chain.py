"""The whole chain on a small data set: killed in its middle it goes on, done stages are not run again, and only public
parts and kept samples reach the student."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from bundle_runs import ROOT
from small_chests import write_chests

from synthzoo.bundle.compose import load_config
from synthzoo.errors import UserError, find_user_error
from synthzoo.networks.saving import save_weights
from synthzoo.systems.privacy_distillation.evaluation import TITLES
from synthzoo.systems.privacy_distillation.stages import load_stage

BUNDLE = ROOT / "bundles" / "chest_xr_privacy_distillation"
SMALL = {
    "latent_shape": [4, 16, 16],
    "network_def#denoiser#unet#channels": [16, 32],
    "network_def#denoiser#unet#num_head_channels": [0, 16],
    "network_def#reid#widths": [4, 8, 8, 8],
}
FEW = {"epoch_length": 2, "batch_size": 4}
# Enough iterations of the teacher for a kill to come between two of them.
STAGES = {
    "reid": FEW,
    "second": FEW,
    "teacher": {"epoch_length": 16, "batch_size": 2, "train#trainer#checkpoint_every": 1, "snapshot_every": 8},
    "student": FEW,
    "control": FEW,
}
ALONE = """
import json, sys
from synthzoo.bundle.compose import load_config
load_config(sys.argv[1], ["distill"], json.loads(sys.argv[2])).get_parsed_content("run")
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Overrides of distill.json without a work_dir."""
    folder = tmp_path_factory.mktemp("distillation")
    chests = write_chests(folder / "chests")
    network = load_config(BUNDLE, overrides=SMALL).get_parsed_content("network_def")
    network.fit_latents(torch.zeros(4), torch.ones(4))
    save_weights(network, folder / "autoencoder.pt", half=True)  # as all weights are stored
    return {
        "data_format": "chestxray14",
        "dataset_dir": str(chests),
        "public_format": "chestxray14",
        "public_dir": str(chests),
        "distillation#private#validation_share": 0.5,
        "image_size": 64,
        "private_patients": 4,
        "teacher_samples": 80,
        "model_samples": 8,
        "steps": 2,
        "autoencoder_path": str(folder / "autoencoder.pt"),
        "save_to": str(folder / "student.pt"),
        "audit": False,
        "overrides": SMALL,
        "stages": STAGES,
    }


def distil(given, work_dir, **changed):
    values = {**given, "work_dir": str(work_dir), **changed}
    return load_config(BUNDLE, ["distill"], values).get_parsed_content("distillation").run()


def killed_in_its_teacher(given, work_dir) -> bool:
    """Start the chain in a process of its own and kill it once its teacher has a checkpoint."""
    values = json.dumps({**given, "work_dir": str(work_dir)})
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", ALONE, str(BUNDLE), values], env=environment)
    try:
        while process.poll() is None and not list(work_dir.glob("teacher-*/checkpoint.pt")):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    return not list(work_dir.glob("teacher-*/done.json"))


@pytest.fixture(scope="module")
def resumed(given, tmp_path_factory):
    """What a chain left that was killed and started again."""
    work_dir = tmp_path_factory.mktemp("resumed")
    assert killed_in_its_teacher(given, work_dir), "the teacher was done before the kill: give it more iterations"
    assert list(work_dir.glob("reid-*/done.json"))
    return distil(given, work_dir)


def test_a_chain_that_was_killed_ends_with_the_weights_of_one_that_was_not(given, resumed, tmp_path):
    whole = distil(given, tmp_path / "whole")
    for name in ("teacher", "student", "control"):
        one, other = (torch.load(found[name], weights_only=True) for found in (resumed, whole))
        assert all(torch.equal(value, other[key]) for key, value in one.items()), name
    shipped = Path(given["save_to"]).read_bytes()
    assert shipped == Path(whole["student"]).read_bytes() == Path(resumed["student"]).read_bytes(), "the student"


def test_only_public_parts_and_kept_samples_reach_the_student(resumed):
    reid, student, teacher = (torch.load(resumed[name], weights_only=True) for name in ("reid", "student", "teacher"))
    for key, value in reid.items():
        if not key.startswith(("denoiser.", "conditions.")):
            assert torch.equal(student[key], value), f"{key} is the public one"
    done = json.loads((Path(resumed["student"]).parent / "done.json").read_text())
    assert sorted(done["inputs"]) == ["public_path", "synthetic_path"], (
        "neither the teacher's weights nor a private image"
    )
    assert not torch.equal(teacher["conditions.table.weight"], student["conditions.table.weight"])
    kept, made = (torch.load(p, weights_only=True) for p in (Path(resumed["filter"]) / "kept.pt", resumed["synthesis"]))
    assert set(kept["seeds"].tolist()) < set(made["seeds"].tolist()) or len(kept["seeds"]) == len(made["seeds"])
    drawn = torch.load(Path(resumed["filter"]) / "unfiltered.pt", weights_only=True)
    assert len(drawn["seeds"]) == len(kept["seeds"]), "the control's set has the same size"


def test_the_filter_writes_a_row_for_each_sample_and_what_was_kept(resumed):
    folder = Path(resumed["filter"])
    lines = (folder / "synthetic.csv").read_text().splitlines()
    assert lines[0].startswith("seed,label_nodule,") and lines[0].endswith(",label_sex,s_max,nearest_image,kept")
    report = json.loads((folder / "filter.json").read_text())
    assert len(lines) == 1 + report["samples"] == 81
    assert sum(line.endswith(",1") for line in lines) == report["kept"]
    scores = [float(line.split(",")[-3]) for line in lines[1:]]
    assert sum(score < report["threshold"] for score in scores) == report["kept"]


def test_what_is_done_is_not_run_again_and_another_setting_runs_what_it_changes(given, resumed, capsys):
    work_dir = Path(resumed["filter"]).parent
    before = {path: path.stat().st_mtime_ns for path in work_dir.rglob("done.json")}
    assert distil(given, work_dir) == resumed
    # The student has the public autoencoder: with its weights in the place of the autoencoder's nothing changes.
    assert distil(given, work_dir, autoencoder_path=given["save_to"]) == resumed
    assert {path: path.stat().st_mtime_ns for path in work_dir.rglob("done.json")} == before
    assert "teacher: " in capsys.readouterr().out
    Path(resumed["student_samples"]).write_bytes(b"damaged")
    again = distil(given, work_dir, percentile=80.0)
    assert again["teacher"] == resumed["teacher"] and again["filter"] != resumed["filter"]
    assert json.loads((work_dir / "distillation.json").read_text())["percentile"] == 80
    config = load_config(BUNDLE, ["evaluate"], {"distillation_dir": str(work_dir)})
    with pytest.raises(Exception) as caught:
        config.get_parsed_content("evaluation")
    assert "were filtered with 80: add --percentile 80" in str(find_user_error(caught.value))


def settings_of(given, name, overlays, **changed):
    """What decides the content of a stage of training, without running it."""
    chain = load_config(BUNDLE, ["distill"], {**given, "work_dir": "none", **changed}).get_parsed_content(
        "distillation"
    )
    return chain.settings(name, overlays, chain.private if name == "teacher" else chain.public)


def test_a_stage_is_named_by_what_it_depends_on_and_by_nothing_else(given):
    reid, teacher = ("reid", ("train_teacher", "reid")), ("teacher", ("train_teacher",))
    fewer, other_seed = {"private_patients": 3}, {"seed": 5}
    assert settings_of(given, *reid, **fewer) == settings_of(given, *reid), "public patients alone"
    assert settings_of(given, *teacher, **fewer) != settings_of(given, *teacher)
    for stage in (reid, teacher):
        assert settings_of(given, *stage, **other_seed) != settings_of(given, *stage)
        assert settings_of(given, *stage, cache_dir="elsewhere") == settings_of(given, *stage)
        changed = {"overrides": {**SMALL, "train#trainer#ema_decay": 0.5}}
        assert settings_of(given, *stage, **changed) != settings_of(given, *stage)


def test_a_folder_may_have_any_name_in_all_stages(given, tmp_path):
    """Letters that MONAI's parser reads as references, copies and expressions reach the data set as they are."""
    folder = tmp_path / "$my @chests #1 % x"
    folder.symlink_to(given["dataset_dir"])
    chain = load_config(
        BUNDLE, ["distill"], {**given, "work_dir": tmp_path / "w", "dataset_dir": folder, "public_dir": folder}
    ).get_parsed_content("distillation")
    config = load_stage(BUNDLE, ["train_teacher"], chain.changed("teacher", ["train_teacher"], chain.private))
    assert config.get_parsed_content("train#dataset#dataset_dir") == str(folder)


def test_the_audit_measures_every_set_by_every_judge(given, resumed, tmp_path):
    # Another test of this folder may have ended with another percentile: the summary is the last run's.
    assert distil(given, Path(resumed["filter"]).parent) == resumed
    changed = {"distillation_dir": Path(resumed["filter"]).parent, "weights": resumed["student"], **SMALL}
    changed |= {"output_dir": tmp_path, "save_to": tmp_path / "metrics.json", "figure": tmp_path / "sets.png"}
    load_config(BUNDLE, ["evaluate"], {**changed, "classifier_steps": 2, "seeds": 1}).get_parsed_content("run")
    report = json.loads((tmp_path / "metrics.json").read_text())
    figures, kept = report["figures"], json.loads((Path(resumed["filter"]) / "filter.json").read_text())
    for judge in ("filter", "second", "instrument", "pixels"):
        for name in ("patients", "unseen", "teacher", "kept", "unfiltered", "student", "control", "unprompted"):
            assert 0 <= figures[f"r_{name}_{judge}"] <= 1
    learnt_from = {row[0]: row[1] for row in next(t for t in report["tables"] if "trained on" in t["columns"])["rows"]}
    assert learnt_from[TITLES["real_shuffled"]] == learnt_from[TITLES["real"]] > learnt_from[TITLES["untrained"]] == 0
    assert learnt_from[TITLES["student_shuffled"]] == 8 and 0 <= figures["reid_auroc_untrained"] <= 1
    assert figures["r_kept_filter"] == 0, "by construction: no evidence"
    assert figures["r_teacher_filter"] == pytest.approx(1 - kept["kept"] / kept["samples"], abs=1e-4)
    assert figures["kept_share"] == pytest.approx(kept["kept"] / kept["samples"], abs=1e-4)
    assert figures["r_at_8_second"] <= 1 and figures["r_at_16_second"] <= 1, "along the teacher's training"
    assert report["figures"]["criteria"] == 8 and (tmp_path / "sets.png").stat().st_size > 1000


def test_a_damaged_result_is_made_again(given, resumed):
    work_dir = Path(resumed["filter"]).parent
    Path(resumed["student_samples"]).write_bytes(b"damaged")
    assert distil(given, work_dir) == resumed
    assert torch.load(resumed["student_samples"], weights_only=True)["images"].shape == (8, 64, 64)


def test_what_is_missing_is_named_with_its_remedy(given, tmp_path):
    with pytest.raises(UserError, match="autoencoder_path .* does not exist: give weights"):
        distil(given, tmp_path, autoencoder_path=str(tmp_path / "none.pt"))
    with pytest.raises(Exception) as caught:
        load_config(BUNDLE, ["evaluate"], {"distillation_dir": str(tmp_path)}).get_parsed_content("evaluation")
    assert "run configs/distill.json first" in str(find_user_error(caught.value))

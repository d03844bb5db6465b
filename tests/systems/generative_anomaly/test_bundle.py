"""What the generative anomaly maps claim, a sentence a test, with the shipped weights; and their published scales."""

from __future__ import annotations

import json
import math
from functools import partial

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import ROOT
from mapped_brains import heat_of, paired_maps, spotted_scan, turned
from paper_stages import move_by_one_step

from synthzoo.bundle.compose import load_config
from synthzoo.bundle.find import read_json
from synthzoo.bundle.index import METHODS, plan
from synthzoo.datasets.brain.phantoms import SPLITS
from synthzoo.phantoms.brain.pathology.pool import FIRST_ANATOMY

CODES, DIFFUSION = "brain_mr_anomaly_map_autoregressive", "brain_mr_anomaly_map_ddpm"
STAGES = {CODES: [["train_transformer", "train_vqvae"], ["train_transformer"]]}
STAGES[DIFFUSION] = [["train_healthy"], ["train_healthy", "train_labelled"]]
HOTTER = {CODES: 1.5, DIFFUSION: 1.3}  # mean heat of a lesion over that of the rest; maps of diffusion are flatter
ALL = [ROOT / "bundles" / name for name in ("brain_mr_anomaly_map_manytasks", CODES, DIFFUSION)]
SMALL = {
    CODES: {
        **dict.fromkeys(("network_def#autoencoder#channels", "network_def#autoencoder#num_res_channels"), [8, 8]),
        "network_def#transformer#attn_layers_dim": 16,
        "network_def#transformer#attn_layers_depth": 1,
    },
    DIFFUSION: {
        "network_def#unet#channels": [8, 8, 8],
        "network_def#unet#num_head_channels": 8,
        "network_def#unet#norm_num_groups": 4,
    },
}


@pytest.fixture(scope="module", params=[CODES, DIFFUSION])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def config(name):
    return load_config(ROOT / "bundles" / name, overrides={"inferer#progress": False})


@pytest.fixture(scope="module")
def mapped(config):
    """A function: scan -> its map on its own grid, and the affine."""
    network, inferer = config.get_parsed_content("network").eval(), config.get_parsed_content("inferer")
    return partial(heat_of, network=network, inferer=inferer)


@pytest.fixture(scope="module")
def flair(mapped):
    return paired_maps(mapped.keywords["network"], mapped.keywords["inferer"], 270_003, "FLAIR", gadolinium=False)


def test_a_lesion_is_hotter_than_what_surrounds_it_and_than_the_same_place_without_it(flair, name):
    lesion, sick, well = flair["lesion"], flair["sick"], flair["well"]
    rest = ~lesion & (sick > 0)
    print(f"lesion {sick[lesion].mean():.3f}, elsewhere {sick[rest].mean():.3f}, without {well[lesion].mean():.3f}")
    assert sick[lesion].mean() > HOTTER[name] * sick[rest].mean()
    assert sick[lesion].mean() > 1.5 * well[lesion].mean()


def test_most_of_a_healthy_brain_lies_below_the_threshold(flair, config):
    well = flair["well"]
    assert (well[well > 0] >= config["threshold"]).mean() < 0.03


def test_a_scan_of_another_orientation_and_spacing_has_its_map_on_its_own_grid(mapped, name):
    image, spot, affine = spotted_scan()
    scan, truth = (turned(array, affine, "PIR", (2.5, 2.0, 2.0)) for array in (image, spot))
    heat, found = mapped(scan)
    assert heat.shape == scan.shape and np.allclose(found, scan.affine)
    inside = truth.get_fdata() > 0.5
    print(f"spot {heat[inside].mean():.3f}, elsewhere {heat[~inside & (heat > 0)].mean():.3f}")
    assert heat[inside].mean() > HOTTER[name] * heat[~inside & (heat > 0)].mean()


@pytest.mark.parametrize("name", [CODES, DIFFUSION])
def test_a_run_writes_map_regions_score_and_preview_as_every_anomaly_map_does(name, quick_run, phantom_nifti):
    case = quick_run(ROOT / "bundles" / name) / "patient"
    heat, scan = nib.load(case / "patient_heatmap.nii.gz"), nib.load(phantom_nifti)
    assert heat.shape == scan.shape and np.allclose(heat.affine, scan.affine, atol=1e-4)
    assert heat.get_fdata().min() >= 0 and heat.get_fdata().max() <= 1
    record = json.loads((case / "patient_heatmap.json").read_text())
    assert 0 <= record["score"] <= 1 and record["threshold"]["value"] == 0.5
    assert (case / "patient_heatmap.png").is_file()
    regions = np.asarray(nib.load(case / "patient_dseg.nii.gz").dataobj)
    assert {region["label"] for region in record["regions"]} == set(np.unique(regions).tolist()) - {0}


# --- side by side ----------------------------------------------------------------------------------------------------


def test_all_anomaly_maps_of_the_brain_are_evaluated_on_the_same_scans():
    evaluations = [read_json(bundle / "configs" / "evaluate.json") for bundle in ALL]
    for key in ("subjects", "healthy", "references", "large_lesions", "first_seed"):
        assert len({config[key] for config in evaluations if key in config}) <= 1, key
    for bundle in ALL:
        merged = load_config(bundle, ["evaluate"])
        assert merged["evaluation"]["smooth_voxels"] == "@smooth_voxels" and merged["smooth_voxels"] == 1.5
        assert merged["grid"] == [80, 96, 80]


def test_they_stand_side_by_side_on_a_page():
    text = plan(ROOT)[ROOT / METHODS]
    for bundle in ALL:
        figures = read_json(bundle / "docs" / "metrics.json")["figures"]
        assert f"| `{bundle.name}` | {figures['T1w_ap']:.4g} |" in text


def test_subjects_of_training_calibration_and_evaluation_are_of_different_splits():
    low, high = SPLITS["test"]
    for name, stages in STAGES.items():
        for stage in stages:
            size = load_config(ROOT / "bundles" / name, stage)["train_size"]
            assert size <= SPLITS["train"][1] < low < high <= FIRST_ANATOMY  # from which sick brains are made


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, stage", [(name, stage) for name, stages in STAGES.items() for stage in stages])
def test_a_stage_takes_steps_in_half_precision_on_slices_of_phantoms(name, stage, tmp_path):
    overrides = {
        **SMALL[name],
        "epoch_length": 2,
        "batch_size": 2,
        "train_size": 2,
        "train#trainer#progress": False,
        **dict.fromkeys(("checkpoint_dir", "save_to", "log_dir")),
        "network": "$@network_def.to(@device)",
        "train#trainer#init_from": None,
        "cache_dir": str(tmp_path),
    }
    trainer = load_config(ROOT / "bundles" / name, stage, overrides).get_parsed_content("train#trainer")
    assert trainer.autocast == (True, torch.bfloat16)
    trainer.run()
    assert trainer.state.iteration == 2 and all(math.isfinite(value) for value in trainer.state.output.values())


# --- published scales ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, overlays, part, millions",
    [
        (CODES, ["paper"], "autoencoder", 11.84),
        (CODES, ["paper"], "transformer", 3.24),
        (DIFFUSION, ["paper"], "unet", 2.14),
        (DIFFUSION, ["paper", "paper_reconstruction"], "unet", 22.05),
    ],
)
def test_a_part_has_the_parameters_of_its_published_scale(name, overlays, part, millions):
    config = load_config(ROOT / "bundles" / name, overlays)
    with torch.device("meta"):
        network = config.get_parsed_content("network_def")
    count = sum(parameter.numel() for parameter in getattr(network, part).parameters()) / 1e6
    assert count == pytest.approx(millions, rel=0.005)
    assert f"{millions} M" in read_json(ROOT / "bundles" / name / "configs" / f"{overlays[-1]}.json")["_desc_"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, below, stage, part",
    [
        (CODES, ["train_transformer"], "vqvae", "autoencoder"),
        (CODES, [], "transformer", "transformer"),
        (DIFFUSION, ["paper_reconstruction"], "healthy", "unet"),
        (DIFFUSION, ["train_healthy"], "labelled", "unet"),
    ],
)
def test_a_step_at_the_published_scale_moves_its_part(name, below, stage, part):
    rows = "$[{'image': torch.rand(1, 80, 96), 'conditions': torch.zeros(1)}]"
    move_by_one_step(ROOT / "bundles" / name, stage, part, rows, below)

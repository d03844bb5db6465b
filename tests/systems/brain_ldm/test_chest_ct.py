"""chest_ct_synthesis_ldm is the brain's system by configuration alone: requests become CT in HU, stages train."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch

from synthzoo.bundle.compose import load_config
from synthzoo.bundle.find import read_json
from synthzoo.bundle.order import walk
from synthzoo.datasets.chest.ct import grid
from synthzoo.evaluation.chest_subjects import Chests
from synthzoo.phantoms.chest.measured import FINDING_ML, LUNG_ML, MEASURES
from synthzoo.serving.served import ServedBundle
from synthzoo.systems.brain_ldm.dataset import LatentDataset
from synthzoo.systems.brain_ldm.evaluation import SynthesisEvaluation

BUNDLES = Path(__file__).parents[3] / "bundles"
BUNDLE = BUNDLES / "chest_ct_synthesis_ldm"
SMALL = {
    "network_def#autoencoder#channels": [8, 8, 8],
    "network_def#denoiser#unet#channels": [16, 16],
    "network_def#denoiser#unet#num_head_channels": [0, 16],
    "network_def#denoiser#gaussian#modes": 2,
    "network": "$@network_def.to(@device).eval()",
    "steps": 1,
}
TINY = {**SMALL, "image_shape": [1, 16, 16, 16], "latent_shape": [32, 2, 2, 2], "batch_size": 2}
TINY |= {"train#trainer#amp": False, "epoch_length": 2, "checkpoint_dir": None, "log_dir": None}


def test_requests_become_ct_in_hu_as_nifti_and_as_a_series(tmp_path):
    for form in ("native", "dicom"):
        settings = {**SMALL, "output_dir": str(tmp_path / form), "weights": "", "output_format": form}
        settings |= {"effusion_left_ml": 400, "nodule_left_ml": 0, "handlers#0#preview": 0}
        torch.manual_seed(0)
        load_config(BUNDLE, [], settings).get_parsed_content("run", eval_expr=True)
    case = tmp_path / "native" / "sub-0001"
    image, said = nib.load(case / "sub-0001_ct.nii.gz"), json.loads((case / "sub-0001_ct.json").read_text())
    _, shape, affine = grid(4.0)
    hu = np.asarray(image.dataobj)
    assert list(image.shape) == shape and np.allclose(image.affine, affine)
    assert -1000 <= hu.min() < -200 and hu.max() <= 1000
    assert said["requested"]["effusion_left_ml"] == 400 and said["requested"]["lung_ml"] is None
    assert said["requested"]["nodule_left_ml"] == 0 and said["units"]["lung_ml"] == "mL"
    slices = [pydicom.dcmread(path) for path in sorted((tmp_path / "dicom").rglob("*.dcm"))]
    assert len(slices) == shape[2] and {one.Modality for one in slices} == {"CT"}
    stored = np.stack([one.pixel_array * one.RescaleSlope + one.RescaleIntercept for one in slices], -1)
    assert abs(stored.mean() - hu.mean()) < 1 and stored.min() >= -1000
    # Rows run to the back and columns to the patient's left, where RAS runs to the front and to the right.
    assert np.abs(stored.transpose(1, 0, 2)[::-1, ::-1] - hu).max() < 0.51
    assert [float(at) for at in slices[0].ImagePositionPatient] == pytest.approx([-190, -195, -178])
    assert "LUNG" in slices[0].WindowCenterWidthExplanation


def test_a_server_and_a_viewer_are_told_that_it_is_ct_and_the_window_of_lungs():
    served = ServedBundle(BUNDLE)
    assert served.modality == "CT" and not served.takes_images
    assert served.outputs["image"]["window"] == [-1000, 500]
    assert read_json(BUNDLE / "configs" / "inference.json")["dataset"]["suffix"] == served.outputs["image"]["suffix"]


def test_the_conditions_are_the_phantoms_measures_within_what_they_hold():
    conditions = read_json(BUNDLE / "configs" / "inference.json")["dataset"]["conditions"]
    assert tuple(conditions) == MEASURES
    assert (conditions["lung_ml"]["minimum"], conditions["lung_ml"]["maximum"]) == LUNG_ML
    network = read_json(BUNDLE / "configs" / "inference.json")["network_def"]["conditions"]
    for name, high in zip(MEASURES[1:], network["high"][1:]):
        assert conditions[name]["maximum"] == high == FINDING_ML[name.split("_")[0]][1]
        assert conditions[name]["minimum"] == 0


def test_the_difference_to_the_brain_is_data_and_numbers():
    own = {
        value
        for name in ("inference", "evaluate", "evaluate_shortcuts", "train_autoencoder", "train_diffusion")
        for where, value in walk(read_json(BUNDLE / "configs" / f"{name}.json"))
        if where.endswith("_target_")
    }
    brain = {
        value
        for path in (BUNDLES / "brain_mr_synthesis_ldm" / "configs").glob("*.json")
        for where, value in walk(read_json(path))
        if where.endswith("_target_")
    }
    data = {"synthzoo.datasets.chest.ct.ChestCTDataset", "synthzoo.datasets.sources.training_images"}
    data |= {"Dataset", "RandSpatialCropd", "EnsureTyped", "ScaleIntensityRanged"}
    data |= {"synthzoo.evaluation.chest_subjects.Chests"}
    code = {"synthzoo.networks.block_code.BlockCodeAutoencoderKL", "synthzoo.networks.block_code.start_from_cubes"}
    assert own - brain <= data | code
    assert not [target for target in own if "systems" in target and "brain_ldm" not in target]


def test_the_first_stage_begins_at_the_linear_code_and_takes_steps(tmp_path):
    overrides = {
        **{key: value for key, value in TINY.items() if key != "network"},
        "patch": [16, 16, 16],
        "train#images": "$[{'image': torch.rand(1, 16, 16, 16)} for n in range(9)]",
        "save_to": str(tmp_path / "model.pt"),
    }
    config = load_config(BUNDLE, ["train_autoencoder"], overrides)
    network = config.get_parsed_content("network")
    assert network.autoencoder.cubes_in.weight.abs().max() > 0
    before = network.autoencoder.cubes_out.weight.clone()
    config.get_parsed_content("run", eval_expr=True)
    assert (tmp_path / "model.pt").is_file() and not torch.equal(network.autoencoder.cubes_out.weight, before)


def test_the_second_stage_trains_on_latents_that_are_encoded_once(tmp_path):
    rows = "$[{'image': torch.rand(1, 16, 16, 16), 'conditions': torch.rand(9) * 30} for n in range(8)]"
    overrides = {**TINY, "train#dataset#dataset": rows, "save_to": str(tmp_path / "model.pt")}
    config = load_config(BUNDLE, ["train_diffusion"], overrides)
    latents = config.get_parsed_content("train#dataset")
    assert isinstance(latents, LatentDataset) and latents[0]["latent"].shape == (32, 2, 2, 2)
    config.get_parsed_content("run", eval_expr=True)
    assert (tmp_path / "model.pt").is_file()


def test_the_evaluation_is_the_brains_with_chests_as_subjects(tmp_path):
    overrides = {**SMALL, "evaluation_size": 9, "sweep_size": 8, "output_dir": str(tmp_path), "weights": ""}
    evaluation = load_config(BUNDLE, ["evaluate"], overrides).get_parsed_content("evaluation")
    assert type(evaluation) is SynthesisEvaluation and isinstance(evaluation.subjects, Chests)
    assert evaluation.spacing_mm == 4.0 and evaluation.requested.shape == (9, 9) and evaluation.split == "test"
    parts = load_config(BUNDLE, ["evaluate", "evaluate_shortcuts"], overrides).get_parsed_content("evaluation")
    assert parts.measure_shortcuts and parts.parts == ["shortcuts"]
    choice = {**overrides, "evaluation#split": "validation"}
    other = load_config(BUNDLE, ["evaluate"], choice).get_parsed_content("evaluation")
    assert other.folder != evaluation.folder


def test_the_published_networks_are_those_of_the_frameworks_authors():
    with torch.device("meta"):
        network = load_config(BUNDLE, ["paper"]).get_parsed_content("network_def")
    assert sum(p.numel() for p in network.denoiser.parameters()) / 1e6 == pytest.approx(553, abs=3)
    assert tuple(network.latent_shape[1:]) == tuple(n // 8 for n in grid(2.0)[1])
    assert np.allclose(read_json(BUNDLE / "configs" / "paper.json")["affine"], grid(2.0)[2])

"""The evaluation of super-resolution on tiny heads: every row is there, and its figures say what they are called."""

import json

import numpy as np
import pytest
import torch
from bundle_runs import ROOT
from small_superresolution import small_upscaler

from synthzoo.bundle.compose import load_config
from synthzoo.errors import UserError
from synthzoo.evaluation.report import Report
from synthzoo.systems.monai_generative.superresolution_evaluation import (
    KEYS,
    STEPS,
    TRUSTS,
    Pair,
    SuperResolutionEvaluation,
    scores_of,
    sharpened,
)
from synthzoo.systems.monai_generative.superresolution_heads import threshold_beside, weights_beside
from synthzoo.systems.monai_generative.superresolution_inferer import SuperResolutionInferer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluation")


def evaluation(folder, **settings):
    sizes = {"subjects": 1, "crop": 24, "draws": 2, "spacing_mm": 3.0, "heads": ("FLAIR",)}
    shared = {"report": Report(folder / "metrics.json"), "work_dir": folder, "inferer": SuperResolutionInferer(steps=2)}
    return SuperResolutionEvaluation(small_upscaler(), cache_dir=folder, **{**sizes, **shared, **settings})


def test_the_scores_of_the_truth_are_perfect_and_those_of_a_blur_are_not():
    fine = torch.rand(1, 1, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    low = torch.nn.functional.avg_pool3d(fine, 3, 1, 1)
    pair = Pair(fine, fine, np.ones((12, 12, 12), bool))
    psnr, ssim, sharpness, r = scores_of(fine, pair, low)
    assert psnr > 100 and ssim == sharpness == pytest.approx(1) and r == pytest.approx(1)
    psnr, ssim, sharpness, r = scores_of(low, pair, low)
    assert psnr < 20 and ssim < 0.9 and sharpness < 0.5 and r == 0


def test_every_row_is_measured_and_drawn(folder):
    found = evaluation(folder, parts=["validation", "truth", "noise"], figure=folder / "figure.png").run()
    figures = found["figures"]
    for grid in ("thick", "x2", "x4"):
        for row in KEYS.values():
            assert figures[f"{grid}_{row}_psnr"] > 0
        assert figures[f"{grid}_linear_r"] == 0
    assert (folder / "figure.png").is_file()
    assert "noise_sensitivity" in figures
    assert figures["validation_steps"] in STEPS and figures["validation_trust"] in TRUSTS
    assert figures["validation_spline_trust"] in TRUSTS
    assert len(found["tables"]) == 9


def test_a_crop_that_a_grid_does_not_divide_is_refused(folder):
    with pytest.raises(UserError, match="crop = 25: give a multiple of 12"):
        evaluation(folder, crop=25)


def test_an_unsharp_mask_gives_a_blur_the_gradient_energy_of_the_truth():
    noise = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    fine, low = (torch.nn.functional.avg_pool3d(noise, edge, 1, edge // 2) for edge in (3, 5))
    pair = Pair(fine, fine, np.ones((16, 16, 16), bool))
    before, after = (scores_of(image, pair, low)[2] for image in (low, sharpened(low, pair)))
    assert before < 0.8 and after == pytest.approx(1, abs=0.1)


def test_weights_and_threshold_of_a_neighbour_are_found_by_its_system():
    bundle = ROOT / "bundles" / "brain_mr_superresolution_ldm"
    assert weights_beside(bundle, "many_tasks").parent.name == "models"
    config = json.loads((ROOT / "bundles/brain_mr_anomaly_map_manytasks/configs/inference.json").read_text())
    assert threshold_beside(bundle, "many_tasks") == config["threshold"]
    with pytest.raises(UserError, match="give its weights and its threshold with --map_weights"):
        weights_beside(bundle, "none_of_them")


@pytest.mark.slow
def test_maps_are_made_of_every_version(folder):
    maps = load_config(ROOT / "bundles" / "brain_mr_anomaly_map_manytasks")
    network, inferer = (maps.get_parsed_content(name) for name in ("network", "inferer"))
    found = evaluation(
        folder, parts=["anomaly_maps"], map_network=network, map_inferer=inferer, map_threshold=0.2
    ).run()
    names = ("fine", "thick", "linear", "spline", "mean", "sample")
    assert all(0 <= found["figures"][f"flair_{name}_dice"] <= 1 for name in names)
    assert found["figures"]["flair_seconds"] > 0
    assert json.loads((folder / "metrics.json").read_text())["tables"][-1]["rows"][0][0] == "FLAIR"

"""The evaluations of segmenter and lesions on a subject or two: figures for every contrast, and criteria that judge."""

import json

import pytest
from bundle_runs import ROOT
from small_brain_tasks import NAME, small_bundle

from synthzoo.bundle.compose import load_config


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return small_bundle(tmp_path_factory.mktemp("bundles"))


def measured(bundle, tmp_path, overlay, **overrides):
    found = {"save_to": str(tmp_path / "found.json"), "output_dir": str(tmp_path), **overrides}
    parser = load_config(bundle, overlay, found, base="segment")
    parser.get_parsed_content("run")
    return json.loads((tmp_path / "found.json").read_text())


def test_healing_and_placing_are_measured(bundle, tmp_path):
    values = {"subjects": 1, "evaluation#contrasts": ["FLAIR"], "evaluation#first_seed": 700_000}
    found = measured(bundle, tmp_path, "evaluate_lesions", parts=["healing"], **values)
    figures = found["figures"]
    assert 0 < figures["flair_healed_mae"] < figures["flair_mirror_mae"]
    assert figures["flair_healed_smooth_mae"] <= figures["flair_healed_mae"]
    assert figures["small_healed_mae"] > 0
    assert figures["flair_called_sick"] == figures["flair_called_healed"] == 0  # it calls all of the brain white matter
    verdicts = {row[0]: row[-1] for row in found["tables"][0]["rows"]}
    assert verdicts["flair, error of healed regions against the mirror image"] == "yes"
    assert verdicts["t2w, error of healed regions against the mirror image"] == "not measured"


@pytest.mark.slow
def test_the_segmenter_is_measured_in_every_view(bundle, tmp_path):
    found = measured(bundle, tmp_path, "evaluate_segmenter", subjects=1, healthy=1)
    figures = found["figures"]
    assert figures["flair_dice"] == figures["flair_cut_dice"] == 0
    assert figures["flair_intensity_dice"] > 0.02
    assert figures["t1w_false_ml"] == 0
    assert 0 < figures["slices_seconds"] < figures["scan_seconds"]
    assert figures["monai_slices_seconds"] > figures["slices_seconds"]


@pytest.mark.slow
def test_the_segmenter_stands_beside_the_anomaly_maps(bundle, tmp_path):
    few = {"subjects": 4, "healthy": 1, "references": 2, "large_lesions": 0}
    found = measured(bundle, tmp_path, "evaluate_segmenter_map", **few)
    rows = {row[0]: row[1:] for row in found["tables"][1]["rows"]}
    assert "equalised intensity, smoothed" in rows and "chance" in rows
    for contrast in ("T1w", "T1Gd", "T2w", "FLAIR"):
        # An untrained network's map is one value, and its AP is chance.
        assert found["figures"][f"{contrast}_ap"] == pytest.approx(found["figures"][f"{contrast}_chance"], abs=0.01)


def test_criteria_name_figures_and_their_bounds():
    for name in ("evaluate_segmenter", "evaluate_lesions", "evaluate_segmenter_map"):
        config = json.loads((ROOT / "bundles" / NAME / "configs" / f"{name}.json").read_text())
        assert config["criteria"] and config["report"]["command"] in config["_desc_"]

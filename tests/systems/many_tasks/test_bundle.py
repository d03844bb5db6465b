"""What the anomaly map claims, a sentence per test, with the shipped weights."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from mapped_brains import GRIDS, expect_map_on_spot, heat_of, paired_maps

from synthzoo.bundle.compose import load_config
from synthzoo.phantoms.brain.planted import CASES, write_planted
from synthzoo.systems.many_tasks.inferer import AnomalyMapInferer

INFERER = AnomalyMapInferer(spacing_mm=2.0, smooth_voxels=1.5, progress=False)


@pytest.fixture(scope="module")
def bundle(root) -> Path:
    return root / "bundles" / "brain_mr_anomaly_map_manytasks"


@pytest.fixture(scope="module")
def config(bundle):
    return load_config(bundle)


@pytest.fixture(scope="module")
def network(config):
    return config.get_parsed_content("network")


@pytest.fixture(scope="module")
def threshold(config) -> float:
    return config["threshold"]


@pytest.fixture(scope="module")
def mapped(network):
    """A function: scan -> the map on its grid, and its affine."""
    return partial(heat_of, network=network, inferer=INFERER)


@pytest.fixture(scope="module")
def paired(network):
    return paired_maps(network, INFERER, 270_001, "T1w", gadolinium=True)


def test_a_lesion_makes_a_subject_score_above_itself_without(paired):
    sick, well = (paired[name][paired[name] > 0].mean() for name in ("sick", "well"))
    print(f"mean heat {sick:.4f} with the tumour, {well:.4f} without, {sick / well:.2f} times")
    assert sick > 1.1 * well  # 1.23 was measured


def test_the_map_is_hotter_inside_the_lesion_than_around_it_and_than_in_the_subject_without_it(paired):
    lesion, sick, well = paired["lesion"], paired["sick"], paired["well"]
    rest = ~lesion & (sick > 0)
    assert sick[lesion].mean() > 2 * sick[rest].mean()
    assert sick[lesion].mean() > 2 * well[lesion].mean()


def test_most_of_a_healthy_brain_lies_below_the_threshold(paired, threshold):
    well = paired["well"]
    assert (well[well > 0] >= threshold).mean() < 0.02


@pytest.fixture(scope="module")
def template(tmp_path_factory, mapped) -> dict:
    """The real template, and its copy with a tumour; their maps, and the tumour's place."""
    folder = tmp_path_factory.mktemp("scans")
    tumour = write_planted(folder)
    scans = {name: nib.load(folder / f"{case}.nii.gz") for name, case in zip(("well", "sick"), CASES)}
    return {"tumour": tumour, "scan": scans["well"], **{name: mapped(scan) for name, scan in scans.items()}}


def test_the_template_into_which_nothing_was_planted_lies_below_the_threshold_nearly_everywhere(template, threshold):
    heat, affine = template["well"]
    assert heat.shape == template["scan"].shape and np.allclose(affine, template["scan"].affine)
    assert (heat > 0).sum() > 1e6  # mm^3 of brain
    assert (heat[heat > 0] >= threshold).mean() < 0.02


def test_a_tumour_in_the_real_template_is_hotter_than_its_surroundings_and_than_the_template_there(template):
    (sick, _), (well, _), tumour = template["sick"], template["well"], template["tumour"]
    assert sick[tumour].mean() > 2 * sick[~tumour & (sick > 0)].mean()
    assert sick[tumour].mean() > 1.5 * well[tumour].mean()


class Bright(torch.nn.Module):
    """Stands in for the ensemble: whatever is brighter than any healthy tissue is an anomaly."""

    def __init__(self, extractor):
        super().__init__()
        self.extractor, self.grid, self.spatial_dims = extractor, (80, 96, 80), 2

    def forward(self, volume):
        return (volume > 3.5).float()


@pytest.mark.parametrize("axes, spacing", GRIDS)
def test_a_map_lies_on_the_scans_own_grid_whatever_its_orientation_and_spacing(network, axes, spacing):
    expect_map_on_spot(axes, spacing, partial(heat_of, network=Bright(network.extractor), inferer=INFERER))


def test_the_bundle_writes_map_regions_in_millilitres_score_and_preview(quick_run, bundle, phantom_nifti):
    case = quick_run(bundle) / "patient"
    scan = nib.load(phantom_nifti)
    heat, regions = nib.load(case / "patient_heatmap.nii.gz"), nib.load(case / "patient_dseg.nii.gz")
    for written in (heat, regions):
        assert written.shape == scan.shape
        np.testing.assert_allclose(written.affine, scan.affine, atol=1e-4)
    assert heat.get_fdata().min() >= 0 and heat.get_fdata().max() <= 1
    record = json.loads((case / "patient_heatmap.json").read_text())
    assert 0 <= record["score"] <= 1 and record["threshold"]["chosen_on"] == "healthy phantoms only"
    voxel_ml = abs(np.linalg.det(scan.affine[:3, :3])) / 1000
    for region in record["regions"]:
        requested = region["volume_ml"]
        assert (regions.get_fdata() == region["label"]).sum() * voxel_ml == pytest.approx(requested, abs=0.001)
    assert (case / "patient_heatmap.png").stat().st_size > 5000


def test_the_threshold_of_the_bundle_is_the_one_that_its_evaluation_chose_on_healthy_subjects(bundle, threshold):
    figures = json.loads((bundle / "docs" / "metrics.json").read_text())["figures"]
    assert threshold == figures["threshold"]

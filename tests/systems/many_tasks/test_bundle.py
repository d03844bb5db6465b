"""What the anomaly map claims, a sentence per test, with the shipped weights."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from synthzoo.bundle.compose import load_config
from synthzoo.phantoms.brain import phantom as brain
from synthzoo.phantoms.brain.contrast import render
from synthzoo.phantoms.brain.planted import CASES, write_planted
from synthzoo.systems.many_tasks.inferer import AnomalyMapInferer
from synthzoo.transforms.head_grid import FromHeadGridd, ToHeadGridd

TUMOUR = {"tumour": {"core_ml": 6.0, "enhancing_ml": 10.0, "oedema_ml": 35.0}}


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


def heat_of(scan: nib.Nifti1Image, network) -> tuple[np.ndarray, np.ndarray]:
    """The bundle's path without files: the map on the scan's grid, and its affine."""
    from monai.data import MetaTensor

    array = torch.from_numpy(scan.get_fdata(dtype=np.float32).copy())[None]
    sample = ToHeadGridd("image")({"image": MetaTensor(array, affine=torch.from_numpy(scan.affine))})
    inferer = AnomalyMapInferer(spacing_mm=2.0, smooth_voxels=1.5, progress=False)
    sample["pred"] = inferer(sample["image"][None], network)[0]
    out = FromHeadGridd("pred")(sample)["pred"]
    return np.asarray(out)[0], np.asarray(out.affine)


@pytest.fixture(scope="module")
def paired(network):
    """Maps of a subject with a tumour and of the same subject without, T1w with contrast agent; and the truth."""
    params = brain.draw_params(270_001).to_dict()
    maps = {}
    for name, extra in (("sick", TUMOUR), ("well", {})):
        anatomy = brain.make_anatomy(brain.BrainParams(**{**params, **extra}), 2.0)
        image = render(anatomy, "T1w", seed=5, gadolinium=True)
        maps[name] = heat_of(nib.Nifti1Image(image, anatomy.affine), network)[0]
        if extra:
            maps["lesion"] = sum(anatomy.lesions.values()) > 0.5
    return maps


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
def template(tmp_path_factory, network) -> dict:
    """The real template, and its copy with a tumour; their maps, and the tumour's place."""
    folder = tmp_path_factory.mktemp("scans")
    tumour = write_planted(folder)
    scans = {name: nib.load(folder / f"{case}.nii.gz") for name, case in zip(("well", "sick"), CASES)}
    return {"tumour": tumour, "scan": scans["well"], **{name: heat_of(scan, network) for name, scan in scans.items()}}


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


@pytest.mark.parametrize(
    "axes, spacing", [("LPS", (1.0, 1.0, 4.0)), ("PIR", (2.5, 1.2, 1.2)), ("RAS", (3.0, 3.0, 3.0))]
)
def test_a_map_lies_on_the_scans_own_grid_whatever_its_orientation_and_spacing(network, axes, spacing):
    anatomy = brain.make_anatomy(brain.draw_params(270_002), 2.0)
    image = render(anatomy, "T1w", seed=6, bias=0.0)
    spot = np.zeros_like(image)
    spot[40:47, 70:77, 55:62] = 1  # 14 mm, off the middle on every axis
    image[spot > 0] = 3.0
    scan, truth = (turned(array, anatomy.affine, axes, spacing) for array in (image, spot))
    heat, affine = heat_of(scan, Bright(network.extractor))
    assert heat.shape == scan.shape
    np.testing.assert_allclose(affine, scan.affine)
    found, wanted = (np.argwhere(v > 0.5) @ affine[:3, :3].T + affine[:3, 3] for v in (heat, truth.get_fdata()))
    assert np.abs(found.mean(0) - wanted.mean(0)).max() < 2.0  # mm


def turned(array, affine, axes, spacing) -> nib.Nifti1Image:
    """Resampled to an oblique grid of `spacing` with the axis order and directions of `axes`."""
    from synthzoo.transforms.head_grid import resample

    angle = np.deg2rad(12)
    oblique = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    shape = np.round(np.array((200, 240, 200)) / spacing).astype(int)
    target = np.eye(4)
    target[:3, :3] = oblique @ np.diag(spacing)
    middle = affine[:3, :3] @ ((np.array(array.shape) - 1) / 2) + affine[:3, 3]
    target[:3, 3] = middle - target[:3, :3] @ ((shape - 1) / 2)
    scan = nib.Nifti1Image(resample(array, affine, tuple(shape), target), target)
    change = nib.orientations.ornt_transform(nib.io_orientation(target), nib.orientations.axcodes2ornt(axes))
    return scan.as_reoriented(change)


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

"""Healthy slices of one's own scans: the form of the phantoms' rows, and the brain that the map sees too."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch

from synthzoo import UserError
from synthzoo.bundle.compose import load_config
from synthzoo.datasets.brain.healthy_scans import HealthyScanSlices, training_slices
from synthzoo.datasets.loader import SeededRows
from synthzoo.inferers.brain_volumes import BrainVolume
from synthzoo.systems.many_tasks.tasks import RandAnomalyTaskd
from synthzoo.transforms.head_grid import remove_background, sampled

GRID = (40, 48, 44)


def read(path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj, dtype=np.float32)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Three smooth ellipsoids of z-scores, each of its own size."""
    folder = tmp_path_factory.mktemp("healthy")
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in GRID), indexing="ij")
    for number in range(3):
        inside = sum((a / (0.75 + 0.05 * number)) ** 2 for a in axes) < 1
        values = np.sin(4 * axes[0]) + axes[1] + 0.01
        nib.save(
            nib.Nifti1Image((values * inside).astype(np.float32), np.diag([2, 2, 2, 1])), folder / f"{number}.nii.gz"
        )
    return folder


def slices(folder, **options) -> HealthyScanSlices:
    return training_slices("nifti", folder, read, {}, rows_per_axis=4, **options)


def test_rows_are_slices_across_the_three_axes_and_the_seed_decides_them(scans):
    rows = SeededRows(slices(scans), seed=3)
    assert len(rows) == 3 * 48
    for row, shape in ((0, (48, 44)), (4, (40, 44)), (8, (40, 48))):
        item = rows[row, row]
        assert item["image"].shape == item["brain"].shape == (1, *shape) and item["axis"] == row // 4
        assert item["image"].dtype == np.float32 and np.array_equal(item["brain"], item["image"] != 0)
        assert item["brain"].sum() > 150 and item["image"].min() >= -4 and item["image"].max() <= 6
        assert item["source"]().shape == item["foreign"]().shape == (1, *shape)
        assert 0 <= item["block"] < 5 and 0 <= item["index"] < GRID[item["axis"]]
        assert np.array_equal(item["image"], rows[row, row]["image"])
        assert not np.array_equal(item["image"], rows[row, row + 1]["image"])


def test_slices_across_some_axes_alone_have_one_shape(scans):
    rows = SeededRows(slices(scans, axes=(2, 1)), seed=3)
    assert [rows[row, row]["axis"] for row in (0, 3, 4, 8)] == [2, 2, 1, 2]
    assert rows[0, 0]["image"].shape == (1, 40, 48)


def test_the_transform_of_the_phantoms_plants_into_scans_too(scans):
    rows = SeededRows(slices(scans, transform=RandAnomalyTaskd("image", healthy=0.0)), seed=0)
    found = [rows[row, row] for row in range(0, 48, 4)]
    assert {"image", "label", "task", "axis", "index", "block", "brain"} == set(found[0])
    assert any(item["label"].max() > 0 for item in found)
    assert all(not item["image"][~torch.from_numpy(item["brain"])].any() for item in found)


def test_prepared_brains_are_kept_and_a_table_chooses_the_scans(scans, tmp_path):
    calls = []

    def counted(path):
        calls.append(path)
        return read(path)

    for _ in range(2):
        training_slices("nifti", str(scans), counted, {}, cache_dir=tmp_path)
    assert len(calls) == 3
    (tmp_path / "images").mkdir()
    for path in scans.iterdir():
        (tmp_path / "images" / path.name).symlink_to(path)
    (tmp_path / "participants.tsv").write_text("id\tsplit\n0\ttrain\n1\tvalidation\n2\ttrain\n")
    assert len(training_slices("tsv", tmp_path, read, {}).brains) == 2
    assert len(training_slices("tsv", tmp_path, read, {}, split="validation").brains) == 1


def test_what_cannot_be_read_is_told_in_one_sentence(scans, tmp_path):
    for values, words in (
        (("dicom", scans), "data_format = 'dicom'"),
        (("nifti", ""), "dataset_dir is empty"),
        (("phantom", scans), "say --data_format nifti"),
        (("nifti", tmp_path), "holds no .nii"),
    ):
        with pytest.raises(UserError, match=words):
            training_slices(*values, read, {})

    def refuse(path):
        raise UserError("no brain was found in the image.")

    with pytest.raises(UserError, match="^0.nii.gz: no brain was found"):
        training_slices("nifti", scans, refuse, {})


def test_a_scan_comes_as_the_brain_that_the_map_sees(root, phantom, phantom_nifti):
    bundle = root / "bundles" / "brain_mr_anomaly_map_manytasks"
    parser = load_config(bundle, overrides={"images": str(phantom_nifti), "output_dir": None})
    preprocessing, network = (parser.get_parsed_content(key) for key in ("preprocessing", "network"))
    volume = BrainVolume(preprocessing, network)(phantom_nifti)
    brain = volume != 0
    assert volume.shape == tuple(network.grid) and abs(np.median(volume[brain])) < 0.02
    assert brain.sum() * 0.008 == pytest.approx(phantom.anatomy.volumes_ml["intracranial"], rel=0.15)


def test_the_levels_of_a_large_matrix_are_read_from_more_than_one_plane():
    scan = np.zeros((448, 448, 5), np.float32)  # of so many voxels every fifth is sampled, the planes are five
    scan[100:300, 100:300, 1:] = np.linspace(-1.5, 3, 160_000).reshape(200, 200, 4)
    assert len(np.unique(sampled(np.broadcast_to(np.arange(5.0), scan.shape)))) == 5
    found = remove_background(scan)
    inside = scan != 0
    assert (found[~inside] == 0).all() and np.percentile(found[inside], 1) == pytest.approx(0.1, abs=0.02)
    assert np.percentile(found[inside], 98) == pytest.approx(1, abs=0.02)

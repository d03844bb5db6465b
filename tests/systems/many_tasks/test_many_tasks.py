"""The ensemble, its folds and loss, the instruments of localisation, and what surrounds the map."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage as ndi
from sklearn.metrics import average_precision_score

from synthzoo.inferers.brain_map import smooth_inside, to_network
from synthzoo.metrics import localisation as loc
from synthzoo.systems.many_tasks.network import ManyTasksEnsemble, fold_tasks, trains
from synthzoo.systems.many_tasks.objective import ManyTasksLoss
from synthzoo.transforms.head_grid import FromHeadGridd, ToHeadGridd
from synthzoo.transforms.regions import HeatMapRegionsd

GRID = (16, 24, 16)


def ensemble(**kwargs):
    torch.manual_seed(0)
    return ManyTasksEnsemble(GRID, (2, 4), fourier_features=2, **kwargs).eval()


def test_folds_are_all_choices_and_the_larger_sample_set_trains():
    assert [len(fold_tasks(t)) for t in (1, 2, 3, 4, 5)] == [5, 10, 10, 5, 1]
    task, block = (torch.tensor(v) for v in zip(*[(t, b) for t in range(5) for b in range(5)]))
    for count, share in ((1, 4), (2, 3), (3, 3), (4, 4)):
        for fold in fold_tasks(count):
            chosen = trains(fold, task, block)
            assert set(task[chosen].tolist()) == set(fold)
            assert len(set(block[chosen].tolist())) == share


def test_the_map_is_the_mean_of_the_members_and_zero_outside_the_brain():
    network = ensemble()
    image = torch.randn(1, 1, *GRID)
    image[:, :, :3], image[..., -4:] = 0, 0
    with torch.no_grad():
        maps, mean = network.member_maps(image), network(image)
        slices = [torch.cat([image[0], network.positions]).movedim(axis + 1, 0) for axis in range(3)]
        by_hand = sum(network.members[1](s).movedim(0, axis + 1) for axis, s in enumerate(slices)) / 3
    assert maps.shape == (5, 1, 1, *GRID) and mean.shape == image.shape
    torch.testing.assert_close(maps.mean(0), mean)
    torch.testing.assert_close(maps[1, 0], by_hand * (image[0] != 0))
    assert (mean[image == 0] == 0).all()


def test_a_member_learns_from_its_own_tasks_and_blocks_alone():
    network = ensemble(tasks_per_fold=1).train()
    batch = {
        "image": torch.randn(4, 1, 24, 16),
        "label": torch.rand(4, 1, 24, 16),
        "task": torch.tensor([2, 2, 2, 2]),
        "block": torch.tensor([2, 2, 0, 1]),
        "axis": torch.tensor([0, 0, 0, 0]),
        "index": torch.tensor([3, 4, 5, 6]),
    }
    ManyTasksLoss()(network, batch)["loss"].backward()
    moved = [any(p.grad is not None and p.grad.abs().sum() > 0 for p in m.parameters()) for m in network.members]
    assert moved == [False, False, True, False, False]


def test_localisation_scores_agree_with_hand_counts():
    rng = np.random.RandomState(0)
    heat, truth = rng.rand(6, 7, 8), rng.rand(6, 7, 8) < 0.2
    mask = rng.rand(6, 7, 8) < 0.8
    scores = loc.voxel_scores([heat], [truth], [mask])
    assert scores["chance"] == pytest.approx(truth[mask].mean())
    assert scores["ap"] == pytest.approx(average_precision_score(truth[mask], heat[mask]))
    pairs = heat[mask & truth][:, None] > heat[mask & ~truth][None]
    assert scores["auroc"] == pytest.approx(pairs.mean())
    assert loc.dice([truth * 1.0], [truth], [np.ones_like(truth)], 0.5) == 1
    threshold = loc.healthy_threshold([heat], [mask], share=0.1)
    assert (heat[mask] > threshold).mean() == pytest.approx(0.1, abs=0.01)
    equal = loc.equalised_intensity(heat, mask, sigma=0.0)
    assert (np.argsort(equal[mask]) == np.argsort(heat[mask])).mean() > 0.5 and (equal[~mask] == 0).all()


def test_smoothing_keeps_a_flat_map_flat_up_to_the_brains_edge():
    mask = np.zeros((12, 12, 12), bool)
    mask[3:9, 3:9, 3:9] = True
    flat = smooth_inside(mask * np.float32(0.7), mask, 1.5)
    np.testing.assert_allclose(flat[mask], 0.7, rtol=1e-5)
    assert (flat[~mask] == 0).all()


def test_a_head_is_cut_to_the_networks_grid_and_knows_the_way_back():
    head = np.random.RandomState(0).rand(40, 44, 40).astype(np.float32) * 500
    mask = np.zeros(head.shape, bool)
    mask[8:30, 10:40, 5:30] = True
    volume, inside, (source, target) = to_network(head, mask, (32, 32, 32))
    assert volume.shape == (32, 32, 32) and inside.sum() == mask.sum()
    back = np.zeros(head.shape, np.float32)
    back[source] = volume[target]
    assert np.corrcoef(back[mask], head[mask])[0, 1] > 0.999 and (back[~mask] == 0).all()
    assert np.median(volume[inside]) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIL"])
def test_a_spot_comes_back_from_the_head_grid_where_it_was(axes):
    import nibabel as nib

    turn = np.deg2rad(15)
    affine = np.array([[0.9 * np.cos(turn), -np.sin(turn), 0, -60], [0.9 * np.sin(turn), np.cos(turn), 0, -80]])
    affine = np.vstack([affine, [0, 0, 3.0, -70], [0, 0, 0, 1]])  # 0.9 x 1 x 3 mm, oblique
    array = np.zeros((150, 160, 50), np.float32)
    array[15:-15, 15:-15, 5:-5] = 100
    spot = np.zeros_like(array)
    spot[60:72, 90:101, 20:24] = 1
    scan, truth = nib.Nifti1Image(array, affine), nib.Nifti1Image(spot, affine)
    change = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(axes))
    scan, truth = scan.as_reoriented(change), truth.as_reoriented(change)
    sample = {"image": MetaTensor(torch.from_numpy(scan.get_fdata(dtype=np.float32).copy())[None], affine=scan.affine)}
    spotted = {
        "image": MetaTensor(torch.from_numpy(truth.get_fdata(dtype=np.float32).copy())[None], affine=truth.affine)
    }
    sample = ToHeadGridd("image")(sample)
    assert sample["image"].shape == (1, 112, 128, 112)
    on_grid = _same_grid(spotted["image"], sample)
    back = FromHeadGridd("pred")({**sample, "pred": on_grid})["pred"]
    assert back.shape[1:] == scan.shape
    np.testing.assert_allclose(np.asarray(back.affine), scan.affine, atol=1e-9)
    found = np.argwhere(np.asarray(back)[0] > 0.5)
    wanted = np.argwhere(truth.get_fdata() > 0.5)
    step = np.linalg.norm(scan.affine[:3, :3], axis=0)
    assert (np.abs(found.mean(0) - wanted.mean(0)) * step < 0.5).all()
    assert len(found) == pytest.approx(len(wanted), rel=0.2)


def _same_grid(image, sample):
    from synthzoo.transforms.head_grid import resample

    grid = np.asarray(sample["image"].affine)
    return torch.from_numpy(resample(np.asarray(image)[0], np.asarray(image.affine), (112, 128, 112), grid))[None]


def test_regions_are_named_by_size_with_their_volumes_in_millilitres():
    heat = np.zeros((20, 20, 20), np.float32)
    heat[2:5, 2:5, 2:5], heat[10:16, 10:16, 10:16], heat[0, 0, 19] = 0.9, 0.7, 1.0
    affine = np.diag([-2.0, 2.0, 3.0, 1.0])
    out = HeatMapRegionsd("pred", 0.5, smallest_ml=0.1)(
        {"pred": MetaTensor(torch.from_numpy(heat)[None], affine=affine)}
    )
    first, second = out["regions"]
    assert (first["label"], first["volume_ml"], second["volume_ml"]) == (1, 216 * 0.012, 27 * 0.012)
    assert first["centre_mm"] == [-25.0, 25.0, 37.5] and second["peak"] == pytest.approx(0.9)
    labels = np.asarray(out["dseg"])[0]
    assert labels[12, 12, 12] == 1 and labels[3, 3, 3] == 2 and labels[0, 0, 19] == 0
    assert out["score"] == pytest.approx(heat[heat > 0].mean(), abs=1e-4)


def test_noise_is_measured_through_smooth_anatomy_and_added_where_it_lacks():
    from synthzoo.inferers.brain_map import QUIET, as_noisy, noise_of

    rng = np.random.RandomState(4)
    anatomy = ndi.gaussian_filter(rng.randn(40, 44, 40), 3) * 12
    mask = np.zeros(anatomy.shape, bool)
    mask[4:-4, 4:-4, 4:-4] = True
    for noise in (0.05, 0.1, 0.4):
        noisy = (anatomy + noise * rng.randn(*anatomy.shape)).astype(np.float32)
        assert noise_of(noisy, mask) == pytest.approx(noise, rel=0.1)
        same = as_noisy(noisy, mask)
        assert noise_of(same, mask) == pytest.approx(max(noise, QUIET), rel=0.1)
        assert np.array_equal(same, as_noisy(noisy, mask)) and (noise < QUIET or same is noisy)
    assert noise_of(anatomy, np.zeros(anatomy.shape, bool)) == 0


def test_heat_that_is_usual_for_its_place_counts_less_once_the_network_is_calibrated():
    from synthzoo.systems.many_tasks.network import AnomalyMapNetwork

    network = AnomalyMapNetwork(grid=GRID, channels=(2, 4), fourier_features=2)
    heat = torch.full((1, 1, *GRID), 0.4)
    assert torch.equal(network.corrected(heat), heat)
    network.calibrated.fill_(1)
    network.usual[:, :, :2], network.usual[:, :, 2:] = 0.4, 0.1
    found = network.corrected(heat)
    assert found[0, 0, 0, 0, 0] == pytest.approx(torch.sigmoid(torch.tensor(-3.0)).item(), abs=1e-5)
    odds = (0.4 / 0.6) / (0.1 / 0.9)
    assert found[0, 0, -1, 0, 0] == pytest.approx(odds * np.exp(-3) / (1 + odds * np.exp(-3)), abs=1e-5)
    assert (network.corrected(torch.zeros(1, 1, *GRID)) < 0.01).all(), "an empty map stays empty"


def test_one_voxel_in_200_of_the_phantoms_maps_exceeds_the_threshold_of_a_calibration(tmp_path, monkeypatch):
    from synthzoo.evaluation import map_calibration as anomaly_calibration
    from synthzoo.systems.many_tasks.network import AnomalyMapNetwork

    torch.manual_seed(0)
    monkeypatch.setattr(anomaly_calibration, "SEQUENCES", {"T1w": ("T1w", False)})
    network = AnomalyMapNetwork(grid=(16, 16, 16), channels=(4, 8), fourier_features=2)
    calibration = anomaly_calibration.AnomalyCalibration(network, str(tmp_path / "model.pt"), subjects=2)
    threshold = calibration.run()["threshold"]
    above, count = 0, 0
    for seed in calibration.seeds:
        (heat,), (mask,) = calibration._maps(seed)
        corrected = network.corrected(torch.from_numpy(heat["map"])[None, None])[0, 0].numpy()
        above, count = above + int((corrected[mask] > threshold).sum()), count + int(mask.sum())
    assert 0 < threshold < 1 and above / count == pytest.approx(0.005, abs=0.002)


def test_replayed_rows_come_again_within_their_window_and_after_a_resume():
    from synthzoo.datasets.replay import Replayed

    class Drawn(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, row):
            return {"row": row, "value": np.random.rand()}

    rows = [Replayed(Drawn(), window=4, times=2)[i] for i in range(16)]  # a new one each time, as after a kill
    assert [r["row"] for r in rows] == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7]
    assert [r["value"] for r in rows[:4]] == [r["value"] for r in rows[4:8]]
    assert len({r["value"] for r in rows}) == 8

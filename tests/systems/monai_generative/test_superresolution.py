"""The upscaler: grids that fit, pairs that a scanner makes, losses that learn, and scans that come back finer."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from nibabel.affines import apply_affine
from small_superresolution import small_unet, small_upscaler
from torch.nn import functional as F

from synthzoo.cases.examples import write_example
from synthzoo.errors import UserError
from synthzoo.io.volumes import read_volume
from synthzoo.networks.saving import save_weights
from synthzoo.serving.audit_sources import generates
from synthzoo.systems.monai_generative import superresolution_grid as grid
from synthzoo.systems.monai_generative.superresolution_dataset import ScanPatches, draw_subject, take_scan
from synthzoo.systems.monai_generative.superresolution_inferer import (
    OnFinerGridd,
    SuperResolutionInferer,
    noise_level,
    prepare_scan,
    unit_of,
)
from synthzoo.systems.monai_generative.superresolution_network import Upscaler, start_stage
from synthzoo.systems.monai_generative.superresolution_objective import DetailRegression, RestDiffusion


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return tmp_path_factory.mktemp("pool")


@pytest.fixture(scope="module")
def rows(pool):
    return ScanPatches(8, 16, 1, cache_dir=pool, spacing_mm=4.0)


def seeded(rows, seed=0):
    np.random.seed(seed)
    return torch.utils.data.default_collate([rows[row] for row in range(len(rows))])


def blobs(shape, seed=0):
    noise = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(seed))
    return (F.avg_pool3d(noise, 5, 1, 2) * 2 + 0.5).clamp(0, 1)


def woken(network):
    """The layers that begin at zero, some of which end every block, filled."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)


def test_voxels_are_split_into_integers_and_finer_axes_stay():
    assert grid.split_factors([1.0, 1.0, 6.0], 1.5) == (1, 1, 4)
    assert grid.split_factors([3.0, 3.0, 3.0], 1.5) == (2, 2, 2)
    assert grid.split_factors([0.5, 0.5, 5.0], 1.5) == (1, 1, 3)
    assert grid.merge_factors([0.5, 0.5, 6.0], (1, 1, 4), 1.5) == (3, 3, 1)
    assert grid.merge_factors([1.0, 1.0, 6.0], (1, 1, 4), 1.5) == (1, 1, 1)
    with pytest.raises(UserError, match="give a smaller spacing_mm"):
        grid.split_factors([1.5, 1.5, 1.5], 1.5)
    with pytest.raises(UserError, match="spacing_mm = 9"):
        grid.split_factors([6, 6, 6], 9)
    with pytest.raises(UserError, match="more than 8"):
        grid.split_factors([1, 1, 30], 1)


def test_the_field_of_view_stays_where_it_is():
    turn = np.array([[0, -3.0, 0.2, 5], [1.5, 0, 0, 6], [0, 0.1, 6.0, 7], [0, 0, 0, 1]])
    shape, factors = np.array([5, 4, 3]), np.array([1, 2, 4])
    fine = grid.split_affine(turn, factors)
    for corner in (np.zeros(3), shape):
        np.testing.assert_allclose(apply_affine(fine, corner * factors - 0.5), apply_affine(turn, corner - 0.5))


def test_a_scan_is_a_mean_over_its_slices_and_interpolation_lies_where_it_was():
    image = blobs((8, 8, 12))
    torch.testing.assert_close(grid.acquired(image, (1, 2, 4)), F.avg_pool3d(image, (1, 2, 4)))
    assert grid.profile(4, 0.5).count_nonzero() == 2
    assert grid.profile(3, 1.0, 0.2).sum() == pytest.approx(1)
    ramp = torch.arange(12.0).expand(1, 1, 1, 1, 12)
    back = grid.interpolated(grid.acquired(ramp, (1, 1, 4)), (1, 1, 4))
    torch.testing.assert_close(back[..., 2:-2], ramp[..., 2:-2])
    spline = grid.by_spline(grid.acquired(ramp, (1, 1, 4)), (1, 1, 4))
    assert (spline - ramp)[..., 2:-2].abs().max() < 0.6


def test_consistent_images_average_to_the_scan():
    image = blobs((8, 8, 12))
    scan = grid.acquired(image, (1, 1, 4))
    start = grid.interpolated(scan, (1, 1, 4))
    before, after = (
        (F.avg_pool3d(x, (1, 1, 4)) - scan).abs().mean() for x in (start, grid.consistent(start, scan, (1, 1, 4)))
    )
    assert after < 0.2 * before
    partly = grid.consistent(start, scan, (1, 1, 4), share=0.1)
    assert (partly - start).abs().mean() < 0.2 * (grid.consistent(start, scan, (1, 1, 4)) - start).abs().mean()


def test_pairs_are_of_one_place_and_the_scan_is_blurred(rows):
    batch = seeded(rows)
    assert batch["image"].shape == batch["low"].shape == (8, 1, 16, 16, 16)
    assert batch["factors"].shape == (8, 3) and (batch["factors"].amax(1) >= 2).all()
    shown = batch["image"].flatten(1).std(1) > 0.05
    assert shown.any()
    for image, low in zip(batch["image"][shown], batch["low"][shown]):
        assert np.corrcoef(image.flatten(), low.flatten())[0, 1] > 0.5
    again = seeded(rows)
    torch.testing.assert_close(batch["low"], again["low"])
    assert draw_subject(3) == draw_subject(3) != draw_subject(4)


def test_noise_is_that_of_the_scan():
    image = 0.5 + torch.zeros(1, 1, 32, 32, 32)
    scan = take_scan(image, (1, 1, 4), 0.05, np.random.default_rng(0), perfect=True)
    assert scan.std() == pytest.approx(0.05, abs=0.005)
    found = noise_level(scan[0, 0].numpy(), (1, 1, 4), np.ones(scan.shape[2:], bool))
    assert found == pytest.approx(0.05, abs=0.01)


def test_a_network_that_does_not_know_the_noise_level_is_refused():
    small = small_upscaler()
    with pytest.raises(UserError, match="num_class_embeds = None"):
        Upscaler(small.autoencoder, small.regressor, small_unet(19, num_class_embeds=None), small.schedule, levels=4)


def test_the_noise_level_and_the_voxel_sizes_reach_the_networks():
    network, low = small_upscaler(), blobs((16, 16, 16))
    woken(network)
    one, other = torch.tensor([[1.0, 1.0, 4.0]]), torch.tensor([[4.0, 1.0, 1.0]])
    beside, level = network.beside(low, one), network.classes(torch.tensor([0.0]))
    x, t = torch.randn(1, 4, 8, 8, 8), torch.tensor([400])
    with torch.no_grad():
        mean = network.regress(beside, level)
        assert (network.regress(beside, network.classes(torch.tensor([0.1]))) - mean).abs().max() > 1e-4
        assert (network.regress(network.beside(low, other), level) - mean).abs().max() > 1e-4
        found = network.denoise(x, t, mean, beside, level)
        assert (network.denoise(x, t, mean, beside, level + 3) - found).abs().max() > 1e-4
    assert network.classes(torch.tensor([0.0, 0.05, 0.1, 0.9])).tolist() == [0, 2, 3, 3]


def test_both_losses_learn_and_a_stage_measures_its_scale(rows, tmp_path):
    network, batch = small_upscaler(), seeded(rows)
    save_weights(network, tmp_path / "model.pt")
    state = np.random.get_state()[1].copy()
    network = start_stage(network, tmp_path / "model.pt", "detail", rows, count=4)
    assert (np.random.get_state()[1] == state).all()
    assert (network.detail_scale != 1).all()
    network.train()
    for objective, part in ((DetailRegression(), network.regressor), (RestDiffusion(), network.denoiser)):
        optimiser = torch.optim.Adam(part.parameters(), 3e-3)
        losses = []
        for _ in range(12):
            torch.manual_seed(0)
            loss = objective(network, batch)["loss"]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < losses[0]
        if part is network.regressor:
            network.measure_scale("rest", [rows[0], rows[1]])
    with pytest.raises(UserError, match="detail or rest"):
        network.measure_scale("mean", [])


@pytest.mark.parametrize("method", ["sample", "mean"])
def test_a_scan_comes_back_finer_in_its_own_unit(method):
    scan = 400 * grid.acquired(blobs((18, 20, 24)), (1, 1, 4)) + 30
    scan[:, :, :6] = 0
    size = torch.tensor([[1.5, 1.5, 6.0]])
    inferer = SuperResolutionInferer(method, steps=2, draws=2)
    found = inferer(scan, small_upscaler(), size)
    assert found["pred"].shape == (1, 1, 18, 20, 24)
    assert found["upscaling"]["split_k"] == 4
    assert (found["pred"][:, :, :6] == 0).all()
    assert (F.avg_pool3d(found["pred"], (1, 1, 4)) - scan)[
        :, :, 7:
    ].abs().mean() < 12  # of 400, by a network without training


def test_the_same_seed_gives_the_same_voxels_whatever_the_unit():
    network, scan, size = small_upscaler(), grid.acquired(blobs((16, 16, 16)), (2, 2, 2)), torch.tensor([[3.0] * 3])
    woken(network)
    first, second = (SuperResolutionInferer(steps=2)(scan, network, size)["pred"] for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    other = SuperResolutionInferer(steps=2, seed=1)(scan, network, size)["pred"]
    assert (other - first).abs().max() > 1e-5
    louder = SuperResolutionInferer(steps=2, noise=0.1)(scan, network, size)
    assert louder["upscaling"]["noise"] == pytest.approx(0.1)
    scaled = SuperResolutionInferer("mean")(64 * scan, network, size)["pred"] / 64
    torch.testing.assert_close(
        scaled, SuperResolutionInferer("mean")(scan, network, size)["pred"], rtol=1e-4, atol=1e-4
    )


def test_fine_axes_are_merged_for_the_network_and_keep_their_voxels():
    scan = grid.acquired(blobs((30, 30, 12)), (1, 1, 4))
    found = SuperResolutionInferer("mean", trust=None)(scan, small_upscaler(), torch.tensor([[0.5, 0.5, 6.0]]))
    assert found["pred"].shape == (1, 1, 30, 30, 12)


def test_the_unit_is_read_from_the_scan():
    scan = np.zeros((8, 8, 8), np.float32)
    scan[2:6] = np.linspace(100, 300, 256).reshape(4, 8, 8)
    unit = unit_of(scan)
    assert unit.background == 0 and unit.offset == 0
    assert (296 - unit.offset) / unit.factor == pytest.approx(0.8, abs=0.01)
    with pytest.raises(UserError, match="nothing brighter"):
        unit_of(np.ones((4, 4, 4), np.float32))


def test_the_unit_is_not_read_from_one_plane_of_a_large_matrix():
    scan = np.zeros((448, 448, 5), np.float32)  # whose voxels over the sampled ones are 5, the planes
    scan[100:300, 100:300, 1:] = 200 + np.arange(4)
    unit = unit_of(scan)
    assert unit.background == 0 and (203 - unit.offset) / unit.factor == pytest.approx(0.8, abs=0.01)


def test_a_host_without_voxel_sizes_gets_them_from_the_affine():
    affine = torch.diag(torch.tensor([1.5, 1.5, 6.0, 1.0], dtype=torch.float64))
    scan = MetaTensor(grid.acquired(blobs((16, 16, 16)), (1, 1, 4))[0], affine=affine)
    found = SuperResolutionInferer("mean")(scan[None], small_upscaler())  # as MONAI Label's stock app calls it
    assert found["pred"].shape == (1, 1, 16, 16, 16)
    assert [int(found["upscaling"][f"split_{axis}"]) for axis in "ijk"] == [1, 1, 4]


def test_the_affine_follows_the_split():
    scan = MetaTensor(
        torch.zeros(1, 4, 4, 2), affine=torch.diag(torch.tensor([1.5, 1.5, 6.0, 1.0], dtype=torch.float64))
    )
    data = OnFinerGridd()({"image": scan, "pred": torch.zeros(1, 4, 4, 8)})
    np.testing.assert_allclose(np.diag(data["pred"].affine), [1.5, 1.5, 1.5, 1])
    assert float(data["pred"].affine[2, 3]) == pytest.approx(-2.25)
    batch = {"image": MetaTensor(torch.zeros(1, 1, 4, 4, 2), affine=scan.affine[None])}
    torch.testing.assert_close(prepare_scan(batch, "cpu")[3]["voxel_mm"][0].float(), torch.tensor([1.5, 1.5, 6.0]))


def test_a_scan_on_a_finer_grid_is_no_image_of_the_models_own():
    image = {"suffix": "upscaled.nii.gz", "description": "finer"}
    assert generates({"task": "translation", "outputs": {"image": image}})
    assert not generates({"task": "translation", "outputs": {"image": {**image, "finer_grid": True}}})


def test_the_example_has_thick_slices(tmp_path):
    array, affine = read_volume(write_example("brain_thick", tmp_path))
    np.testing.assert_allclose(np.diag(affine)[:3], [2, 2, 6])
    thin, thin_affine = read_volume(write_example("brain_flair", tmp_path))
    # The same phantom, at the same place: middles of what is bright.
    middles = [apply_affine(a, np.argwhere(x[0] > 0.1).mean(0)) for x, a in ((array, affine), (thin, thin_affine))]
    np.testing.assert_allclose(*middles, atol=1.5)


def test_settings_out_of_range_are_told():
    for settings, text in (
        ({"method": "best"}, "sample, mean"),
        ({"steps": 0}, "steps = 0"),
        ({"draws": True}, "draws = True"),
        ({"noise": 2.0}, "noise = 2"),
    ):
        with pytest.raises(UserError, match=text):
            SuperResolutionInferer(**settings)

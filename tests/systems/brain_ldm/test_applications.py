"""What the shipped prior does with scans: measured values stay, noise goes, edits hit their mL, poses come back."""

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import ROOT
from scipy.spatial.transform import Rotation

from synthzoo.bundle.compose import load_config
from synthzoo.datasets.brain.phantoms import BrainPhantomDataset
from synthzoo.errors import UserError
from synthzoo.evaluation.fillings import biharmonic, by_other_side, by_surroundings
from synthzoo.evaluation.report import Report
from synthzoo.metrics.fidelity import psnr
from synthzoo.phantoms.brain.template import brain_affine, brain_grid
from synthzoo.systems.brain_ldm import classical
from synthzoo.systems.brain_ldm.application_evaluation import ApplicationEvaluation
from synthzoo.systems.brain_ldm.editing import clearly, on_sphere
from synthzoo.systems.brain_ldm.inferer import (
    DenoiseInferer,
    EditInferer,
    InpaintInferer,
    ReconstructInferer,
    measured_ml,
)
from synthzoo.systems.brain_ldm.restoration import (
    estimated_noise,
    keep_samples,
    keep_voxels,
    restore,
    sampling_mask,
    zero_filled,
)
from synthzoo.systems.brain_ldm.scans import OnScand, ToPriord, to_prior
from synthzoo.transforms.head_grid import resample

METHODS = ("prior", "prior_noise_unknown", "closed_form_alone", "total_variation", "non_local_means")
BUNDLE = ROOT / "bundles" / "brain_mr_synthesis_ldm"
SPACING = float(load_config(BUNDLE)["affine"][0][0])  # of the shipped prior's grid, mm
AFFINE, SHAPE = brain_affine(SPACING), brain_grid(SPACING)


@pytest.fixture(scope="module")
def network():
    return load_config(BUNDLE).get_parsed_content("network")


def phantom(spacing):
    return BrainPhantomDataset(1, spacing, split="test", first=90_000).image(0).astype(np.float32)


@pytest.fixture(scope="module")
def scan():
    return torch.from_numpy(phantom(SPACING))[None, None]


def ball(scan, radius_mm=20):
    places = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"))
    found = ((places - np.reshape([64, 112, 112], (3, 1, 1, 1)) / SPACING) ** 2).sum(0) < (radius_mm / SPACING) ** 2
    return torch.from_numpy(found)[None, None] & (scan > 0)


@torch.inference_mode()
def test_what_was_measured_stays(network, scan):
    noise = torch.randn(1, *network.latent_shape, generator=torch.Generator().manual_seed(0))
    hole = ball(scan)
    filled = restore(network, noise, keep_voxels(scan, hole.float()), 2)
    assert torch.equal(filled[~hole], scan[~hole]) and (filled[hole] != scan[hole]).any()
    sampled = sampling_mask(SHAPE[1:], 6, seed=3)
    whole = restore(network, noise, keep_samples(scan, sampled), 2)
    torch.testing.assert_close(
        torch.fft.fft2(whole)[..., sampled], torch.fft.fft2(scan)[..., sampled], atol=2e-3, rtol=1e-3
    )


def test_k_space_is_sampled_once_in_so_many_and_its_middle_whole():
    for acceleration in (1, 4, 8):
        mask = sampling_mask((56, 48), acceleration, seed=1)
        assert mask.float().mean().item() == pytest.approx(1 / acceleration, rel=0.01)
        assert mask[:3, :2].all() and mask[-2:, -1:].all()
        assert torch.equal(mask, torch.roll(mask.flip(0, 1), (1, 1), (0, 1)))
    assert not torch.equal(mask, sampling_mask((56, 48), 8, seed=2))
    with pytest.raises(UserError, match="acceleration = 20: a scan is accelerated by 1 to 16"):
        sampling_mask((56, 48), 20)


def test_sparse_k_space_is_better_reconstructed_than_zero_filled(network, scan):
    found = ReconstructInferer(8.0, steps=5, draws=2)(scan, network)
    measured = {name: float(value[0]) for name, value in found["measured"].items()}
    assert measured["psnr_db"] > measured["zero_filled_psnr_db"] + 4
    assert measured["sampled_share"] == pytest.approx(1 / 8, abs=0.01) and measured["draws_apart"] > 0
    again = ReconstructInferer(8.0, steps=5, draws=2)(scan, network)["pred"]
    assert torch.equal(found["pred"], again)


def test_noise_is_read_and_taken_out(network, scan):
    draw = torch.randn(scan.shape, generator=torch.Generator().manual_seed(4))
    brain = scan > 0
    for noise, gain in ((0.06, 2.5), (0.12, 5.5)):
        noisy = torch.where(brain, scan + noise * draw, 0)
        found = DenoiseInferer()(noisy, network)
        assert float(found["measured"]["noise"]) == pytest.approx(noise, rel=0.2)
        assert psnr(found["pred"], scan, brain) > psnr(noisy, scan, brain) + gain
        assert (found["pred"][~brain] == 0).all()
    assert estimated_noise(scan[0, 0]) < 0.02
    with pytest.raises(UserError, match="too little brain to read its noise from"):
        estimated_noise(torch.zeros(SHAPE))


def test_a_hole_is_filled_by_brain(network, scan):
    hole = ball(scan)
    found = InpaintInferer(steps=5, draws=2)(scan, network, unknown=hole.float())["pred"]
    empty = torch.where(hole, 0, scan)
    assert psnr(found, scan, hole) > psnr(empty, scan, hole) + 8
    holed = InpaintInferer(steps=5, draws=2)(empty, network, unknown=hole.float())["pred"]
    assert torch.equal(found, holed), "what the hole held was read"


def test_ventricles_grow_by_what_was_requested_and_the_rest_stays(network, scan):
    found = EditInferer(20.0, steps=6, rounds=2)(scan, network)
    measured = {name: float(value[0]) for name, value in found["measured"].items()}
    assert measured["ventricle_ml_after"] - measured["ventricle_ml_before"] == pytest.approx(20, abs=6)
    changed = (found["pred"] - scan).abs() > 0.05
    assert changed[scan > 0].float().mean() < 0.2
    with pytest.raises(
        UserError, match=r"ventricle_change_ml = -90: the scan has \d+ mL, and the prior knows 5 to 120"
    ):
        EditInferer(-90.0)(scan, network)


def test_a_comparison_shows_the_closed_form_and_goes_on_from_what_was_made(network, tmp_path):
    def measured():
        tasks = {"denoise": DenoiseInferer()}
        report = Report(save_to=str(tmp_path / "applications.json"))
        sizes = {"subjects": 1, "development": 1, "noises": (0.12,), "parts": ["denoising"]}
        return ApplicationEvaluation(network, tasks, report=report, work_dir=tmp_path, **sizes)

    first = measured().run()["figures"]
    gains = {name: first[f"denoise_0.12_{name}_psnr"] - first["denoise_0.12_noisy_psnr"] for name in METHODS}
    assert min(gains.values()) > 3, gains
    for done in tmp_path.glob("*/denoising.json"):
        done.unlink()
    again = measured()
    again.made = lambda *_: pytest.fail("made again")
    assert again.run()["figures"] == first


def test_noise_keeps_its_length_between_two():
    first, second = (torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(n)) for n in (1, 2))
    torch.testing.assert_close(on_sphere(first, second, 0.0), first, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(on_sphere(first, second, 1.0), second, atol=1e-5, rtol=1e-5)
    lengths = [one.flatten(1).norm(dim=1) for one in (first, on_sphere(first, second, 0.5), second)]
    assert (lengths[1] > 0.9 * torch.minimum(lengths[0], lengths[2])).all()


def test_the_voxel_size_is_that_of_the_grid(network):
    assert network.spacing_mm == SPACING


def test_a_change_counts_where_it_is_clear():
    change = torch.zeros(1, 1, 12, 12, 12)
    change[..., 2:7, 2:7, 2:7], change[..., 9:, 9:, 9:] = 1.0, 0.02
    weight = clearly(change, 0.1)
    assert weight[0, 0, 4, 4, 4] == 1 and (weight[..., 9:, 9:, 9:] == 0).all()
    assert (clearly(change, 0) == 1).all()


@pytest.mark.parametrize("pose", ["shifted", "turned", "stored another way", "finer"])
def test_a_scan_in_any_pose_comes_to_the_prior(scan, pose):
    array, affine, shape = scan[0, 0].numpy(), AFFINE.copy(), SHAPE
    moved = np.eye(4)
    if pose == "shifted":
        moved[:3, 3] = (14, -20, 9)
    elif pose == "turned":
        moved[:3, :3] = Rotation.from_euler("xyz", (8, -5, 10), degrees=True).as_matrix()
    elif pose == "stored another way":
        image = nib.Nifti1Image(array, affine).as_reoriented(np.array([[1, -1], [2, 1], [0, -1]]))
        array, affine, moved[:3, 3] = np.asarray(image.dataobj), image.affine, (3, 0, 0)
    else:
        finer = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
        array, affine = resample(array, AFFINE, tuple(2 * n for n in SHAPE), finer), finer
    found = to_prior(300 * array, moved @ affine, shape, AFFINE)
    back = resample(found.image, np.linalg.inv(moved) @ found.affine, SHAPE, AFFINE)
    both = (back > 0) & (scan[0, 0].numpy() > 0)
    assert np.corrcoef(back[both], scan[0, 0].numpy()[both])[0, 1] > 0.8
    # The grid found lies over the grid that the phantom was made on.
    corners = np.array([[32 / SPACING] * 3 + [1], [160 / SPACING, 192 / SPACING, 160 / SPACING, 1]]).T
    off = np.linalg.inv(moved) @ found.affine @ corners - AFFINE @ corners
    assert np.abs(off[:3]).max() < 9, off
    restored = found.factor * found.image + found.offset
    assert np.percentile(restored[found.image > 0], 90) == pytest.approx(
        300 * np.percentile(array[array > 0], 90), rel=0.1
    )


def test_a_scan_on_the_priors_grid_stays_as_it_is(scan):
    found = to_prior(scan[0, 0].numpy(), AFFINE, SHAPE, AFFINE)
    assert np.array_equal(found.affine, AFFINE)
    torch.testing.assert_close(found.factor * found.image + found.offset, scan[0, 0].numpy(), atol=1e-4, rtol=1e-4)


def test_what_is_no_stripped_brain_is_refused():
    rng = np.random.default_rng(0)
    head = rng.uniform(0.1, 1, (60, 70, 60)).astype(np.float32)
    with pytest.raises(UserError, match="strip the skull, for instance with SynthStrip"):
        to_prior(head, np.diag([4.0, 4, 4, 1]), SHAPE, AFFINE)


def sample_of(scan, **more):
    from monai.data import MetaTensor

    image = MetaTensor(scan[0].clone(), affine=torch.from_numpy(AFFINE))
    return {"image": image, "scan": image, **more}


def test_a_result_is_put_into_the_hole_alone(scan):
    from monai.data import MetaTensor

    hole = ball(scan)[0]
    sample = sample_of(100 * scan, mark=MetaTensor(hole, affine=torch.from_numpy(AFFINE)))
    sample = ToPriord("image", SHAPE, AFFINE, marked=True)(sample)
    assert sample["unknown"].sum() == hole.sum()
    sample["pred"] = torch.full_like(torch.as_tensor(sample["image"]), 0.5)
    out = OnScand("pred", "hole")(sample)
    after, before = np.asarray(out["pred"]), 100 * scan[0].numpy()
    assert (after[~hole.numpy()] == before[~hole.numpy()]).all() and out["mask"].sum() == hole.sum()
    factor, offset = sample["units"].tolist()
    assert np.allclose(after[hole.numpy()], 0.5 * factor + offset, atol=1e-2)
    with pytest.raises(UserError, match="give --marks <mask>"):
        ToPriord("image", SHAPE, AFFINE, marked=True)(sample_of(scan))
    nothing = MetaTensor(torch.zeros_like(hole), affine=torch.from_numpy(AFFINE))
    with pytest.raises(UserError, match="nothing of the brain is marked, or more than half"):
        ToPriord("image", SHAPE, AFFINE)(sample_of(scan, mark=nothing))


def test_the_classical_methods_do_what_they_say(scan):
    array, hole = scan[0, 0].numpy(), ball(scan)[0, 0].numpy()
    for fill in (biharmonic, by_other_side, by_surroundings):
        made = fill(np.where(hole, 0, array), hole)
        assert (made[~hole] == array[~hole]).all() and (made[hole] > 0.1).all()
    sampled = sampling_mask(SHAPE[1:], 4)
    filled = zero_filled(scan, sampled)
    made = classical.reconstructed_by_total_variation(filled, keep_samples(scan, sampled), 0.02)
    assert psnr(made, scan, scan > 0) > psnr(filled, scan, scan > 0) + 4


@pytest.mark.parametrize("spacing", [4.0, 2.0])
def test_ventricles_grow_by_their_distance_map_at_any_voxel_size(spacing):
    array = phantom(spacing)
    larger = classical.with_larger_ventricles(array, 20.0, spacing)
    sizes = [classical.ventricles(one, spacing).sum() * spacing**3 / 1000 for one in (array, larger)]
    assert 8 < sizes[1] - sizes[0] < 32
    assert measured_ml(torch.from_numpy(array)[None, None], spacing)["ventricle_ml"][0] > 5


def test_a_prior_of_2_mm_lies_over_a_scan_as_one_of_4_mm_does():
    moved = np.eye(4)
    moved[:3, 3] = (14, -20, 9)
    array, affine = phantom(4.0), brain_affine(4.0)
    coarse, finer = (to_prior(array, moved @ affine, brain_grid(mm), brain_affine(mm)) for mm in (4.0, 2.0))
    assert np.allclose(np.linalg.norm(finer.affine[:3, :3], axis=0), 2)
    middles = [one.affine @ [*((np.array(one.image.shape) - 1) / 2), 1] for one in (coarse, finer)]
    assert np.abs(middles[0] - middles[1]).max() < 0.1
    assert (finer.image > 0).sum() == pytest.approx(8 * (coarse.image > 0).sum(), rel=0.1)

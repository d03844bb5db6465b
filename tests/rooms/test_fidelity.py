"""Fidelity, conditioning and memorisation figures against cases whose answer is known."""

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi
from scipy.stats import hypergeom

from synthzoo.metrics.agreement import agreement, conditioning
from synthzoo.metrics.fidelity import fid, fid_with_floor, ms_ssim, pairwise_ms_ssim, psnr
from synthzoo.metrics.memorisation import chance_of, memorisation, nearest_distances

rng = np.random.default_rng(0)


def test_psnr_is_of_the_voxels_that_count():
    truth = torch.zeros(4, 5)
    image, left = truth + 0.01, truth.numpy() == 0
    image[0] = 0.5
    left[0] = False
    assert psnr(image, truth, left) == pytest.approx(40, abs=1e-4) and psnr(image, truth) < 13
    assert psnr(truth, truth) == 120


def test_fid_of_equal_sets_is_zero():
    features = rng.standard_normal((200, 12))
    assert fid(features, features) < 1e-6


def test_fid_of_a_shift_is_its_square():
    features, shift = rng.standard_normal((200, 12)), np.linspace(-1, 1, 12)
    assert fid(features + shift, features) == pytest.approx(shift @ shift, rel=1e-6)


def test_fid_of_a_scaling_is_known():
    features = rng.standard_normal((300, 6)) * np.arange(1, 7)
    features -= features.mean(0)
    trace = np.trace(np.cov(features.T))
    assert fid(2 * features, features) == pytest.approx(trace, rel=1e-6)  # S + 4 S - 2 * 2 S = S


def test_fid_needs_sets_of_one_length_of_feature():
    with pytest.raises(ValueError, match="two sets"):
        fid(np.zeros((5, 3)), np.zeros((5, 4)))


def test_the_floor_uses_sets_of_one_size():
    found = fid_with_floor(rng.standard_normal((30, 4)), rng.standard_normal((50, 4)), rng.standard_normal((40, 4)))
    assert found["n"] == 30 and 0 < found["fid_real"] < 2


def volumes(count):
    return torch.nn.functional.avg_pool3d(torch.rand(count, 1, 50, 58, 50, generator=torch.manual_seed(1)), 3, 1)


def test_ms_ssim_of_identical_volumes_is_one_and_noise_lowers_it():
    images = volumes(2)
    assert ms_ssim(images, images) == pytest.approx(1.0, abs=1e-5)
    noisy = (images + 0.1 * torch.randn(images.shape, generator=torch.manual_seed(2))).clamp(0, 1)
    assert (ms_ssim(images, noisy) < 0.95).all()


def test_pairwise_ms_ssim_sees_a_collapsed_generator():
    images = volumes(3)
    assert pairwise_ms_ssim(images, pairs=3)["pairs"] == 3
    collapsed = pairwise_ms_ssim(images[:1].repeat(3, 1, 1, 1, 1), pairs=2)
    assert collapsed["mean"] == pytest.approx(1.0, abs=1e-4)
    assert pairwise_ms_ssim(images, pairs=3)["mean"] < 0.9


def test_agreement_of_a_known_line():
    requested = np.linspace(5, 120, 50)
    found = agreement(requested, 0.9 * requested + 3)
    assert found["r"] == 1.0 and found["slope"] == 0.9 and found["intercept"] == 3.0
    assert found["mae"] == pytest.approx(np.abs(3 - 0.1 * requested).mean(), abs=1e-4)


def test_agreement_of_a_constant_is_not_a_number():
    assert np.isnan(agreement(np.arange(5.0), np.ones(5))["r"])


def test_the_shuffled_control_is_near_zero():
    requested = rng.uniform(20, 90, 200)
    found = conditioning(requested, requested + rng.normal(0, 5, 200))
    assert found["r"] > 0.95 and abs(found["shuffled"]["r"]) < 0.06 and found["shuffled"]["mae"] > 3 * found["mae"]


def test_nearest_neighbours_are_found_whatever_the_brightness():
    training = rng.random((6, 8, 8, 8))
    distance, nearest = nearest_distances(0.3 * training[[4, 2]] + 0.1, training)
    assert nearest.tolist() == [4, 2] and distance.max() < 1e-2


def test_memorisation_tells_copies_from_new_samples():
    training, held_out, fresh = (rng.random((n, 8, 8, 8)) for n in (40, 30, 30))
    assert memorisation(fresh, training, held_out)["verdict"] == "no copying seen"
    copies = fresh.copy()
    copies[:6] = training[:6] + 0.05 * rng.random((6, 8, 8, 8))
    found = memorisation(copies, training, held_out)
    assert found["verdict"] == "copies" and found["suspicious"] >= 6 and found["closest_pair"]["training"] < 6


def test_against_unseen_images_blur_is_no_copying_and_blurred_copies_are():
    template = rng.standard_normal((1, 4, 4, 4))

    def prior(n):  # variations of one smooth shape with rough detail, as brains are
        coarse = ndi.zoom(template + 0.3 * rng.standard_normal((n, 4, 4, 4)), (1, 4, 4, 4), order=1)
        return (coarse + 0.5 * rng.standard_normal(coarse.shape)).astype(np.float32)

    def blur(images):
        return ndi.gaussian_filter(images, (0, 1, 1, 1))

    training, control, held_out, fresh = (prior(n) for n in (60, 60, 40, 40))
    assert memorisation(blur(fresh), training, held_out)["verdict"] == "copies"  # wrongly: they are only smooth
    found = memorisation(blur(fresh), training, held_out, control)
    assert found["verdict"] == "no copying seen" and 0.25 < found["nearer_to_training"] < 0.75
    mixed = np.concatenate([fresh[:30], training[:10]])
    found = memorisation(blur(mixed), training, held_out, control)
    assert found["verdict"] == "copies" and found["closest_pair"]["training"] < 10


def test_the_chance_of_suspicious_samples_is_hypergeometric():
    # the k smallest of N + M exchangeable distances are all generated ones
    assert chance_of(3, 30, 20) == pytest.approx(hypergeom.pmf(3, 50, 30, 3))
    assert chance_of(0, 30, 20) == 1.0

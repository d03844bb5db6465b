"""Continuous noise levels against clips whose denoiser is known: preconditioning, Heun, churn, guidance."""

import math

import pytest
import torch
from ar_gaussian import covariance, edm_denoiser, statistics

from synthzoo.diffusion.guidance import guided
from synthzoo.errors import UserError
from synthzoo.systems.echodiffusion.edm import (
    draw_sigmas,
    heun,
    karras_sigmas,
    loss_weight,
    preconditioned,
    thresholded,
)

FRAMES, VARIANCE, CORRELATION, MEAN = 8, 0.16, 0.9, 0.5


def basis():
    """Clips that are the unit vectors: what a linear sampler makes of them is its matrix."""
    return torch.eye(FRAMES, dtype=torch.float64).reshape(FRAMES, 1, FRAMES, 1, 1)


def prior(denoise, sigmas):
    """Mean (T,) and covariance (T, T) of a deterministic sampler that is affine in the noise, without any draw."""
    offset = heun(denoise, torch.zeros(1, 1, FRAMES, 1, 1, dtype=torch.float64), sigmas)
    matrix = (heun(denoise, basis(), sigmas) - offset).reshape(FRAMES, FRAMES)
    return offset.flatten(), matrix.T @ matrix


def test_heun_reaches_mean_variance_and_correlation_of_the_frames():
    cov = covariance(FRAMES, VARIANCE, CORRELATION)
    mean, found = prior(edm_denoiser(cov, MEAN), karras_sigmas(128))
    assert torch.allclose(mean, torch.full_like(mean, MEAN), atol=0.01)  # level 80 is not infinite
    assert torch.allclose(found, cov, atol=2e-3)


def test_the_image_denoiser_gives_the_right_frames_and_no_video():
    one = torch.full((1, 1), VARIANCE, dtype=torch.float64)
    _, found = prior(edm_denoiser(one, MEAN), karras_sigmas(128))
    assert torch.allclose(found, VARIANCE * torch.eye(FRAMES, dtype=torch.float64), atol=1e-3)


def test_heun_is_of_second_order():
    one = torch.full((1, 1), VARIANCE, dtype=torch.float64)
    exact = VARIANCE * 400 / (VARIANCE + 400)  # what the flow from level 20 leaves
    found = [float(prior(edm_denoiser(one), karras_sigmas(n, 0.002, 20.0))[1][0, 0]) - exact for n in (16, 32, 64)]
    assert abs(found[1]) < abs(found[0]) / 3
    assert abs(found[2]) < abs(found[1]) / 3


def test_churn_keeps_the_law():
    cov = covariance(FRAMES, VARIANCE, CORRELATION)
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(1, 1, FRAMES, 40, 40, generator=generator, dtype=torch.float64)
    clips = heun(edm_denoiser(cov, MEAN), noise, karras_sigmas(96), churn=20.0, churn_noise=1.0, generator=generator)
    mean, variance, correlation = statistics(clips)
    assert abs(mean - MEAN) < 0.03
    assert abs(variance - VARIANCE) < 0.015
    assert abs(correlation - CORRELATION) < 0.01


def test_few_steps_with_all_churn_widen_the_law_as_measured_before():
    one = torch.full((1, 1), 0.16, dtype=torch.float64)
    generator = torch.Generator().manual_seed(4)
    noise = torch.randn(20000, 1, generator=generator, dtype=torch.float64)
    plain = heun(edm_denoiser(one), noise, karras_sigmas(8)).std()
    churned = heun(edm_denoiser(one), noise, karras_sigmas(8), churn=160.0, generator=generator).std()
    assert abs(float(plain) - 0.573) < 0.01
    assert abs(float(churned) - 0.675) < 0.02


def test_churn_above_its_limit_is_one_setting():
    one = torch.full((1, 1), VARIANCE, dtype=torch.float64)
    noise = torch.randn(4, 1, generator=torch.Generator().manual_seed(0))
    runs = [
        heun(edm_denoiser(one), noise, karras_sigmas(32), churn, generator=torch.Generator().manual_seed(1))
        for churn in (40.0, 160.0)
    ]
    assert torch.equal(*runs)


def test_a_row_with_its_own_generator_does_not_depend_on_its_batch():
    one = torch.full((1, 1), VARIANCE, dtype=torch.float64)
    noise = torch.randn(3, 1, generator=torch.Generator().manual_seed(0))
    sources = [torch.Generator().manual_seed(n) for n in range(3)]
    together = heun(edm_denoiser(one), noise, karras_sigmas(8), 10.0, generator=sources)
    alone = heun(edm_denoiser(one), noise[2:], karras_sigmas(8), 10.0, generator=[torch.Generator().manual_seed(2)])
    assert torch.equal(together[2:], alone)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.0])
def test_guidance_moves_the_mean_of_a_class_along_the_line_from_the_null(weight):
    """Two classes of means -m and m, null mean 0, one covariance: guided samples have mean w m and that covariance."""
    cov = covariance(FRAMES, VARIANCE, CORRELATION)

    def denoise(x, sigma, conditions):
        classes = torch.nan_to_num(conditions, nan=0.0).reshape(-1, 1, 1, 1, 1)
        return MEAN * classes + edm_denoiser(cov)(x - MEAN * classes, sigma)

    for label in (-1.0, 1.0):
        offset = torch.zeros(1, 1, FRAMES, 1, 1, dtype=torch.float64)
        conditions = torch.full((1, 1), label, dtype=torch.float64)
        mean = heun(guided(denoise, conditions, weight), offset, karras_sigmas(128))
        assert torch.allclose(mean, torch.full_like(mean, weight * label * MEAN), atol=0.015)
        matrix = heun(guided(denoise, conditions.expand(FRAMES, 1), weight), basis(), karras_sigmas(128)) - mean
        matrix = matrix.reshape(FRAMES, FRAMES)
        assert torch.allclose(matrix.T @ matrix, cov, atol=3e-3)


def test_guidance_to_a_narrower_class_gives_the_geometric_tilt():
    """Null variance v0, class variance v: the guided flow ends at v0^(1 - w) v^w."""
    null, narrow, weight = 1.0, 0.25, 2.0

    def denoise(x, sigma, conditions):
        variance = torch.where(torch.isnan(conditions), null, narrow)
        return variance / (variance + sigma[:, None] ** 2) * x

    conditions = torch.ones(1, 1, dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.float64)
    gain = heun(guided(denoise, conditions, weight), one, karras_sigmas(256))
    assert float(gain) ** 2 == pytest.approx(null ** (1 - weight) * narrow**weight, rel=0.02)


def test_given_tensors_reach_both_halves_of_the_guided_call():
    def denoise(x, sigma, conditions, image):
        return torch.nan_to_num(conditions) + image

    image = torch.tensor([[1.0], [5.0]])
    guide = guided(denoise, torch.ones(2, 1), 3.0, {"image": image})
    assert torch.equal(guide(torch.zeros(2, 1), torch.ones(2)), 3.0 + image)


def test_the_preconditioned_network_of_zero_output_is_the_identity_without_noise():
    x = torch.randn(5, 1, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    denoise = preconditioned(lambda x, c: torch.randn_like(x), 0.25)
    assert torch.allclose(denoise(x, torch.full((5,), 1e-5)), x, atol=1e-3)
    zero = preconditioned(lambda x, c: torch.zeros_like(x), 0.25)
    assert torch.allclose(zero(x, torch.full((5,), 0.25)), x / 2)


def test_the_network_sees_unit_variance_and_a_quarter_of_the_log():
    seen = {}

    def network(x, c):
        seen["std"], seen["c"] = float(x.std()), c
        return x

    generator = torch.Generator().manual_seed(0)
    for sigma in (0.02, 0.5, 40.0):
        y = 0.25 * torch.randn(1, 40000, generator=generator)
        x = y + sigma * torch.randn(1, 40000, generator=generator)
        preconditioned(network, 0.25)(x, torch.tensor([sigma]))
        assert seen["std"] == pytest.approx(1.0, abs=0.02)
        assert float(seen["c"]) == pytest.approx(math.log(sigma) / 4)


def test_the_loss_weight_undoes_the_output_scale():
    sigma = torch.tensor([0.002, 0.3, 80.0], dtype=torch.float64)
    out = sigma * 0.25 / (sigma**2 + 0.25**2).sqrt()
    assert torch.allclose(loss_weight(sigma, 0.25) * out**2, torch.ones(3, dtype=torch.float64))


def test_training_levels_are_log_normal():
    drawn = draw_sigmas(20000, generator=torch.Generator().manual_seed(0)).log()
    assert float(drawn.mean()) == pytest.approx(-1.2, abs=0.03)
    assert float(drawn.std()) == pytest.approx(1.2, abs=0.03)


def test_the_schedule_runs_from_80_to_0():
    sigmas = karras_sigmas(18)
    assert len(sigmas) == 19
    assert (sigmas[0], sigmas[-2], sigmas[-1]) == (pytest.approx(80.0), pytest.approx(0.002), 0.0)
    assert all(a > b for a, b in zip(sigmas, sigmas[1:]))
    with pytest.raises(UserError, match="steps = 0"):
        karras_sigmas(0)
    with pytest.raises(UserError, match="sigma_min = 3"):
        karras_sigmas(8, 3, 2)


def test_a_strong_estimate_is_brought_back_into_range_and_a_weak_one_is_left():
    strong = torch.linspace(-4, 4, 101)[None]
    clipped = thresholded(lambda x, s: x, 0.9)(torch.cat([strong, strong / 8]), torch.ones(2))
    assert float(clipped[0].abs().max()) == 1.0
    assert torch.allclose(clipped[1], strong[0] / 8)

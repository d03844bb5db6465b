"""Samplers against data whose denoiser is known exactly: a Gaussian with mean m and standard deviation d."""

import pytest
import torch
from monai.networks.schedulers import DDIMScheduler

from synthzoo.diffusion.guidance import guided
from synthzoo.diffusion.samplers import SAMPLERS, ddim, ddim_inversion, dpm_solver, find_sampler
from synthzoo.diffusion.schedule import KINDS, NoiseSchedule, full_range_timesteps, leading_timesteps
from synthzoo.errors import UserError

MEAN, DEVIATION = 1.5, 0.5


def gaussian_denoiser(schedule):
    """E[x0 | xt] for N(MEAN, DEVIATION^2), written as the schedule's kind of prediction."""

    def denoise(x, t):
        a, s = schedule.at(t, x)
        x0 = MEAN + a * DEVIATION**2 / (a**2 * DEVIATION**2 + s**2) * (x - a * MEAN)
        noise = (x - a * x0) / s
        return noise if schedule.prediction == "epsilon" else a * noise - s * x0

    return denoise


def noise(count=20000):
    return torch.randn(count, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_samplers_reach_mean_and_deviation(name, prediction):
    schedule = NoiseSchedule(prediction=prediction)
    x = SAMPLERS[name](gaussian_denoiser(schedule), noise(), schedule, 200, spacing="full")
    assert abs(float(x.mean()) - MEAN) < 0.02
    assert abs(float(x.std()) - DEVIATION) < 0.03


def test_ancestral_sampling_reaches_the_deviation_too():
    schedule = NoiseSchedule()
    x = ddim(gaussian_denoiser(schedule), noise(), schedule, 250, eta=1.0, generator=torch.Generator().manual_seed(1))
    assert abs(float(x.mean()) - MEAN) < 0.03
    assert abs(float(x.std()) - DEVIATION) < 0.03


@pytest.mark.parametrize("start", [990, 500, 13, 0])
def test_a_walk_from_a_noise_level_gives_the_data_back(start):
    schedule = NoiseSchedule(kind="linear", beta_start=1e-4, beta_end=0.02)
    clean = MEAN + DEVIATION * noise()
    t = torch.full((len(clean),), start)
    noisy = schedule.add_noise(clean, torch.randn(clean.shape, dtype=torch.float64), t)
    chance = torch.Generator().manual_seed(1)
    x = ddim(gaussian_denoiser(schedule), noisy, schedule, 250, eta=1.0, generator=chance, start=start)
    assert abs(float(x.mean()) - MEAN) < 0.03 and abs(float(x.std()) - DEVIATION) < 0.03
    assert (float((x - clean).abs().mean()) < 0.1) == (start <= 13)  # what little noise hides is not drawn again


def test_a_start_outside_of_the_schedule_is_told():
    with pytest.raises(UserError, match="start = 1000"):
        ddim(gaussian_denoiser(NoiseSchedule()), noise(4), NoiseSchedule(), 10, start=1000)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize(("eta", "expected"), [(0.0, 0.480), (1.0, 0.456)])
def test_64_steps_of_1000_have_the_variance_of_their_own_posterior(prediction, eta, expected):
    """Steps of 15 timesteps with the posterior of a single one would leave a deviation of .92 here.

    The truth beside it: x_u given x_t and the estimate is Gaussian, so variances follow a recursion.
    """
    schedule = NoiseSchedule(1000, "linear", 1e-4, 2e-2, prediction)
    variance, times = 1.0, leading_timesteps(1000, 64)
    for t, after in zip(times, times[1:]):
        a, b = schedule.alpha[t] ** 2, schedule.alpha[after] ** 2
        gain = a.sqrt() * DEVIATION**2 / (a * DEVIATION**2 + 1 - a)
        fresh = eta * (1 - b) / (1 - a) * (1 - a / b)
        kept = b.sqrt() * gain + (1 - b - fresh).sqrt() * (1 - a.sqrt() * gain) / (1 - a).sqrt()
        variance = kept**2 * variance + fresh
    assert float(variance) ** 0.5 == pytest.approx(expected, abs=0.002)
    generator = torch.Generator().manual_seed(1)
    x = ddim(gaussian_denoiser(schedule), noise(), schedule, 64, eta=eta, generator=generator)
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(x.std()) == pytest.approx(float(variance) ** 0.5, abs=0.01)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_clipped_estimate_bounds_the_sample_and_a_wide_bound_changes_nothing(eta):
    schedule = NoiseSchedule(prediction="v")

    def sample(clip):
        generator = torch.Generator().manual_seed(1)
        return ddim(gaussian_denoiser(schedule), noise(500), schedule, 50, eta, clip=clip, generator=generator)

    assert float(sample(1.2).max()) == pytest.approx(1.2, abs=1e-6)
    assert torch.allclose(sample(50.0), sample(None), atol=1e-6)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_an_inversion_is_undone_by_the_way_down(prediction):
    schedule = NoiseSchedule(prediction=prediction)
    denoise, draw = gaussian_denoiser(schedule), torch.Generator().manual_seed(1)
    data = MEAN + DEVIATION * torch.randn(200, 3, generator=draw)
    off = []
    for refine in (0, 3):
        noise = ddim_inversion(denoise, data, schedule, 10, refine=refine)
        off.append(float((ddim(denoise, noise, schedule, 10, spacing="log_snr") - data).pow(2).mean().sqrt()))
    assert off[1] < 0.05 * DEVIATION and off[1] < off[0]
    many = ddim_inversion(denoise, data, schedule, 200)  # few steps lose deviation on the way down, and add it upwards
    assert many.std().item() == pytest.approx(1, abs=0.1)


def test_each_clean_estimate_is_corrected():
    schedule = NoiseSchedule(prediction="v")
    noise = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    seen = []

    def correct(x0):
        seen.append(x0)
        return torch.cat([torch.full_like(x0[:, :1], 7.0), x0[:, 1:]], 1)

    out = ddim(gaussian_denoiser(schedule), noise, schedule, 6, eta=0.5, correct=correct)
    assert len(seen) == 6 and (out[:, 0] == 7).all() and (out[:, 1:] != 7).all()


def test_the_second_order_solver_errs_less_at_few_steps():
    schedule, start = NoiseSchedule(), noise(2000)
    denoise = gaussian_denoiser(schedule)
    a, s = float(schedule.alpha[-1]), float(schedule.sigma[-1])
    exact = MEAN + DEVIATION * (start - a * MEAN) / (a**2 * DEVIATION**2 + s**2) ** 0.5  # the flow of a Gaussian
    first = (ddim(denoise, start, schedule, 20, spacing="log_snr") - exact).abs().mean()
    second = (dpm_solver(denoise, start, schedule, 20) - exact).abs().mean()
    assert second < 0.5 * first
    assert second < 0.02


def test_ddim_equals_monai_step_by_step():
    schedule = NoiseSchedule()
    peer = DDIMScheduler(1000, schedule="scaled_linear_beta", beta_start=0.0015, beta_end=0.0205, clip_sample=False)
    peer.set_timesteps(50)
    peer.timesteps = torch.tensor(leading_timesteps(1000, 50))
    denoise, x = gaussian_denoiser(schedule), noise(64).float()
    ours = ddim(denoise, x, schedule, 50)
    for t in peer.timesteps:
        x, _ = peer.step(denoise(x, torch.full((64,), int(t))), int(t), x)
    assert torch.allclose(ours, x, atol=2e-4)


def test_timesteps_are_those_of_the_released_recipe():
    assert leading_timesteps(1000, 50)[:3] == [980, 960, 940]
    assert leading_timesteps(1000, 50)[-1] == 0
    assert full_range_timesteps(1000, 20)[0] == 999
    assert full_range_timesteps(1000, 20)[-1] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_levels_fall_and_keep_the_variance(kind):
    schedule = NoiseSchedule(kind=kind)
    assert torch.all(schedule.alpha.diff() < 0)
    assert torch.allclose(schedule.alpha**2 + schedule.sigma**2, torch.ones(1000, dtype=torch.float64))


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_split_inverts_the_target(prediction):
    schedule = NoiseSchedule(prediction=prediction)
    x0, e = noise(8), noise(16)[8:]
    t = torch.full((8,), 400)
    back, back_noise = schedule.split(schedule.add_noise(x0, e, t), schedule.target(x0, e, t), 400)
    assert torch.allclose(back, x0)
    assert torch.allclose(back_noise, e)


def test_guidance_of_one_is_the_conditional_denoiser_and_two_goes_beyond():
    def denoise(x, t, conditions):
        return torch.nan_to_num(conditions, nan=0.0).expand_as(x)

    x, t, conditions = torch.zeros(4, 1), torch.zeros(4), torch.full((4, 1), 3.0)
    assert torch.equal(guided(denoise, conditions, 1.0)(x, t), torch.full((4, 1), 3.0))
    assert torch.equal(guided(denoise, conditions, 2.0)(x, t), torch.full((4, 1), 6.0))
    assert torch.equal(guided(denoise, conditions, 0.0)(x, t), torch.zeros(4, 1))


def test_wrong_settings_are_named():
    with pytest.raises(UserError, match="steps = 2000"):
        leading_timesteps(1000, 2000)
    with pytest.raises(UserError, match="euler.*ddim"):
        find_sampler("euler")
    with pytest.raises(UserError, match="prediction"):
        NoiseSchedule(prediction="x0")

"""The reverse process shared by an image and a video model, on clips whose denoisers are known exactly."""

import pytest
import torch
from ar_gaussian import covariance, scheduled_image, scheduled_video, statistics

from synthzoo.diffusion.samplers import ddim
from synthzoo.diffusion.schedule import NoiseSchedule, leading_timesteps
from synthzoo.errors import UserError
from synthzoo.systems.jvid.sampler import frame_by_frame, image_steps, joint_ddim, low_pass

FRAMES, STEPS = 16, 64
# Steps of the image model -> coarse variance, lag-1 correlation; the same for detail (ancestral, 64 steps).
MEASURED = {
    "all_v": (0.93, 0.96, 0.016, 0.98),
    "all_i": (0.89, 0.00, 0.078, 0.00),
    "early(0.334)": (0.88, 0.96, 0.015, 0.98),
    "sparse(0.334, 0.667, 1)": (0.39, 0.89, 0.016, 0.98),
    "sparse(0.5, 0.9, 2)": (0.39, 0.84, 0.013, 0.97),
    "sparse(0.5, 0.9, 8)": (0.67, 0.93, 0.014, 0.98),
    "late(2)": (0.92, 0.95, 0.019, 0.77),
    "late(4)": (0.93, 0.92, 0.034, 0.29),
    "late(8)": (0.90, 0.77, 0.064, 0.05),
}


def schedule_of(prediction="v"):
    return NoiseSchedule(1000, "linear", 1e-4, 2e-2, prediction)


def noise(rows=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 1, FRAMES, 1, 1, generator=generator, dtype=torch.float64)


def basis():
    return torch.eye(FRAMES, dtype=torch.float64).reshape(FRAMES, 1, FRAMES, 1, 1)


def exact_law(rule, image_variance, video_variance, eta):
    """Variance and lag-1 correlation after the reverse process, mode by mode: both denoisers share eigenvectors."""
    schedule, times = schedule_of(), leading_timesteps(1000, STEPS)
    values, vectors = torch.linalg.eigh(covariance(FRAMES, video_variance))
    variance = torch.ones(FRAMES, dtype=torch.float64)
    for t, after, is_image in zip(times, [*times[1:], None], image_steps(rule, STEPS)):
        a, s = schedule.alpha[t], schedule.sigma[t]
        b, r = (schedule.alpha[after], schedule.sigma[after]) if after is not None else (1.0, 0.0)
        prior = torch.full_like(values, image_variance) if is_image else values
        gain = a * prior / (a**2 * prior + s**2)
        fresh = eta * (r**2 / s**2 * (1 - a**2 / b**2)) ** 0.5 if after is not None else 0.0
        kept = b * gain + (r**2 - fresh**2) ** 0.5 * (1 - a * gain) / s
        variance = kept**2 * variance + fresh**2
    cov = vectors @ torch.diag(variance) @ vectors.T
    total = float(cov.diagonal().mean())
    return total, float(cov.diagonal(1).mean()) / total


@pytest.mark.parametrize("rule", sorted(MEASURED))
def test_the_exact_law_of_a_schedule_is_the_one_measured_before(rule):
    coarse, coarse_lag, detail, detail_lag = MEASURED[rule]
    assert exact_law(rule, 1.0, 1.0, 1.0) == (pytest.approx(coarse, abs=0.03), pytest.approx(coarse_lag, abs=0.03))
    assert exact_law(rule, 0.1, 0.02, 1.0) == (pytest.approx(detail, abs=0.003), pytest.approx(detail_lag, abs=0.03))


@pytest.mark.parametrize("rule", ["all_v", "all_i", "early(0.2)+late(4)", "sparse(0.5, 0.9, 2)"])
def test_the_sampler_follows_the_exact_law_without_fresh_noise(rule):
    schedule = schedule_of()
    video, image = scheduled_video(covariance(FRAMES, 0.5), schedule), scheduled_image(1.0, schedule)
    matrix = joint_ddim(video, image, basis(), schedule, rule, STEPS, eta=0.0).reshape(FRAMES, FRAMES)
    cov = matrix.T @ matrix
    variance, correlation = exact_law(rule, 1.0, 0.5, 0.0)
    assert float(cov.diagonal().mean()) == pytest.approx(variance, abs=1e-6)
    assert float(cov.diagonal(1).mean()) / variance == pytest.approx(correlation, abs=1e-6)


def test_the_sampler_follows_the_exact_law_with_fresh_noise():
    schedule, generator = schedule_of(), torch.Generator().manual_seed(3)
    start = torch.randn(1, 1, FRAMES, 60, 60, generator=generator, dtype=torch.float64)
    video, image = scheduled_video(covariance(FRAMES, 1.0), schedule), scheduled_image(1.0, schedule)
    clips = joint_ddim(video, image, start, schedule, "late(8)", STEPS, eta=1.0, generator=generator)
    _, variance, correlation = statistics(clips)
    assert (variance, correlation) == pytest.approx(exact_law("late(8)", 1.0, 1.0, 1.0), abs=0.05)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_all_v_is_the_plain_sampler_bit_for_bit(prediction):
    schedule = schedule_of(prediction)
    video, image = scheduled_video(covariance(FRAMES), schedule), scheduled_image(1.0, schedule)
    ours = joint_ddim(video, image, noise(), schedule, "all_v", 32, generator=torch.Generator().manual_seed(1))
    plain = ddim(video, noise(), schedule, 32, eta=1.0, generator=torch.Generator().manual_seed(1))
    assert torch.equal(ours, plain)


def test_all_i_treats_each_frame_as_an_image():
    schedule = schedule_of()
    image = scheduled_image(1.0, schedule)
    clips = joint_ddim(None, image, noise(), schedule, "all_i", 32, eta=0.0)
    frames = ddim(image, noise().transpose(1, 2).flatten(0, 1), schedule, 32)
    assert torch.equal(clips.transpose(1, 2).flatten(0, 1), frames)


@pytest.mark.parametrize("rule", ["all_v", "late(9)", "random(0.5, 7)"])
def test_of_two_equal_models_none_can_tell_which_was_used(rule):
    schedule = schedule_of()
    image = scheduled_image(0.7, schedule)
    video = frame_by_frame(image)
    assert torch.equal(
        joint_ddim(video, image, noise(), schedule, rule, 32, eta=0.0),
        joint_ddim(video, image, noise(), schedule, "all_i", 32, eta=0.0),
    )


def test_models_that_predict_different_things_share_a_process():
    own, other = schedule_of("v"), schedule_of("epsilon")
    video = scheduled_video(covariance(FRAMES), own)
    mixed = joint_ddim(video, scheduled_image(1.0, other), noise(), own, "late(8)", 32, eta=0.0, image_schedule=other)
    same = joint_ddim(video, scheduled_image(1.0, own), noise(), own, "late(8)", 32, eta=0.0)
    assert torch.allclose(mixed, same, atol=1e-6)


def test_models_of_different_noise_levels_are_refused():
    own, other = schedule_of(), NoiseSchedule(1000, "scaled_linear")
    with pytest.raises(UserError, match="betas"):
        joint_ddim(None, None, noise(), own, "all_i", 8, image_schedule=other)


def test_frames_come_back_to_their_clip_whatever_the_chunk():
    clips = torch.arange(2 * 3 * FRAMES, dtype=torch.float64).reshape(2, 3, FRAMES, 1, 1)
    times = torch.tensor([5.0, 9.0])
    for chunk in (None, 1, 7):
        moved = frame_by_frame(lambda x, t: x + t.reshape(-1, 1, 1, 1), chunk)(clips, times)
        assert torch.equal(moved, clips + times.reshape(-1, 1, 1, 1, 1))


def test_the_split_keeps_what_the_video_model_knows_of_slow_structure():
    """A flat clip is all coarse, so with the split even all_i is the video model's clip."""
    schedule = schedule_of()
    video, image = scheduled_video(covariance(FRAMES), schedule), scheduled_image(1.0, schedule)
    flat = noise().expand(-1, -1, -1, 6, 6)
    split = joint_ddim(video, image, flat, schedule, "all_i", 32, eta=0.0, blur=1.0)
    assert torch.allclose(split, joint_ddim(video, image, flat, schedule, "all_v", 32, eta=0.0), atol=1e-6)


def test_the_low_pass_keeps_the_mean_and_takes_the_detail():
    x = torch.ones(1, 1, 2, 8, 8)
    assert torch.allclose(low_pass(x, 1.5), x)
    checks = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
    assert float(low_pass(checks.expand(1, 1, 2, 8, 8), 1.5)[..., 3:5, 3:5].abs().max()) < 0.02


def test_rules_name_the_steps_of_the_image_model():
    def steps(rule, count=10):
        return [i for i, mine in enumerate(image_steps(rule, count)) if mine]

    assert steps("all_v") == []
    assert steps("all_i") == list(range(10))
    assert steps("late(2)") == [8, 9]
    assert steps("early(0.25)") == [0, 1, 2]
    assert steps("late(0.25)") == [7, 8, 9] and steps("late(0.125)", 32) == [28, 29, 30, 31]
    assert steps("late(0.125)", 2) == [1] and steps("late(0.125)", 1) == []
    assert steps("sparse(0.3, 0.8, 2)") == [3, 5, 7]
    assert steps("list(1, 4)") == [1, 4]
    assert steps("early(0.1) + late(1)") == [0, 9]
    assert steps("random(0.5, 3)") == steps("random(0.5, 3)")
    assert 30 < len(steps("random(0.5, 3)", 100)) < 70


@pytest.mark.parametrize("rule", ["lately(2)", "late", "late(1.5)", "list(64)", "late(70)", "sparse(1)", "", "late(2"])
def test_a_wrong_rule_is_named(rule):
    with pytest.raises(UserError, match="switch = "):
        image_steps(rule, 64)

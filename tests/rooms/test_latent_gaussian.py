"""The linear denoiser is what the normal distribution says, and it says nothing of a condition that was left out."""

import pytest
import torch

from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.networks.linear_denoiser import LatentGaussian

SHAPE = (2, 3, 4, 3)
SIZE = 72


def prior(samples: int = 1600, prediction: str = "v"):
    """A fitted prior, and latents of two strong directions, faint noise, and a known effect of c_1 and c_2^2."""
    draw = torch.Generator().manual_seed(0)
    context = torch.rand(samples, 2, generator=draw)
    first, second = torch.randn(2, SIZE, generator=draw)
    strong = torch.linalg.qr(torch.randn(SIZE, 2, generator=draw))[0].T
    latents = context[:, :1] * first + context[:, 1:] ** 2 * second
    latents = latents + torch.randn(samples, 2, generator=draw) * torch.tensor([6.0, 3.0]) @ strong
    latents = latents + 0.3 * torch.randn(samples, SIZE, generator=draw)
    latents = (latents - latents.mean(0)).reshape(samples, *SHAPE)
    gaussian = LatentGaussian(SHAPE, 2, 2, NoiseSchedule(prediction=prediction))
    template = torch.randn(SHAPE, generator=draw)
    gaussian.fit(template, latents, context)
    return gaussian, template, latents, context


def test_the_law_is_found():
    gaussian, *_ = prior()
    assert gaussian.variances.sqrt().tolist() == pytest.approx([6.0, 3.0], rel=0.1)
    assert float(gaussian.rest) == pytest.approx(0.09, rel=0.15)
    modes = gaussian.modes.flatten(1)
    assert torch.allclose(modes @ modes.T, torch.eye(2), atol=1e-4)


def test_what_is_drawn_has_the_mean_of_its_conditions_and_the_variances_that_were_found():
    gaussian, _, _, context = prior()
    drawn = gaussian.draw(context[:1].repeat(4000, 1), torch.Generator().manual_seed(0)).flatten(1)
    mean = gaussian.expected(context[:1]).flatten()
    left = drawn - mean
    assert float(left.mean(0).abs().max()) < 0.1 < float(mean.abs().max())
    along = left @ gaussian.modes.flatten(1).T
    assert along.var(0).tolist() == pytest.approx(gaussian.variances.tolist(), rel=0.1)
    assert float((left - along @ gaussian.modes.flatten(1)).pow(2).sum(1).mean()) / (SIZE - 2) == pytest.approx(
        float(gaussian.rest), rel=0.05
    )


@pytest.mark.parametrize("prediction", ["v", "epsilon"])
@pytest.mark.parametrize("step", [30, 400, 900])
def test_the_estimate_is_the_posterior_mean(prediction, step):
    gaussian, _, latents, context = prior(prediction=prediction)
    schedule, t = gaussian.schedule, torch.full((5,), step)
    noisy = schedule.add_noise(latents[:5], torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(1)), t)
    modes = gaussian.modes.flatten(1).double()
    covariance = modes.T @ torch.diag(gaussian.variances.double() - gaussian.rest.double()) @ modes
    covariance = covariance + gaussian.rest.double() * torch.eye(SIZE)
    a, s = float(schedule.alpha[step]), float(schedule.sigma[step])
    mean = gaussian.expected(context[:5]).flatten(1).double()
    gain = a * covariance @ torch.linalg.inv(a**2 * covariance + s**2 * torch.eye(SIZE).double())
    expected = mean + (noisy.flatten(1).double() - a * mean) @ gain.T
    clean = gaussian.clean(noisy, t, context[:5])
    assert torch.allclose(clean.flatten(1).double(), expected, atol=1e-4)
    assert torch.allclose(schedule.split(noisy, gaussian(noisy, t, context[:5])[0], step)[0], clean, atol=1e-3)


def test_places_have_variances_of_their_own():
    draw = torch.Generator().manual_seed(0)
    schedule, context = NoiseSchedule(prediction="v"), torch.rand(1600, 2, generator=draw)
    deviation = torch.linspace(0.02, 1.0, SIZE).reshape(SHAPE)
    latents = deviation * torch.randn(1600, *SHAPE, generator=draw)
    one, each = (LatentGaussian(SHAPE, 2, 2, schedule, places=places) for places in (False, True))
    for gaussian in (one, each):
        gaussian.fit(torch.randn(SHAPE, generator=draw), latents, context)
    assert each.rest.shape == SHAPE and one.rest.ndim == 0
    # The two directions lie along the places that vary most, so their rest is less than their variance.
    assert torch.allclose(each.rest.sqrt().flatten()[:50], deviation.flatten()[:50], rtol=0.15)
    drawn = each.draw(context, torch.Generator().manual_seed(1))
    assert torch.allclose(drawn.std(0), deviation, rtol=0.25, atol=0.03)
    t = torch.full((200,), 400)
    noisy = schedule.add_noise(latents[:200], torch.randn(200, *SHAPE, generator=draw), t)
    errors = [
        float((gaussian.clean(noisy, t, context[:200]) - latents[:200]).pow(2).mean()) for gaussian in (one, each)
    ]
    assert errors[1] < 0.97 * errors[0]
    each.rest.fill_(float(one.rest))
    assert torch.allclose(each.clean(noisy, t, context[:200]), one.clean(noisy, t, context[:200]), atol=0.05)


def test_a_condition_left_out_changes_nothing():
    gaussian, template, latents, _ = prior()
    nothing = torch.full((1, 2), -1.0)
    assert not gaussian.expected(nothing).any()
    maps = gaussian(latents[:1], torch.tensor([100]), nothing)[1]
    assert torch.allclose(maps[0, 2:4], template / template.std())
    assert torch.equal(maps[0, 4:, -1, -1, -1], torch.ones(3))


@pytest.mark.parametrize("samples", [1, 2, 3, 6])
def test_a_handful_of_scans_is_enough_to_run(samples):
    gaussian, template, latents, context = prior()
    few = LatentGaussian(SHAPE, 2, 8, gaussian.schedule)
    few.fit(template, latents[:samples], context[:samples].clone().fill_(-1.0))
    assert all(torch.isfinite(value).all() for value in few.state_dict().values())
    assert torch.isfinite(few(latents[:1], torch.tensor([0]), context[:1])[0]).all()


def test_without_products_an_effect_is_linear():
    whole, template, latents, context = prior()
    linear = LatentGaussian(SHAPE, 2, 2, whole.schedule, products=False)
    linear.fit(template, latents, context)
    assert len(linear.effects) == 2 and len(whole.effects) == 5
    step = linear.expected(torch.tensor([[0.6, 0.5], [0.4, 0.5], [0.2, 0.5]]))
    assert torch.allclose(step[0] - step[1], step[1] - step[2], atol=1e-5)
    known = torch.tensor([[0.6, 0.5], [0.4, 0.5]])
    slope = whole.expected(known)[0] - whole.expected(known)[1]  # the first condition has a linear effect alone
    assert torch.cosine_similarity((step[0] - step[1]).flatten(), slope.flatten(), 0) > 0.95
    assert torch.isfinite(linear(latents[:1], torch.tensor([100]), context[:1])[0]).all()

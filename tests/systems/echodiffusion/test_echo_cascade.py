"""The cascade of EchoDiffusion: sizes of its stages, sampling, training of one stage at a time."""

import pytest
import torch

from synthzoo.errors import UserError
from synthzoo.phantoms.echo.phantom import draw_params, make_clip
from synthzoo.systems.echodiffusion.cascade import shrink_clip
from synthzoo.systems.echodiffusion.evaluation import best_shift_ssim
from synthzoo.systems.echodiffusion.inferer import CascadeInferer, closest
from synthzoo.systems.echodiffusion.network import EchoCascade
from synthzoo.systems.echodiffusion.objective import CascadeObjective, start_stage
from synthzoo.systems.echodiffusion.sampler import preview, sample_cascade, sample_stage

SMALL = {"channels": [8, 16], "time_attention": False, "middle_attention": False}


def cascade(**settings):
    torch.manual_seed(0)
    return EchoCascade(**{"base": SMALL, "upsampling": SMALL, "steps": 2, "preview": preview, **settings}).eval()


def stirred(network):
    """Weights that are not zero anywhere, so that every input matters."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def alike(one, two):
    """Equal but for rounding, which depends on the batch and which noise of 80 enlarges."""
    return float((one - two).abs().mean()) < 1e-3


def test_a_plain_call_gives_a_video_and_always_the_same():
    network, frame = stirred(cascade()), torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        video = network(frame)
        assert video.shape == (2, 1, 16, 32, 32) and float(video.min()) >= 0 and float(video.max()) <= 1
        assert torch.equal(network(frame), video)
        assert alike(network(frame[:1]), video[:1])


def test_the_first_stage_is_small_and_the_second_full_size():
    shapes = cascade(frames=12, image_size=24, time=3, space=4).noise_shapes()
    assert shapes == {"base": (1, 4, 6, 6), "low": (1, 12, 24, 24), "upsampling": (1, 12, 24, 24)}
    with pytest.raises(UserError, match="frames = 15"):
        cascade(frames=15)
    with pytest.raises(UserError, match="image_size = 33"):
        cascade(image_size=33)


class KnownStage:
    """The ideal denoiser of data that is one clip, as a raw network: F = (y - c_skip x) / c_out."""

    sigma_data = torch.tensor(0.5)

    def __init__(self, clip, low=False):
        self.clip, self.seen = clip, {}

    def denoise(self, x, level, conditions, **given):
        self.seen = {**given, "conditions": conditions}
        sigma = (4 * level).exp().reshape(-1, 1, 1, 1, 1)
        total = sigma**2 + 0.25
        skip, out = 0.25 / total, sigma * 0.5 / total.sqrt()
        return (self.clip - skip * x * total.sqrt()) / out


class KnownCascade:
    frames, image_size, time, space = 4, 8, 2, 2

    def __init__(self):
        torch.manual_seed(0)
        self.whole = torch.rand(1, 1, 4, 8, 8) * 2 - 1
        self.base, self.upsampling = KnownStage(shrink_clip(self.whole, 2, 2)), KnownStage(self.whole)


def noise_of(batch=1):
    shapes = {"base": (1, 2, 4, 4), "low": (1, 4, 8, 8), "upsampling": (1, 4, 8, 8)}
    return {name: torch.randn(batch, *shape) for name, shape in shapes.items()}


def test_stages_that_know_the_clip_give_the_clip():
    network = KnownCascade()
    made = sample_cascade(network, torch.rand(1, 1, 8, 8), torch.tensor([40.0]), noise_of(), (24, 24))
    assert torch.allclose(made, (network.whole + 1) / 2, atol=1e-3)


def test_the_second_stage_sees_the_whole_frame_the_small_clip_and_how_noisy_it_is():
    network, frame = KnownCascade(), torch.rand(1, 1, 8, 8)
    noise = noise_of()
    sample_cascade(network, frame, torch.tensor([40.0]), noise, (8, 8), (1.0, 1.0), low_level=0.0)
    seen = network.upsampling.seen
    assert torch.allclose(seen["image"], 2 * frame - 1)
    assert network.base.seen["image"].shape[-2:] == (4, 4) and "low" not in network.base.seen
    assert seen["low"].shape == (1, 1, 4, 8, 8) and float(seen["low_level"]) > 9  # log SNR of nearly no noise
    sample_cascade(network, frame, torch.tensor([40.0]), noise, (8, 8), (1.0, 1.0), low_level=1.0)
    assert float(network.upsampling.seen["low_level"]) < -9
    assert torch.allclose(network.upsampling.seen["low"], noise["low"], atol=0.05)


def test_guidance_zero_leaves_the_ejection_fraction_out_and_another_one_matters():
    network, frame = stirred(cascade()), torch.rand(1, 1, 32, 32)
    inferer = CascadeInferer(steps=2, upsampling_steps=2)
    low, high = torch.tensor([15.0]), torch.tensor([80.0])
    none = [inferer.predict(frame, ef, network, guidance=(0.0, 0.0)) for ef in (low, high)]
    some = [inferer.predict(frame, ef, network) for ef in (low, high)]
    assert torch.equal(*none) and not torch.equal(*some)


def test_the_noise_of_a_video_comes_from_its_frame_alone():
    network, frames = stirred(cascade()), torch.rand(3, 1, 32, 32)
    inferer = CascadeInferer(ef=50, steps=2, upsampling_steps=2)
    together = inferer(frames, network)
    assert alike(inferer(frames.flip(0), network).flip(0), together)
    assert alike(inferer(frames[1:2], network), together[1:2])
    requested = torch.full((3,), 50.0)
    assert alike(inferer.predict(frames, requested, network), together)
    assert not alike(inferer.predict(frames, requested, network, draw=1), together)
    assert not alike(CascadeInferer(50, 2, 2, seed=1)(frames, network), together)


def test_churn_is_the_videos_own_noise_too():
    network, frames = stirred(cascade()), torch.rand(2, 1, 32, 32)
    inferer = CascadeInferer(ef=50, steps=3, upsampling_steps=3, churn=2.0)
    assert alike(inferer(frames, network)[1:], inferer(frames[1:], network))


def test_thresholded_stages_stay_in_range():
    stage, given = cascade().base, {"image": torch.zeros(1, 1, 16, 16)}
    noise, ef = torch.randn(1, 1, 8, 16, 16), torch.tensor([[50.0]])
    made = sample_stage(stage, noise, ef, given, 3, guidance=5.0, threshold=0.9)
    assert float(made.detach().abs().max()) <= 1 + 1e-5


def test_of_several_draws_the_one_with_the_right_ejection_fraction_is_kept():
    videos = [make_clip(draw_params(210_002, ef=ef), size=32).frames for ef in (0.2, 0.7)]
    draws = [torch.from_numpy(video)[None, None] / 255 for video in videos]
    for requested, right in ((25.0, 0), (75.0, 1)):
        video, chosen = closest(draws, torch.tensor([requested]))
        assert list(chosen) == [right] and torch.equal(video, draws[right])


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"steps": 2.5}, {"draws": 0}, {"draws": 99}, {"guidance": -1}, {"low_level": 2}, {"threshold": 0}],
    ids=str,
)
def test_a_setting_out_of_its_range_is_refused(settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        CascadeInferer(**settings)


# --- training ---------------------------------------------------------------------------------------------------------


def rows(count=4):
    videos = [make_clip(draw_params(210_010 + n), size=32) for n in range(count)]
    return [{"video": torch.from_numpy(f.frames)[None] / 255, "ef": torch.tensor(f.ef)} for f in videos]


def batch_of(found):
    return {name: torch.stack([row[name] for row in found]).float() for name in found[0]}


@pytest.mark.parametrize("part", ["base", "upsampling"])
def test_a_stage_learns_alone_and_from_the_spread_of_its_own_data(part):
    found = rows()
    network = start_stage(cascade(), part, found)
    other = "upsampling" if part == "base" else "base"
    assert 0.2 < float(getattr(network, part).sigma_data) < 0.7 and float(getattr(network, other).sigma_data) == 0.5
    sizes = {"shrink": (2, 2)} if part == "base" else {"low": (2, 2), "window": 16}
    torch.manual_seed(0)
    loss = CascadeObjective(part, **sizes)(network, batch_of(found))["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in getattr(network, part).parameters())
    assert all(p.grad is None for p in getattr(network, other).parameters())


def test_the_first_stage_learns_a_video_by_heart():
    found = rows(1)
    network = start_stage(cascade(), "base", found).train()
    objective, batch = CascadeObjective("base", (2, 2), still_share=0.0, mean=0.0), batch_of(found * 4)
    optimizer = torch.optim.Adam(network.base.parameters(), lr=5e-3)
    losses = []
    torch.manual_seed(0)
    for _ in range(24):
        loss = objective(network, batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-6:]) < 0.7 * sum(losses[:6])


def test_a_stage_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="base, upsampling"):
        start_stage(cascade(), "middle", rows(1))


def test_the_best_shift_finds_the_phase():
    video = batch_of(rows(1))["video"]
    late = video.roll(3, 2)
    assert float(best_shift_ssim(video, late)[0]) > 0.999

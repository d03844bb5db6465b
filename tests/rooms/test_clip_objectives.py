"""Losses on clips: what a perfect and an empty network lose, what padding counts, and that a stage learns."""

import pytest
import torch
from torch.utils.data import Dataset

from synthzoo.datasets.loader import SeededLoader
from synthzoo.diffusion.guidance import guided
from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.networks.clip_denoiser import ClipDenoiser
from synthzoo.networks.conditions import ConditionNormaliser
from synthzoo.networks.space_time import SpaceTimeUNet
from synthzoo.objectives.clips import cut, draw_frame, draw_windows, frame_weights
from synthzoo.systems.echodiffusion.edm import heun, karras_sigmas, preconditioned
from synthzoo.systems.echodiffusion.objective import EDMObjective
from synthzoo.systems.echonet_synthetic.objective import ClipDiffusionObjective
from synthzoo.training import ObjectiveTrainer


def unet(**settings):
    torch.manual_seed(0)
    return SpaceTimeUNet(1, (8, 8), heads=2, head_channels=4, **settings)


def stage(schedule=None, **settings):
    return ClipDenoiser(unet(**settings), ConditionNormaliser([20.0], [80.0]), schedule)


def batch(count=6, frames=5, size=8):
    torch.manual_seed(1)
    return {"video": torch.rand(count, 1, frames, size, size), "conditions": torch.full((count, 1), 55.0)}


class Spy(torch.nn.Module):
    """A stage that keeps what it was given and predicts what `answer` says."""

    def __init__(self, answer=lambda x, **given: torch.zeros_like(x), schedule=None):
        super().__init__()
        self.answer, self.calls, self.schedule = answer, [], schedule
        self.sigma_data, self.conditions = torch.tensor(0.5), ConditionNormaliser([20.0], [80.0])

    def denoise(self, x, level, conditions, **given):
        self.calls.append({"x": x, "level": level, "conditions": conditions, **given})
        return self.answer(x, level=level, **given)


def test_an_untrained_stage_loses_one():
    """With a prediction of zero the raw network's target has unit variance at each level."""
    found, objective = [], EDMObjective(takes_image=False)
    own = stage()
    rows = batch(32)
    rows["video"] = 0.5 + 0.25 * torch.randn_like(rows["video"])
    own.fit(2 * rows["video"] - 1)
    assert float(own.sigma_data) == pytest.approx(0.5, abs=0.02)
    with torch.no_grad():
        found = [float(objective(own, rows)["loss"]) for _ in range(4)]
    assert sum(found) / 4 == pytest.approx(1.0, abs=0.05)


def test_a_perfect_stage_loses_nothing():
    rows = batch()
    clean = 2 * rows["video"] - 1

    def perfect(x, level, **given):
        sigma = (4 * level).exp().reshape(-1, 1, 1, 1, 1)
        total = sigma**2 + 0.25
        return (clean - 0.25 / total * x * total.sqrt()) * total.sqrt() / (sigma * 0.5)

    assert float(EDMObjective()(Spy(perfect), rows)["loss"]) < 1e-6


def test_frames_of_padding_do_not_count_and_never_condition():
    rows = batch(2)
    rows["valid"] = torch.tensor([2, 5])
    other = {**rows, "video": rows["video"].clone()}
    other["video"][0, :, 2:] = 0
    for objective, spy, key in (
        (EDMObjective(), Spy(), "video"),
        (ClipDiffusionObjective(), Spy(schedule=NoiseSchedule()), "latents"),
    ):
        losses = []
        for one in (rows, other):
            torch.manual_seed(4)
            losses.append(float(objective(spy, {**one, key: one["video"]})["loss"]))
        assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    numbered = torch.arange(5.0).reshape(1, 1, 5, 1, 1).expand(200, 1, 5, 1, 1)
    drawn = draw_frame(numbered, torch.full((200,), 3)).flatten()
    assert set(drawn.tolist()) == {0.0, 1.0, 2.0}


def test_weights_of_frames_have_mean_one_and_follow_the_stride():
    clip = torch.zeros(2, 1, 4, 1, 1)
    weights = frame_weights(torch.tensor([3, 8]), clip, 2)
    assert weights.tolist() == [[2.0, 2.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]


def test_a_window_is_the_same_for_all_frames_the_image_and_the_small_clip():
    ramp = torch.arange(64.0).reshape(8, 8) / 64
    rows = batch(4)
    rows["video"] = ramp.expand_as(rows["video"]).contiguous()
    rows["image"] = rows["video"][:, :, 0]
    spy = Spy()
    EDMObjective(window=4, low=(2, 2), mean=-20.0, deviation=0.0)(spy, rows)
    call = spy.calls[0]
    assert call["x"].shape == (4, 1, 5, 4, 4)
    assert call["low"].shape == call["x"].shape
    for frame in range(5):
        assert torch.allclose(call["x"][:, :, frame] / 2, call["image"], atol=1e-5)
    assert len({float(row[0, 0, 0]) for row in call["image"]}) > 1


def test_windows_lie_inside():
    corners = draw_windows((8, 6), 5, 100)
    assert cut(torch.rand(100, 2, 8, 6), corners, 5).shape == (100, 2, 5, 5)
    assert (int(corners[0].max()), int(corners[1].max())) == (3, 1)


def test_a_later_stage_sees_the_noise_level_of_its_input_and_a_first_stage_a_small_clip():
    spy = Spy()
    EDMObjective(low=(2, 2))(spy, batch())
    assert spy.calls[0]["low_level"].shape == (6,)
    EDMObjective(shrink=(2, 4))(spy, batch())
    assert spy.calls[1]["x"].shape == (6, 1, 3, 2, 2)
    assert spy.calls[1]["image"].shape == (6, 1, 2, 2)


@pytest.mark.parametrize("objective", [EDMObjective, ClipDiffusionObjective])
def test_a_share_of_the_steps_looks_at_stills(objective):
    rows = batch(2)
    rows["latents"] = rows["video"]
    spy = Spy(schedule=NoiseSchedule())
    for _ in range(200):
        objective(still_share=0.25)(spy, rows)
    assert sum(call.get("still", False) for call in spy.calls) / 200 == pytest.approx(0.25, abs=0.1)


def test_further_images_are_a_second_part_of_the_loss():
    rows = {**batch(2), "stills": torch.rand(5, 1, 8, 8)}
    spy = Spy()
    found = EDMObjective(still_share=0.0, stills_weight=0.5, shrink=(2, 2), low=(2, 2))(spy, rows)
    assert [call["still"] for call in spy.calls] == [False, True]
    assert spy.calls[1]["x"].shape == (5, 1, 1, 4, 4)
    assert torch.isnan(spy.calls[1]["conditions"]).all()
    assert float(found["loss"]) == pytest.approx(float(found["clips"] + 0.5 * found["stills"]))


def test_the_noise_offset_is_one_number_a_clip_and_channel():
    spy = Spy(schedule=NoiseSchedule(prediction="v"))
    rows = {"latents": torch.zeros(500, 2, 2, 3, 3), "conditions": torch.zeros(500, 1)}
    ClipDiffusionObjective(noise_offset=3.0, takes_image=False)(spy, rows)
    _, sigma = spy.schedule.at(spy.calls[0]["level"], rows["latents"])
    noise = spy.calls[0]["x"] / sigma
    assert float(noise.mean((2, 3, 4)).std()) == pytest.approx(3.0, rel=0.1)
    assert float((noise - noise.mean((2, 3, 4), keepdim=True)).std()) == pytest.approx(1.0, abs=0.05)


def test_conditions_in_user_units_reach_the_network_normalised_and_nan_where_left_out():
    seen = []

    class Network(torch.nn.Module):
        def forward(self, x, level, conditions, **given):
            seen.append(conditions)
            return x

    own = ClipDenoiser(Network(), ConditionNormaliser([20.0], [80.0]))
    own(torch.zeros(2, 1, 1, 1, 1), torch.zeros(2), torch.tensor([[50.0], [float("nan")]]))
    assert float(seen[0][0]) == 0.5
    assert torch.isnan(seen[0][1]).all()


class Brightness(Dataset):
    """Flat clips whose brightness is their condition, 20 to 80 percent."""

    def __len__(self):
        return 64

    def __getitem__(self, row):
        percent = 20 + 60 * row / 63
        return {"video": torch.full((1, 3, 4, 4), percent / 100), "conditions": torch.tensor([percent]), "row": row}


def test_a_stage_learns_to_obey_its_condition_and_guidance_one_is_enough(tmp_path):
    own = stage(middle_attention=False)
    own.fit(torch.stack([2 * row["video"] - 1 for row in (Brightness()[k] for k in range(64))]))
    optimizer = torch.optim.Adam(own.parameters(), 1e-2)
    steps = [{"objective": EDMObjective(takes_image=False), "optimizer": optimizer}]
    trainer = ObjectiveTrainer(
        "cpu",
        1,
        SeededLoader(Brightness(), batch_size=8, seed=0),
        own,
        steps,
        epoch_length=70,
        ema_decay=0.9,
        save_to=tmp_path / "model.pt",
        progress=False,
    )
    trainer.run()
    trained = trainer.ema.eval()
    requested = torch.tensor([[25.0], [50.0], [75.0]])
    noise = torch.randn(3, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        denoise = guided(preconditioned(trained.denoise, float(trained.sigma_data)), requested, 1.0)
        clips = heun(denoise, noise, karras_sigmas(12, 0.02, 20.0))
    got = 50 * (clips.mean((1, 2, 3, 4)) + 1)
    assert torch.allclose(got, requested[:, 0], atol=10.0), got

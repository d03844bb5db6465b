"""Losses of the twin network: which world each part holds, who learns from it, and what is requested."""

import pytest
import torch
from torch.utils.data import Dataset

from synthzoo.datasets.loader import SeededLoader
from synthzoo.errors import UserError
from synthzoo.systems.dartagnan.generator import SMALL, EFExpert, FrameDiscriminator, TwinGenerator
from synthzoo.systems.dartagnan.objective import (
    ExpertObjective,
    TwinCritic,
    TwinObjective,
    change_at_rest,
    draw_requested,
)
from synthzoo.training import ObjectiveTrainer


class Network(torch.nn.Module):
    def __init__(self, **settings):
        super().__init__()
        torch.manual_seed(0)
        self.generator = TwinGenerator(**{**SMALL["generator"], "width": 4, **settings})
        self.expert = EFExpert(width=8, stages=2, stem_kernel=3)


class Clips(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, row):
        noise = torch.Generator().manual_seed(row)
        return {"video": torch.rand(1, 4, 8, 8, generator=noise), "ef": torch.tensor(0.2 + 0.08 * row), "row": row}


def batch():
    rows = [Clips()[row] for row in range(4)]
    return {name: torch.stack([row[name] for row in rows]) for name in ("video", "ef")}


def critic(adversary="hinge"):
    torch.manual_seed(2)
    return TwinCritic(FrameDiscriminator(4, 2), adversary)


def gradient(network, part):
    return sum(float(p.grad.abs().sum()) for p in getattr(network, part).parameters() if p.grad is not None)


def test_what_is_requested_is_whole_in_range_and_apart():
    generator = torch.Generator().manual_seed(0)
    ef = torch.tensor([0.55, 0.05]).repeat(4000)
    requested = draw_requested(ef, 0.10, 0.15, 0.85, generator)
    assert torch.allclose(requested * 100, (requested * 100).round(), atol=1e-4)
    assert float((requested - ef).abs().min()) >= 0.0999
    first = (requested[ef == 0.55] * 100).round().int()
    assert sorted(set(first.tolist())) == [*range(15, 46), *range(65, 86)]
    assert float((first < 50).float().mean()) == pytest.approx(31 / 52, abs=0.03)
    with pytest.raises(UserError, match="apart = 0.4"):
        draw_requested(torch.tensor([0.5]), 0.4, 0.15, 0.85)


def test_each_part_of_the_loss_holds_its_own_world():
    for weights, factual, other in (((0, 1, 0), True, False), ((1, 0, 0), False, True), ((0, 0, 1), False, True)):
        network = Network(shared=False)
        TwinObjective(critic(), *weights)(network, batch())["loss"].backward()
        found = [gradient(network.generator, name) > 0 for name in ("factual", "other")]
        assert found == [factual, other], weights
        assert gradient(network, "expert") == 0


def test_the_expert_is_requested_about_several_views_and_learns_from_views():
    shown = []

    def harden(clip):
        shown.append(len(clip))
        return clip.square()

    network = Network()
    TwinObjective(critic(), augmentation=harden, copies=3)(network, batch())["loss"].backward()
    assert shown == [4, 4, 4]
    assert gradient(network, "generator") > 0 and gradient(network, "expert") == 0
    torch.manual_seed(0)
    other = Network()
    plain, seen = (ExpertObjective(views)(other, batch())["loss"] for views in (None, harden))
    assert shown[-1] == 4 and float(plain.detach()) != float(seen.detach())


def test_an_uneven_motion_costs_and_is_told():
    network = Network(answer="motion")
    torch.nn.init.normal_(network.generator.factual.out.weight, std=0.5)
    found = TwinObjective(critic(), 0, 0, 0, smooth=0.5)(network, batch())
    assert float(found["unevenness"]) > 0
    assert float(found["loss"]) == pytest.approx(0.5 * float(found["unevenness"]), rel=1e-5)
    with pytest.raises(UserError, match="smooth"):
        TwinObjective(critic(), smooth=0.5)(Network(), batch())


def test_the_relaxed_heart_is_held_where_end_diastole_is_known():
    made, video = torch.zeros(3, 1, 4, 8, 8), torch.zeros(3, 1, 4, 8, 8)
    made[0, :, 2], made[1, :, 3], made[2] = 0.5, 1.0, 1.0
    assert float(change_at_rest(made, video, torch.tensor([2, 1, -1]))) == pytest.approx(0.25)
    assert float(change_at_rest(made, video, torch.tensor([-1, -1, -1]))) == 0
    network, rows = Network(), {**batch(), "ed_frame": torch.tensor([0, 1, -1, 3])}
    found = TwinObjective(critic(), 0, 0, 0, rest=2.0)(network, rows)
    assert float(found["loss"]) == pytest.approx(2 * float(found["rest"]), rel=1e-5)
    found["loss"].backward()
    assert gradient(network, "generator") > 0


def test_the_critic_learns_from_the_clip_that_was_made_and_the_generator_does_not():
    network, judge = Network(), critic()
    TwinObjective(judge)(network, batch())
    judge(network, batch())["loss"].backward()
    assert gradient(judge, "discriminator") > 0
    assert gradient(network, "generator") == 0
    with pytest.raises(UserError, match="after the generator's objective"):
        judge(network, batch())


@pytest.mark.parametrize("adversary", ["hinge", "published"])
def test_a_critic_that_tells_them_apart_loses_less(adversary):
    class Perfect(torch.nn.Module):
        def forward(self, clip):
            return 20 * torch.sign(clip.mean((1, 3, 4)) - 0.25)

    judge = TwinCritic(Perfect(), adversary)
    real, made = torch.full((2, 1, 4, 8, 8), 0.5), torch.zeros(2, 1, 4, 8, 8)
    judge.remember(made)
    assert float(judge(None, {"video": real})["loss"]) == pytest.approx(0.0, abs=1e-6)
    assert float(judge.verdict(made)) > float(judge.verdict(real))
    judge.remember(real)
    assert float(judge(None, {"video": made})["loss"]) > 1.9


def test_the_weights_rise_as_published():
    objective = TwinObjective(critic(), rise=60)
    shares = []
    for step in (0, 30, 60):
        objective.steps.fill_(step)
        shares.append(objective.share())
    assert shares == pytest.approx([0.047, 0.5, 0.953], abs=0.001)
    assert TwinObjective(critic()).share() == 1.0


def test_the_two_stages_train_one_after_the_other_and_the_expert_rests(tmp_path):
    network = Network()

    def train(steps, name):
        trainer = ObjectiveTrainer(
            "cpu",
            1,
            SeededLoader(Clips(), batch_size=4, seed=0),
            network,
            steps,
            epoch_length=3,
            save_to=tmp_path / f"{name}.pt",
            progress=False,
        )
        trainer.run()
        return trainer.state.output

    start = {name: value.clone() for name, value in network.state_dict().items()}
    found = train(
        [{"objective": ExpertObjective(), "optimizer": torch.optim.Adam(network.expert.parameters(), 1e-3)}], "expert"
    )
    assert {"loss", "points"} <= set(found)
    middle = {name: value.clone() for name, value in network.state_dict().items()}
    judge = critic()
    found = train(
        [
            {"objective": TwinObjective(judge), "optimizer": torch.optim.Adam(network.generator.parameters(), 1e-3)},
            {"objective": judge, "optimizer": torch.optim.Adam(judge.parameters(), 1e-3)},
        ],
        "twin",
    )
    assert {"twin/points", "twin/reconstruction", "critic/real"} <= set(found)
    for name, value in network.state_dict().items():
        part = name.split(".")[0]
        assert torch.equal(middle[name], value) == (part == "expert"), name
        assert torch.equal(start[name], middle[name]) == (part == "generator"), name


def test_an_unknown_adversary_is_named():
    with pytest.raises(UserError, match="adversary = 'wgan'"):
        TwinCritic(torch.nn.Identity(), "wgan")

"""The twin network: two worlds with one patient and one noise, their judges, and the published sizes."""

import copy

import pytest
import torch

from synthzoo.errors import UserError
from synthzoo.systems.dartagnan.generator import PAPER, REACH, SMALL, EFExpert, FrameDiscriminator, TwinGenerator

MOTION = {**SMALL["generator"], "answer": "motion"}
PLANE = {**SMALL["generator"], "plane": True, "norm": "batch", "shared": False}


def clip(batch=2, frames=4, size=8):
    return torch.rand(batch, 1, frames, size, size, generator=torch.Generator().manual_seed(0))


def make(kind, **settings):
    torch.manual_seed(0)
    return kind(**settings)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_published_networks_have_their_number_of_parameters():
    """Counted from the authors' code at the width of their commands."""
    with torch.device("meta"):
        generator, expert = TwinGenerator(**PAPER["generator"]), EFExpert(**PAPER["expert"])
        discriminator = FrameDiscriminator(**PAPER["discriminator"])
        wide = TwinGenerator(**{**PAPER["generator"], "width": 128, "shared": True})
    assert count(generator) == 2 * 1_538_805
    assert count(wide) == 24_193_237
    assert count(expert) == 7_827_621
    assert count(discriminator) == 343_584


def test_a_small_generator_is_a_tenth_of_a_million():
    assert 0.05e6 < count(TwinGenerator(**SMALL["generator"])) < 0.2e6


@pytest.mark.parametrize("settings", [SMALL["generator"], PLANE], ids=["small", "plane"])
def test_two_clips_of_the_input_s_size_in_range_that_depend_on_their_ef(settings):
    generator, z = make(TwinGenerator, **settings).eval(), clip()
    with torch.no_grad():
        ones = torch.ones_like(generator.draw_noise(z))
        factual, requested = generator(z, torch.tensor([0.3, 0.6]), torch.tensor([0.7, 0.2]), ones)
        again, other = generator(z, torch.tensor([0.3, 0.6]), torch.tensor([0.5, 0.2]), ones)
    assert factual.shape == requested.shape == z.shape
    assert float(requested.min()) >= 0 and float(requested.max()) <= 1
    assert torch.equal(factual, again)
    assert not torch.allclose(requested[0], other[0], atol=1e-4)
    assert torch.allclose(requested[1], other[1], atol=1e-6)


def test_asking_a_shared_branch_for_the_factual_ef_changes_nothing():
    generator, z, ef = make(TwinGenerator, **SMALL["generator"]), clip(), torch.tensor([0.3, 0.6])
    factual, requested = generator(z, ef, ef)
    assert torch.equal(factual, requested)


def test_branches_with_their_own_weights_differ_but_hear_the_same_noise():
    generator, z, ef = make(TwinGenerator, **PLANE).eval(), clip(), torch.tensor([0.3, 0.6])
    with torch.no_grad():
        factual, requested = generator(z, ef, ef)
        assert not torch.allclose(factual, requested, atol=1e-3)
        generator.other.load_state_dict(generator.factual.state_dict())
        assert torch.equal(*generator(z, ef, ef))


def test_the_noise_makes_other_clips_of_one_patient_and_is_drawn_again():
    generator, z, ef = make(TwinGenerator, **SMALL["generator"]).eval(), clip(), torch.tensor([0.3, 0.6])
    with torch.no_grad():
        assert not torch.equal(generator(z, ef, ef)[1], generator(z, ef, ef)[1])
    noise = [generator.draw_noise(clip(8, 16, 16), torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*noise)
    assert float(noise[0].mean()) == pytest.approx(1.0, abs=0.01)
    assert float(noise[0].std()) == pytest.approx(0.25, abs=0.01)
    assert float(noise[0].min()) > 0 and float(noise[0].max()) < 2


def test_a_shared_branch_is_stored_once():
    names = make(TwinGenerator, **SMALL["generator"]).state_dict()
    assert all(name.startswith("factual.") for name in names)


def test_a_generator_of_motions_leaves_a_clip_with_its_own_ef_and_learns_to_move_tissue():
    generator, z, ef = make(TwinGenerator, **MOTION), clip(), torch.tensor([0.3, 0.6])
    noise = generator.draw_noise(z)
    assert noise.shape == (2, 16, 2, 2, 2)
    factual, requested = generator(z, ef, torch.tensor([0.7, 0.2]), noise)
    assert torch.equal(factual, z)
    assert torch.allclose(requested, z, atol=0.05) and not torch.equal(requested, z)
    assert torch.equal(generator(z, ef, ef, noise)[1], z)
    (requested - z.roll(1, -1)).abs().mean().backward()
    assert float(generator.factual.stem[0].weight.grad.abs().sum()) > 0


def test_tissue_moves_by_no_more_than_the_change_of_ef_allows():
    branch, z, ef = make(TwinGenerator, **MOTION).factual, clip(), torch.tensor([0.3, 0.6])
    torch.nn.init.normal_(branch.out.weight, std=50.0)
    with torch.no_grad():
        shift = branch.decide(ef + torch.tensor([0.4, -0.1]), z, torch.ones(()), ef)
    assert shift.shape == (2, 2, 4, 8, 8)
    furthest = shift.abs().amax((1, 2, 3, 4))
    assert torch.allclose(furthest, REACH * 8 * torch.tensor([0.4, 0.1]), rtol=0.05)


def test_a_generator_of_motions_halves_the_sides_twice():
    with pytest.raises(UserError, match="multiples of 4"):
        make(TwinGenerator, **MOTION).draw_noise(torch.zeros(1, 1, 4, 8, 10))


def test_an_unknown_answer_is_named():
    with pytest.raises(UserError, match="answer = 'words'"):
        TwinGenerator(answer="words")


@pytest.mark.parametrize("size", [(3, 8, 8), (4, 7, 8), (4, 8, 9)])
def test_a_clip_that_cannot_be_halved_is_refused(size):
    with pytest.raises(UserError, match=f"clip of {size[0]} frames of {size[1]} x {size[2]}: all three"):
        make(TwinGenerator, **SMALL["generator"]).draw_noise(torch.zeros(1, 1, *size))


def test_clips_do_not_mix_in_a_batch_when_groups_are_normalised():
    generator, z = make(TwinGenerator, **SMALL["generator"]).train(), clip(3)
    ef, noise = torch.tensor([0.2, 0.5, 0.8]), torch.ones(3, 16, 2, 4, 4)
    with torch.no_grad():
        together = generator(z, ef, ef, noise)[0]
        alone = generator(z[1:2], ef[1:2], ef[1:2], noise[1:2])[0]
    assert torch.allclose(together[1:2], alone, atol=1e-5)


def test_the_discriminator_scores_each_frame_by_itself():
    judge, z = make(FrameDiscriminator, **SMALL["discriminator"]), clip(2, 5, 16)
    changed = z.clone()
    changed[1, :, 3] = 0
    with torch.no_grad():
        scores, others = judge(z), judge(changed)
    assert scores.shape == (2, 5)
    same = torch.ones(2, 5, dtype=torch.bool)
    same[1, 3] = False
    assert torch.allclose(scores[same], others[same], atol=1e-6)
    assert abs(float(scores[1, 3] - others[1, 3])) > 1e-4


def test_a_discriminator_of_changes_sees_each_frame_with_the_one_before():
    judge, z = make(FrameDiscriminator, **SMALL["discriminator"], changes=True), clip(1, 5, 16)
    moved = z.clone()
    moved[:, :, 3] = 0
    with torch.no_grad():
        differ = (judge(z) - judge(moved)).abs()[0] > 1e-5
    assert differ.tolist() == [False, False, False, True, True]


def test_a_frozen_expert_guides_the_clip_and_learns_nothing():
    expert = make(EFExpert, **{**SMALL["expert"], "norm": "batch"}).freeze()
    before = copy.deepcopy(expert.state_dict())
    holder = torch.nn.ModuleList([expert]).train()
    z = clip(2, 8, 16).requires_grad_()
    found = expert(z)
    assert found.shape == (2,)
    found.sum().backward()
    assert float(z.grad.abs().sum()) > 0
    assert not holder[0].training
    assert all(parameter.grad is None for parameter in expert.parameters())
    assert all(torch.equal(value, before[name]) for name, value in expert.state_dict().items())


def test_an_expert_starts_at_the_mean_and_learns():
    expert = make(EFExpert, **{**SMALL["expert"], "width": 8, "stages": 2, "start": 0.5})
    ef = torch.linspace(0.2, 0.8, 16)
    # The EF is how much the left half darkens beside the right one.
    z = torch.ones(16, 1, 4, 8, 8)
    z[..., :4] -= ef.reshape(-1, 1, 1, 1, 1) * torch.linspace(0, 1, 4).reshape(1, 1, 4, 1, 1)
    assert torch.allclose(expert(z), torch.full((16,), 0.5), atol=0.25)
    optimizer = torch.optim.Adam(expert.parameters(), 5e-3)
    losses = []
    for _ in range(30):
        loss = (expert(z) - ef).square().mean()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.2 * losses[0]


def test_an_unknown_normalisation_is_named():
    with pytest.raises(UserError, match="norm = 'layer'"):
        EFExpert(norm="layer")

"""Translation of contrasts: paired phantoms, the ControlNet on a frozen U-Net, and volumes stacked of slices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_translator import GRID, IMAGE, LATENT, ball_maps, small_translator

from synthzoo.errors import UserError
from synthzoo.phantoms.brain.label_maps import CLASSES
from synthzoo.phantoms.brain.painting import Scan
from synthzoo.systems.monai_generative.translation_inferer import TranslationInferer, in_unit
from synthzoo.systems.monai_generative.translation_network import begin_controlnet
from synthzoo.systems.monai_generative.translation_objective import RegressionObjective, TranslationObjective
from synthzoo.systems.monai_generative.translation_phantoms import (
    OCCULT,
    SOURCES,
    TARGETS,
    brain_levels,
    chosen_levels,
    draw_occult,
    painted,
    planes,
    relaxation_of,
    slices_of,
    source_scan,
    target_scan,
    volume_of,
)

WHITE, SPOT = CLASSES.index("WM"), CLASSES.index("WMH")


@pytest.fixture
def network():
    """Its last layers, which start at zero, moved, so that all inputs matter."""
    found = small_translator()
    with torch.no_grad():
        for parameter in found.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    return found


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return {
        "latents": torch.randn(2, *LATENT),
        "image": torch.rand(2, 1, *IMAGE),
        "source": torch.rand(2, 1, *IMAGE),
        "source_contrast": torch.tensor([3, len(SOURCES)]),
        "target_contrast": torch.tensor([0, 2]),
    }


def contrast(values: np.ndarray) -> float:
    return float(values[SPOT] / values[WHITE] - 1)


def test_an_occult_lesion_is_seen_in_flair_and_t2w_and_not_in_t1w():
    for occult, seen in {("WMH",): 0.1, (): 0.1}.items():
        found = {
            name: contrast(target_scan(name, np.random.default_rng(0), 55.0, relaxation_of(occult, 55.0)).values)
            for name in TARGETS
        }
        assert found["FLAIR"] > 2 * seen and found["T2w"] > 2 * seen
        assert (abs(found["T1w"]) < seen) == bool(occult), found
    assert set(draw_occult(np.random.default_rng(0), 1.0)) == set(OCCULT)
    assert draw_occult(np.random.default_rng(0), 0.0) == ()


def test_source_and_target_share_the_anatomy_and_a_target_is_the_quieter():
    maps = ball_maps()[..., 6].astype(np.float32) / 255
    rng = np.random.default_rng(3)
    one, two = source_scan("FLAIR", rng, 55.0), target_scan("T1w", rng, 55.0)
    images = [painted(maps, scan, rng) for scan in (one, two)]
    assert all(np.array_equal(image > 0, maps[0] < 0.95) for image in images)
    assert isinstance(one, Scan) and two.noise < one.noise and two.bias == 0 and two.blur == 0


def test_slices_of_a_volume_are_the_pools_pictures_and_stack_to_the_volume_again():
    maps = ball_maps((40, 48, 20))
    levels = brain_levels(maps)
    assert levels.size and not np.isin([0, 19], levels).any()
    rng = np.random.default_rng(0)
    assert np.isin(chosen_levels(maps, 6, rng), levels).all()
    volume = torch.rand(6, 5, 4)
    slices = slices_of(volume)
    assert torch.equal(volume_of(slices), volume)
    several = planes(np.stack([volume.numpy()] * 2), np.array([1, 3]))
    assert np.array_equal(several[:, 0], slices[[1, 3], 0].numpy())


def test_a_control_net_starts_as_a_copy_of_the_encoder_that_changes_nothing(tmp_path):
    torch.manual_seed(2)
    trained = small_translator()
    with torch.no_grad():
        for parameter in trained.unet.parameters():
            parameter.normal_(0, 0.2)
    torch.save(trained.state_dict(), tmp_path / "model.pt")
    begun = begin_controlnet(small_translator(), tmp_path / "model.pt")
    own, source = begun.controlnet.state_dict(), begun.unet.state_dict()
    shared = [name for name in own if name in source]
    assert len(shared) > 20 and all(torch.equal(own[name], source[name]) for name in shared)
    learning = {name.split(".")[0] for name, parameter in begun.named_parameters() if parameter.requires_grad}
    assert learning == {"controlnet"}
    x, t = torch.randn(2, *LATENT), torch.tensor([5, 700])
    target = torch.tensor([0, 1])
    condition = begun.condition(torch.rand(2, 1, *IMAGE), torch.tensor([3, 3]))
    assert torch.allclose(begun.denoise(x, t, target, condition), begun.denoise(x, t, target), atol=1e-5)


def test_prediction_follows_the_source_its_name_and_the_target_and_scale_0_forgets_the_source(network):
    x, t, target = torch.randn(2, *LATENT), torch.tensor([5, 700]), torch.tensor([0, 1])
    source = torch.rand(2, 1, *IMAGE)
    with torch.no_grad():
        plain = network.denoise(x, t, target, network.condition(source, torch.tensor([3, 3])))
        for other in (
            network.denoise(x, t, target, network.condition(source.flip(-1), torch.tensor([3, 3]))),
            network.denoise(x, t, target, network.condition(source, torch.tensor([2, 4]))),
            network.denoise(x, t, target.flip(0), network.condition(source, torch.tensor([3, 3]))),
        ):
            assert not torch.allclose(plain, other, atol=1e-4)
        forgotten = network.denoise(x, t, target, network.condition(source, torch.tensor([3, 3])), scale=0)
        assert torch.equal(forgotten, network.denoise(x, t, target))
        assert not network.condition(source, torch.tensor([4, 4]))[:, 4:].any()


def test_the_stage_of_the_control_net_leaves_the_diffusion_model_as_it_is(network, batch):
    for controlled, moved in ((True, network.controlnet), (False, network.unet)):
        network.zero_grad()
        optimizer = torch.optim.SGD(moved.parameters(), 0.01)
        frozen = {name: value.clone() for name, value in network.state_dict().items()}
        TranslationObjective(controlled)(network, batch)["loss"].backward()
        optimizer.step()
        changed = {
            name.split(".")[0] for name, value in network.state_dict().items() if not torch.equal(value, frozen[name])
        }
        assert changed == {"controlnet" if controlled else "unet"}


def test_the_regression_learns_a_slice(network, batch):
    optimizer = torch.optim.Adam(network.regression.parameters(), 0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        losses.append(RegressionObjective()(network, batch)["loss"])
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    assert RegressionObjective().images(network, batch)["regression"].shape == (1, IMAGE[0], 2 * IMAGE[1])


def test_lesions_weigh_in_the_losses(network, batch):
    lesions = torch.zeros_like(batch["image"])
    lesions[..., :4, :4] = 1
    found = network.regress(batch["source"], batch["source_contrast"], batch["target_contrast"])
    error = (found - batch["image"]).abs()
    inside, rest = error[lesions > 0].sum(), error[lesions == 0].sum()
    wanted = (9 * inside + rest) / (9 * lesions.sum() + (1 - lesions).sum())
    plain, weighted = RegressionObjective(), RegressionObjective(lesion_weight=8)
    torch.testing.assert_close(weighted(network, {**batch, "lesions": lesions})["loss"], wanted)
    torch.testing.assert_close(weighted(network, batch)["loss"], plain(network, batch)["loss"])  # rows that know none
    losses = []
    for weight in (0, 8):
        torch.manual_seed(4)
        losses.append(TranslationObjective(True, weight)(network, {**batch, "lesions": lesions})["loss"])
    assert losses[0] != losses[1]


def test_a_volume_is_translated_slice_by_slice_and_stays_0_outside(network):
    volume = torch.from_numpy(ball_maps()[0] < 128).float() * 0.5
    inferer = TranslationInferer(steps=2, batch_size=5)
    with torch.no_grad():
        found = inferer.volume(volume, network)
        again = TranslationInferer(steps=2, batch_size=3).volume(volume, network)
        other = TranslationInferer(steps=2, seed=1).volume(volume, network)
        plain = TranslationInferer(method="regression").volume(volume, network)
    assert found.shape == GRID and not found[volume == 0].any() and found.min() >= 0 and found.max() <= 1
    assert torch.allclose(found, again, atol=1e-4), "a batch changes nothing"
    assert not torch.allclose(found, other, atol=1e-3) and not torch.allclose(found, plain, atol=1e-3)
    low, high = brain_levels(ball_maps())[[0, -1]]
    assert not found[..., :low].any() and not found[..., high + 1 :].any()


def test_equal_neighbours_stay_equal_by_one_noise_and_copies_are_a_mean(network):
    slices = torch.rand(1, 1, *IMAGE).expand(2, -1, -1, -1)
    with torch.no_grad():
        shared = TranslationInferer(steps=2).translate(slices, network)
        apart = TranslationInferer(steps=2, shared_noise=False).translate(slices, network)
        several = TranslationInferer(steps=2, copies=3).translate(slices, network)
    assert torch.allclose(shared[0], shared[1], atol=1e-5) and not torch.allclose(apart[0], apart[1], atol=1e-3)
    assert not torch.allclose(several, shared, atol=1e-3)


def test_forward_translates_a_volume_and_gives_the_same_each_time(network):
    image = torch.rand(2, 1, *GRID)
    image[..., :3] = 0
    with torch.no_grad():
        found = network(image)
        assert found.shape == image.shape and torch.equal(found, network(image)) and not found[..., :3].any()


def test_a_scan_of_any_unit_is_brought_to_that_of_the_phantoms():
    head = np.random.default_rng(0).uniform(100, 900, (6, 6, 6)).astype(np.float32)
    mask = np.zeros(head.shape, bool)
    mask[1:5, 1:5, 1:5] = True
    found = in_unit(head, mask)
    assert np.array_equal(found > 0, mask) and np.allclose(found, in_unit(7 * head, mask), atol=1e-5)


@pytest.mark.parametrize(
    "wrong, word",
    [
        ({"source": "PD"}, "source"),
        ({"target": "T1Gd"}, "target"),
        ({"target": "FLAIR"}, "source is FLAIR, too"),
        ({"method": "copy"}, "method"),
        ({"control_scale": 3}, "control_scale"),
        ({"copies": 0}, "copies"),
        ({"sampler": "euler"}, "sampler"),
    ],
)
def test_a_setting_out_of_range_is_named(wrong, word):
    with pytest.raises(UserError, match=word):
        TranslationInferer(**wrong)


def test_a_network_without_what_it_needs_is_refused(batch):
    with pytest.raises(UserError, match="num_class_embeds"):
        small_translator(classes=2)
    with pytest.raises(UserError, match="regression"):
        RegressionObjective()(small_translator(regression=False), batch)
